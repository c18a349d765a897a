"""The breaker: stops hammering a destination that is down. Pure.

Rules:
1. CLOSED: everything may be sent. `threshold` failed attempts in a row (of whichever messages), or a connection that could
   not be opened within its retries, open it.
2. OPEN: nothing is sent before `probe_at`.
3. HALF_OPEN: from `probe_at` on, one single message may be tried: the probe.
4. A success closes it from any state. A failed probe opens it again with a later `probe_at`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class BreakerState(Enum):
    """Whether messages flow to the destination."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker's memory. `failures` in a row; `cycle`: those since the last reset; `resets` since the last success."""

    threshold: int
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    cycle: int = 0
    resets: int = 0
    probe_at: float = 0.0

    def succeeded(self) -> Breaker:
        """After a delivery."""
        return Breaker(self.threshold)

    def failed(self, probe_at: float) -> Breaker:
        """After a failed attempt; `probe_at` is when the next may be made if the breaker is open then."""
        failures = self.failures + 1
        opened = self.state is not BreakerState.CLOSED or failures >= self.threshold
        state = BreakerState.OPEN if opened else BreakerState.CLOSED
        return replace(self, state=state, failures=failures, cycle=self.cycle + 1, probe_at=probe_at)

    def reset(self, probe_at: float) -> Breaker:
        """After the connection was reset: the retries start again."""
        return replace(self, cycle=0, resets=self.resets + 1, probe_at=probe_at)

    def unreachable(self) -> Breaker:
        """After a connection could not be opened within its retries: as bad as `threshold` failed attempts, so that the next
        success finds something to close."""
        return replace(self, state=BreakerState.OPEN, failures=max(self.failures, self.threshold))

    def due(self, now: float) -> Breaker:
        """The next probe need not wait longer than until `now`."""
        return replace(self, probe_at=min(self.probe_at, now))

    def at(self, now: float) -> Breaker:
        """As seen at `now`: open becomes half-open when the probe is due."""
        if self.state is BreakerState.OPEN and now >= self.probe_at:
            return replace(self, state=BreakerState.HALF_OPEN)
        return self
