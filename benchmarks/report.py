"""The report: a table for the terminal, Markdown and JSON for the record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import CELLS
from benchmarks.run import CaseReport


def table(report: CaseReport) -> str:
    """A case for the terminal, in columns."""
    lines = [f"{report.case.name}: {report.case.title}"]
    if report.failure is not None:
        return "\n".join([*lines, f"  FAILED: {report.failure}"])
    cells = [CELLS, *(row.cells() for row in report.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines += ["  " + _aligned(line, widths) for line in cells]
    lines += [f"  note: {note}" for note in report.notes]
    return "\n".join(lines)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first column to the left, figures to the right."""
    first, *others = (
        cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def summary(reports: Iterable[CaseReport]) -> str:
    """One line: how many figures reach what was promised."""
    reports = list(reports)
    verdicts = [row.reached for report in reports for row in report.rows if row.reached is not None]
    failed = [report.case.name for report in reports if report.failure is not None]
    text = f"{sum(verdicts)} of {len(verdicts)} figures reach what is promised"
    return f"{text}; not measured: {', '.join(failed)}" if failed else text


def write(stem: Path, reports: Sequence[CaseReport], machine: dict[str, Any], when: str, size: str = "full") -> list[Path]:
    """Write `stem`.md and `stem`.json; returns their paths. `when` is a date, or a date and a time of day (`2026-11-23 18:00 UTC`)."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    markdown_path, json_path = stem.with_name(stem.name + ".md"), stem.with_name(stem.name + ".json")
    markdown_path.write_text(markdown(reports, machine, when), "utf-8")
    record = {"date": when, "size": size, "machine": machine, "cases": [report.as_dict() for report in reports]}
    json_path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return [markdown_path, json_path]


def markdown(reports: Sequence[CaseReport], machine: dict[str, Any], when: str) -> str:
    """All cases as a page."""
    parts = [
        f"# Measured on {when}",
        _machine(machine),
        "Each figure is the median of several rounds, each in a fresh process, the sides by turns; ratios are taken round by round. "
        "Ratios matter, absolute figures belong to this machine. " + summary(reports) + ".",
        *map(_section, reports),
    ]
    return "\n\n".join(parts) + "\n"


def _machine(machine: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in (machine["packages"] | machine["rivals"]).items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {machine['system']} {machine['kernel']} "
        f"{machine['architecture']}; {machine['python']}; {packages}; commit {machine['commit']}; load before: {machine['load_before']}."
    )


def _section(report: CaseReport) -> str:
    case = report.case
    sizes = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in report.params.items())
    cores = " Bound to one core." if case.one_core else ""
    lines = [f"## {case.title}", "", f"{case.note}{cores} ({case.name}: {sizes}; {report.seconds:.0f} s in all)", ""]
    if report.failure is not None:
        return "\n".join([*lines, "Not measured:", "", "```", report.failure, "```"])
    lines += [_cells(CELLS), "|---|--:|--:|--:|---|", *(_cells(row.cells()) for row in report.rows)]
    if report.notes:
        lines += ["", "; ".join(report.notes) + "."]
    return "\n".join(lines)


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
