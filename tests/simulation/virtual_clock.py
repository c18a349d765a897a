"""Virtual time for a whole process life: as the manual clock, but a worker that waits is woken only if somebody wakes it."""

from __future__ import annotations

import heapq
import threading

from standpipe.testing import ManualClock

SPIN_LIMIT = 2000
"""Waits in a row without any time passing; more is a worker that spins."""


class VirtualClock(ManualClock):
    """What is planned happens while the worker waits; it goes on when it was woken (`wake`) or its time has come, so that a
    wake-up that gets lost shows as messages that are not delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.woken = False
        self._idle = 0

    def wake(self) -> None:
        """Somebody wakes the worker."""
        self.woken = True

    def advance_alone(self, seconds: float) -> None:
        """Let time pass; what is planned waits for the next wait."""
        self.now += seconds

    def wait(self, condition: threading.Condition | None, timeout: float | None) -> None:
        """Let happen what is planned, until the worker is woken or the timeout is over. `condition`: its lock is free meanwhile."""
        begin, until = self.now, None if timeout is None else self.now + timeout
        self.woken = False
        while not self.woken:
            if not self._planned and until is None:
                raise RuntimeError("the worker waits for ever and nothing is planned that could wake it")
            if not self._planned or (until is not None and self._planned[0][0] > until):
                self.now = max(self.now, until or 0.0)
                break
            self._next_action(condition)
        self._idle = self._idle + 1 if self.now == begin else 0
        if self._idle > SPIN_LIMIT:
            raise RuntimeError("the worker spins: it waits again and again and no time passes")

    def _next_action(self, condition: threading.Condition | None) -> None:
        when, _, action = heapq.heappop(self._planned)
        self.now = max(self.now, when)
        if condition is None:
            action()
            return
        condition.release()
        try:
            action()
        finally:
            condition.acquire()
