"""Measures a case: its sides by turns, round after round."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.case import Case, CaseFailed, Measurement, Missing, Params, Results, Size
from benchmarks.figures import Row
from benchmarks.launch import in_fresh_process

Launch = Callable[[Case, str, Params], Measurement]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class CaseReport:
    """What became of a case: its rows, or why there are none."""

    case: Case
    params: Params
    seconds: float
    rows: list[Row] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    """which sides were left out, and why"""
    failure: str | None = None
    series: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    """what became of a side over time in the last round, by its name"""

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "case": self.case.name,
            "title": self.case.title,
            "note": self.case.note,
            "one_core": self.case.one_core,
            "rivals": list(self.case.rivals),
            "sizes": dict(self.params),
            "seconds": round(self.seconds, 1),
            "rows": [row.as_dict() for row in self.rows],
            "notes": list(self.notes),
            "failure": self.failure,
            **({"series": self.series} if self.series else {}),
        }


def run_case(case: Case, size: Size, tell: Tell, launch: Launch = in_fresh_process) -> CaseReport:
    """Measure `case`; `tell` is told where it stands. A case that fails is reported, never raised: the others go on."""
    started = time.monotonic()
    params = case.sizes[size]
    notes: list[str] = []
    try:
        results = _measure(case, params, tell, launch, notes)
        rows = list(case.rows(results)) if any(map(results.has, case.sides)) else []
        series = {side: results.values(side, "series")[-1] for side in case.series if results.has(side)}
    except (CaseFailed, OSError) as error:
        return CaseReport(case, params, time.monotonic() - started, notes=tuple(notes), failure=str(error))
    return CaseReport(case, params, time.monotonic() - started, rows, tuple(notes), series=series)


def _measure(case: Case, params: Params, tell: Tell, launch: Launch, notes: list[str]) -> Results:
    sides = [*case.sides, *case.rivals]
    measurements: dict[str, list[Measurement]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory(prefix="standpipe-bench-") as folder:
        told = {**params, "folder": folder}
        if case.prepare is not None:
            tell(f"{case.name}: {case.prepare}")
            try:
                launch(case, case.prepare, told)
            except Missing as missing:
                notes.append(f"all was left out: {missing}")
                return Results(measurements)
        for number in range(params["rounds"]):
            tell(f"{case.name}: round {number + 1} of {params['rounds']}")
            for side in tuple(sides):
                try:
                    measurements[side].append(launch(case, side, told))
                except Missing as missing:
                    sides.remove(side)
                    notes.append(f"{side} was left out: {missing}")
    return Results(measurements)
