"""A clock that stands still until somebody waits: hours of retries pass in a millisecond, exactly the same every time."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable


class ManualClock:
    """Time for a producer driven by the test's own thread: a wait advances the clock instead of waiting.

    Give it to a producer (`MyProducer(config, clock=clock)`), hand over messages, then run the worker here and now by
    `producer._worker()`. `at(seconds, action)` plans what happens meanwhile, for example `producer.shutdown`. Not for
    producers whose worker thread was started: nobody would be waiting in the thread that advances the clock.

        clock = ManualClock()
        clock.at(100.0, lambda: producer.shutdown(timeout=1.0))
        producer._worker()
        assert clock.waits == [0.1, 0.2, ...]
    """

    def __init__(self, start: float = 0.0, wall: float = 1_800_000_000.0) -> None:
        self.now = start
        self.waits: list[float] = []
        """Every wait so far, in seconds as they really passed."""
        self._wall = wall - start
        self._planned: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self.now

    def time(self) -> float:
        """Seconds since 1970, as if the test ran in 2027."""
        return self._wall + self.now

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back; the monotonic clock goes on as it was."""
        self._wall += seconds

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Call `action` when the clock gets there (at the next wait, if it is there already)."""
        heapq.heappush(self._planned, (seconds, self._number, action))
        self._number += 1

    def advance(self, seconds: float) -> None:
        """Let time pass, with what was planned for it."""
        end = self.now + seconds
        while self._planned and self._planned[0][0] <= end:
            when, _, action = heapq.heappop(self._planned)
            self.now = max(self.now, when)
            action()
        self.now = end

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """Pass the time until the next planned action or, if there is none before, until the timeout is over.

        Raises RuntimeError when nothing would ever end the wait: the test would hang.
        """
        begin = self.now
        planned = self._planned[0][0] if self._planned else None
        if planned is not None and (timeout is None or planned <= self.now + timeout):
            when, _, action = heapq.heappop(self._planned)
            self.now = max(self.now, when)
            condition.release()
            try:
                action()
            finally:
                condition.acquire()
        elif timeout is None:
            raise RuntimeError("the worker waits for ever and nothing is planned that could wake it; plan a shutdown with ManualClock.at")
        else:
            self.now += timeout
        self.waits.append(self.now - begin)
