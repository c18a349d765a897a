"""How long to wait before trying again. Pure: numbers in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Growing, fully jittered delays ("full jitter": a uniform share of the bound, as in AWS's study of back-off).

    `max_retries` retries follow a failed first attempt; then the connection is reset and the retries start again.
    Times are seconds.
    """

    max_retries: int = 5
    initial: float = 0.1
    factor: float = 2.0
    max: float = 30.0
    reconnect_wait: float = 60.0

    def bound(self, attempt: int) -> float:
        """The longest delay before retry `attempt` (1 for the first): `initial * factor ** (attempt - 1)`, at most `max`."""
        # The exponent is capped because a float overflows long before anybody has waited that long.
        return min(self.max, self.initial * self.factor ** min(attempt - 1, 64))

    def delay(self, attempt: int, jitter: float) -> float:
        """The delay before retry `attempt`, for a `jitter` in 0 ... 1."""
        return self.bound(attempt) * jitter

    def pause(self, resets: int, jitter: float) -> float:
        """The delay between a reset and the next attempt, for the `resets`-th reset without a success in between.

        None after the first: the retries start again at once. Then growing from where the retries ended, so that a
        destination that accepts connections but nothing else is not reset every few seconds for ever.
        """
        return 0.0 if resets <= 1 else self.delay(self.max_retries + resets - 1, jitter)
