"""Where time comes from, and the one way to wait: every wait in the engine is on a condition, so that it can be ended."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the engine sees it. The real one is `SystemClock`; tests use `standpipe.testing.ManualClock`."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment of this process; never jumps."""
        ...

    def time(self) -> float:
        """Seconds since 1970 (wall clock); may jump. Only ever written down, never used to decide."""
        ...

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """Wait on `condition` (held by the caller) until it is notified or `timeout` seconds have passed."""
        ...


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """Wait on `condition` until notified or until `timeout` seconds have passed."""
        # The C library refuses timeouts beyond some hundred years; a day is as good as for ever, since every caller loops.
        condition.wait(None if timeout is None else max(0.0, min(timeout, 86_400.0)))
