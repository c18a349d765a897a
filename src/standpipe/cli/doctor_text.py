"""An examination in words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from standpipe.app.doctor import Examination
from standpipe.cli.output import number_of
from standpipe.core.finding import Finding, Severity

WIDTH = 110
"""Columns; longer texts go on in the next line, under their beginning."""

_MARKS = {Severity.CRITICAL: "CRITICAL", Severity.WARNING: "warning", Severity.INFO: "info"}


def lines(file: Path, found: Sequence[Examination], quiet: bool) -> Iterator[str]:
    """Each producer with its findings, the worst first, and the verdict. `quiet`: without what is only worth knowing."""
    for each in found:
        yield f"{each.producer} ({each.destination})"
        shown = [finding for finding in each.findings if not quiet or finding.severity is not Severity.INFO]
        for finding in shown:
            yield from _finding(finding)
        if not shown:
            yield "  nothing to complain of"
        yield ""
    yield f"{file}: {_verdict(found)}"


def _finding(finding: Finding) -> Iterator[str]:
    yield from _wrapped(f"  {_MARKS[finding.severity]:<9} ", f"{finding.what}: {finding.consequence}")
    if finding.remedy:
        yield from _wrapped(" " * 12 + "-> ", finding.remedy)


def _wrapped(first: str, text: str) -> list[str]:
    indent = " " * len(first)
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _verdict(found: Sequence[Examination]) -> str:
    severities = [finding.severity for each in found for finding in each.findings]
    critical, warnings = severities.count(Severity.CRITICAL), severities.count(Severity.WARNING)
    if critical:
        return f"{critical} critical, {number_of(warnings, 'warning')}: messages would be lost, or are not delivered at all"
    if warnings:
        return f"nothing critical, {number_of(warnings, 'warning')}"
    return "nothing to complain of"
