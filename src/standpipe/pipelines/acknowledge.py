"""Which of an agent's positions may be checkpointed, when what was read settles in any order. Pure: no thread, no clock.

1. Tickets are numbered in the order of `begin`, which is the order in which the agent read.
2. A ticket is settled when all of its parts are: each part is one destination that must be done with what was read.
3. A token is released when its ticket and every earlier one are settled, exactly once, in order.

So the last released token is a checkpoint that may lag behind what has been delivered, and never leads.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class AckStatistics:
    """Counts of tickets since the start: `begun = released + outstanding`.

    `outstanding` have not been released, `outstanding_high` is the most that ever were at once, `waiting` of them are
    settled but held back by an earlier one.
    """

    begun: int
    released: int
    outstanding: int
    outstanding_high: int
    waiting: int


class AckTracker(Generic[T]):
    """Holds a token (what an agent needs to acknowledge, such as a position) for each thing that is under way.

    Not thread-safe: the caller holds a lock, or calls from one thread. `begin` and `settle` take constant time (amortised).

    >>> tracker = AckTracker[str]()
    >>> first, second = tracker.begin("offset 10"), tracker.begin("offset 20")
    >>> tracker.settle(second)
    []
    >>> tracker.settle(first)
    ['offset 10', 'offset 20']
    """

    __slots__ = ("_begun", "_high", "_left", "_tokens")

    def __init__(self) -> None:
        self._begun = 0
        self._high = 0
        # Tokens from the oldest unreleased ticket on; the ticket of the first one is begun - len(tokens).
        self._tokens: deque[T] = deque()
        # Parts left, of the tickets that are not settled.
        self._left: dict[int, int] = {}

    def begin(self, token: T, parts: int = 1) -> int:
        """A ticket for `token`, which must be settled `parts` times (at least 1). Raises ValueError for fewer parts."""
        if parts < 1:
            raise ValueError(f"a ticket needs at least 1 part, not {parts}; settle it at once when nothing has to be done")
        ticket = self._begun
        self._begun += 1
        self._tokens.append(token)
        self._left[ticket] = parts
        self._high = max(self._high, len(self._tokens))
        return ticket

    def settle(self, ticket: int) -> list[T]:
        """Settles one part of `ticket`; returns the tokens that this releases, in order, often none.

        Raises ValueError, and changes nothing, for a ticket that was never given out or has no part left: a part that is
        settled twice would let the checkpoint lead.
        """
        left = self._left.get(ticket)
        if left is None:
            state = "is settled already" if 0 <= ticket < self._begun else "was never given out"
            raise ValueError(f"ticket {ticket} {state}")
        if left > 1:
            self._left[ticket] = left - 1
            return []
        del self._left[ticket]
        return self._release()

    def _release(self) -> list[T]:
        released: list[T] = []
        front = self._begun - len(self._tokens)
        while self._tokens and front not in self._left:
            released.append(self._tokens.popleft())
            front += 1
        return released

    @property
    def outstanding(self) -> int:
        """How many tokens have not been released."""
        return len(self._tokens)

    def statistics(self) -> AckStatistics:
        """The counts now."""
        outstanding = len(self._tokens)
        return AckStatistics(
            begun=self._begun,
            released=self._begun - outstanding,
            outstanding=outstanding,
            outstanding_high=self._high,
            waiting=outstanding - len(self._left),
        )
