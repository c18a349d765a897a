"""A limit on messages per second: a token bucket. Pure."""

from __future__ import annotations

BURST = 0.1
"""Seconds' worth of messages that may go at once after a quiet time; small, so that the limit also holds within a second."""


class RateLimit:
    """At most `rate` messages per second; None: no limit."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._most = max(1.0, rate * BURST) if rate is not None else 0.0
        self._tokens = self._most
        self._at: float | None = None

    def allowance(self, now: float, wanted: int) -> tuple[int, float]:
        """How many of `wanted` messages may go now and, if none, when the next one may."""
        if self.rate is None:
            return wanted, now
        if self._at is not None:
            self._tokens = min(self._most, self._tokens + (now - self._at) * self.rate)
        self._at = now
        # A token short of one by a rounding error is one; otherwise the worker would wake up just too early for ever.
        allowed = int(self._tokens + 1e-6)
        return min(wanted, allowed), now if allowed else now + (1.0 - self._tokens) / self.rate

    def spend(self, number: int) -> None:
        """`number` messages go."""
        if self.rate is not None:
            self._tokens -= number
