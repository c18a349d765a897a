"""The rows that the cases of all destinations have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from benchmarks.case import Results
from benchmarks.figures import Reach, Row

Ratio = tuple[str, str, str, float | None]
"""In words, the side above, the side below, and what is to be reached at least, if anything is."""


def destination_rows(sides: Mapping[str, str], *ratios: Ratio) -> Callable[[Results], Iterator[Row]]:
    """What each side, called as `sides` says, reaches and costs, then the ratios; without those that were not measured."""

    def rows(results: Results) -> Iterator[Row]:
        for side, name in sides.items():
            if results.has(side):
                yield results.rate(name, side)
                yield results.row(f"{name}: CPU", side, "cpu_us", "us per message")
                yield results.row(f"{name}: peak memory", side, "peak", "MB")
        for what, above, below, least in ratios:
            if results.has(above) and results.has(below):
                yield results.ratio(what, above, below, "rate", None if least is None else Reach("at least", least))

    return rows
