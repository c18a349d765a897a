"""What a case is: sides that do the same job in different ways, and the rows that their measurements make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.figures import PER_SECOND, TIMES, Figure, Reach, Row

Size = Literal["full", "quick", "smoke"]
"""`full`: for the report; `quick`: for a look while working; `smoke`: only that it runs, the figures mean nothing."""

Params = Mapping[str, Any]
"""What a side is told: its sizes, and where its files are."""

Measurement = Mapping[str, Any]
"""What a side found out in one round."""


class CaseFailed(Exception):
    """A case could not be measured, so that there is nothing to compare."""


class Missing(Exception):
    """What a side measures is not installed: the side is left out, with a note that says this. The others are measured."""


class Results:
    """The measurements of all sides: a value for each round, the rounds of all sides in the same order."""

    def __init__(self, measurements: Mapping[str, list[Measurement]]) -> None:
        self._measurements = measurements

    def has(self, side: str) -> bool:
        """Whether `side` was measured; else what it measures is not installed."""
        return bool(self._measurements[side])

    def values(self, side: str, name: str) -> list[Any]:
        """What `side` measured under `name` in each round. Raises CaseFailed if it was left out."""
        if not self.has(side):
            raise CaseFailed(f"{side} was left out, and without it nothing can be compared")
        return [measurement[name] for measurement in self._measurements[side]]

    def figure(self, side: str, name: str, unit: str, scale: float = 1.0) -> Figure:
        """The same as a figure, multiplied by `scale`."""
        return Figure.of((value * scale for value in self.values(side, name)), unit)

    def row(self, what: str, side: str, name: str, unit: str, reach: Reach | None = None) -> Row:
        """The same as a row."""
        return Row(what, self.figure(side, name, unit), reach, {"measure": name, "side": side})

    def rate(self, what: str, side: str, reach: Reach | None = None) -> Row:
        """A row of `rate`, per second."""
        return self.row(what, side, "rate", PER_SECOND, reach)

    def ratio(self, what: str, above: str, below: str, name: str, reach: Reach | None = None) -> Row:
        """`name` of side `above` divided by that of side `below`, round by round: both saw the same machine."""
        pairs = zip(self.values(above, name), self.values(below, name), strict=True)
        return Row(what, Figure.of((a / b for a, b in pairs), TIMES), reach, {"measure": name, "above": above, "below": below})


@dataclass(frozen=True)
class Case:
    """Sides to be measured by turns. A side is the function of that name in `benchmarks.sides.<name of the case>`."""

    name: str
    title: str
    note: str
    """how it is measured, in a sentence or two: printed with the figures"""
    sides: tuple[str, ...]
    rows: Callable[[Results], Iterable[Row]]
    """makes the rows; raises CaseFailed when the sides did not do the same job"""
    sizes: Mapping[Size, Params]
    """what the sides are told, by size; `rounds` is how often each side runs"""
    prepare: str | None = None
    """a side that runs once before all others, to make what they need"""
    one_core: bool = False
    """every side is bound to one core, where the system can do that"""
    rivals: tuple[str, ...] = ()
    """sides that need packages which are not the project's: functions of `benchmarks.sides.<name of the case>_rivals`, which may
    import nothing of Standpipe; they run in an environment of their own (benchmarks/rivals.py)"""
    series: tuple[str, ...] = ()
    """sides whose last measurement has `series`, lists of one length by name: kept in the record, to be drawn"""
