"""What a measurement says: figures with their spread, and whether they reach what was promised."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

PER_SECOND = "/s"
TIMES = "x"


@dataclass(frozen=True)
class Figure:
    """One value of each round, in `unit`; the median stands for them."""

    values: tuple[float, ...]
    unit: str

    @classmethod
    def of(cls, values: Iterable[float], unit: str) -> Figure:
        """The figure of `values`, one for each round. Raises ValueError if there is none."""
        found = tuple(values)
        if not found:
            raise ValueError("a figure needs at least one value")
        return cls(found, unit)

    @property
    def median(self) -> float:
        """The value that stands for all."""
        return statistics.median(self.values)

    def text(self) -> str:
        """The median with its unit."""
        return with_unit(self.median, self.unit)

    def spread(self) -> str:
        """The smallest and the largest value; empty if there was one round."""
        if len(self.values) == 1:
            return ""
        return f"{number(min(self.values))} ... {number(max(self.values))}"


@dataclass(frozen=True)
class Reach:
    """What a median is to reach, in the figure's unit."""

    kind: Literal["at least", "at most", "under"]
    value: float

    def reached(self, median: float) -> bool:
        """Whether `median` is good enough."""
        if self.kind == "at least":
            return median >= self.value
        return median <= self.value if self.kind == "at most" else median < self.value


@dataclass(frozen=True)
class Row:
    """A line of the report. Without `reach` the figure is there for comparison."""

    what: str
    figure: Figure
    reach: Reach | None = None
    of: Mapping[str, str] | None = None
    """for programs: `measure`, and the `side` that it was measured at; of a ratio the sides `above` and `below`"""

    @property
    def reached(self) -> bool | None:
        """Whether the figure is good enough; None: nothing was promised."""
        return None if self.reach is None else self.reach.reached(self.figure.median)

    def cells(self) -> tuple[str, str, str, str, str]:
        """The row for people: what, median, spread, what is to be reached, whether it is."""
        reach = "" if self.reach is None else f"{self.reach.kind} {with_unit(self.reach.value, self.figure.unit)}"
        verdict = "" if self.reached is None else "yes" if self.reached else "NO"
        return self.what, self.figure.text(), self.figure.spread(), reach, verdict

    def as_dict(self) -> dict[str, Any]:
        """The row for programs."""
        return {
            "what": self.what,
            "unit": self.figure.unit,
            "median": self.figure.median,
            "min": min(self.figure.values),
            "max": max(self.figure.values),
            "rounds": list(self.figure.values),
            "reach": None if self.reach is None else {self.reach.kind: self.reach.value},
            "reached": self.reached,
            "of": None if self.of is None else dict(self.of),
        }


CELLS = ("what", "median", "min ... max", "reach", "reached")
"""The headings of `Row.cells`."""


def number(value: float) -> str:
    """A number with three digits or so: what is beyond them is noise."""
    size = abs(value)
    if size >= 1_000_000:
        return f"{value / 1_000_000:.2f} M"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def with_unit(value: float, unit: str) -> str:
    """A number and its unit; `x` and `/s` stand close to it."""
    return number(value) + (unit if unit in (PER_SECOND, TIMES) else f" {unit}")
