"""Times calls in bursts, with the queue behind them emptied in between."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter

WARM_UP = 3
"""Bursts before the measuring: they start the thread, fill caches and let the interpreter specialise."""


def time_bursts(burst: Callable[[], None], drain: Callable[[], None], bursts: int) -> float:
    """Seconds that one `burst` takes: the median of so many; `drain`, called after each, is not timed."""
    return statistics.median(times_of_bursts(burst, drain, bursts))


def times_of_bursts(burst: Callable[[], None], drain: Callable[[], None], bursts: int) -> list[float]:
    """Seconds that each `burst` took, without those of the warm-up."""
    times = []
    for _ in range(WARM_UP + bursts):
        started = perf_counter()
        burst()
        times.append(perf_counter() - started)
        drain()
    return times[WARM_UP:]
