"""A set of whole numbers as intervals: which messages are settled. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Intervals:
    """Intervals `start` to `stop` (excluded), in order, apart from each other. Most often there is just one."""

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def add(self, start: int, stop: int) -> None:
        """Add the numbers from `start` to `stop` (excluded)."""
        if start >= stop:
            return
        starts, stops = self._starts, self._stops
        low = bisect_left(stops, start)  # the first that touches or follows
        high = bisect_right(starts, stop)  # the first that begins after us
        if low < high:
            start = min(start, starts[low])
            stop = max(stop, stops[high - 1])
        starts[low:high] = [start]
        stops[low:high] = [stop]

    def covers(self, start: int, stop: int) -> bool:
        """Whether all numbers from `start` to `stop` (excluded) are in the set."""
        at = bisect_right(self._starts, start) - 1
        return start >= stop or (at >= 0 and stop <= self._stops[at])

    def gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The intervals from `start` to `stop` that are not in the set."""
        at = max(0, bisect_right(self._starts, start) - 1)
        while start < stop:
            while at < len(self._starts) and self._stops[at] <= start:
                at += 1
            if at == len(self._starts) or self._starts[at] >= stop:
                yield start, stop
                return
            if self._starts[at] > start:
                yield start, self._starts[at]
            start = self._stops[at]

    def count(self, start: int, stop: int) -> int:
        """How many of the numbers from `start` to `stop` (excluded) are in the set."""
        return stop - start - sum(last - first for first, last in self.gaps(start, stop)) if start < stop else 0

    def forget_below(self, number: int) -> None:
        """Treat everything below `number` as one interval: nobody asks for less any more."""
        if self._starts and self._starts[0] < number <= self._stops[0]:
            self._starts[0] = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._starts, self._stops, strict=True)))

    def __len__(self) -> int:
        return len(self._starts)
