"""A clock that runs a worker in a thread of its own, but never at the same time as the test: one moves, then the other."""

from __future__ import annotations

import threading
from collections.abc import Callable

from standpipe.testing import ManualClock

SPIN_LIMIT = 500
"""Turns of the worker without any time passing; more is a worker that spins."""


class Lockstep(ManualClock):
    """Time stands still unless `advance` moves it. The worker runs in `resume` until it waits, and only if it was woken or
    its time has come: a wake-up that gets lost shows as a worker that does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.until: float | None = 0.0
        self.notified = False
        self.over = False
        self.failure: BaseException | None = None
        self._go = threading.Semaphore(0)
        self._parked = threading.Semaphore(0)
        self._thread: threading.Thread | None = None

    def run(self, body: Callable[[], object]) -> None:
        """`body` is what the worker's thread runs, from the first `resume` on."""

        def main() -> None:
            self._go.acquire()
            try:
                body()
            except BaseException as error:
                self.failure = error
            self.over = True
            self._parked.release()

        self._thread = threading.Thread(target=main, daemon=True, name="lockstep")
        self._thread.start()

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """Hand over to the test."""
        assert threading.current_thread() is self._thread, "only the worker may wait"
        self.until = None if timeout is None else self.now + timeout
        self.notified = False
        condition.release()
        self._parked.release()
        self._go.acquire()
        condition.acquire()

    def notify(self) -> None:
        """The worker has been woken."""
        self.notified = True

    def resume(self) -> None:
        """Let the worker run until it has nothing to do at this moment."""
        for _ in range(SPIN_LIMIT):
            if self.over or not (self.notified or (self.until is not None and self.until <= self.now)):
                break
            self._go.release()
            assert self._parked.acquire(timeout=20.0), "the worker hangs"
        else:
            raise AssertionError("the worker spins")
        if self.failure is not None:
            raise self.failure

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with a stop wherever the worker wants to run."""
        end = self.now + seconds
        self.resume()
        while not self.over and self.until is not None and self.until <= end:
            self.now = max(self.now, self.until)
            self.resume()
        self.now = end

    def join(self) -> None:
        """The worker has ended."""
        assert self._thread is not None
        self._thread.join(20.0)
        assert not self._thread.is_alive()
