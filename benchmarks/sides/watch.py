"""A stopwatch for messages. Rivals use it too: it imports nothing of Standpipe."""

from __future__ import annotations

from time import perf_counter, process_time

from benchmarks.case import Measurement
from benchmarks.sides.resources import peak


class Watch:
    """Runs from the moment it is made."""

    def __init__(self) -> None:
        self._started, self._cpu = perf_counter(), process_time()

    def measured(self, messages: int) -> Measurement:
        """So many messages since then: their rate, and what they cost this process."""
        seconds, cpu = perf_counter() - self._started, process_time() - self._cpu
        return {"rate": messages / seconds, "cpu_us": cpu / messages * 1e6, "peak": peak()}
