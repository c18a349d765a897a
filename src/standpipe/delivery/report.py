"""Where a producer of the completion style says what became of the messages that it has handed to its client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from standpipe.core.outcome import Outcome
from standpipe.delivery.batch import Batch

DELIVERED = Outcome.DELIVERED


class Report:
    """What became of each message of one batch, by its position in the batch (0 is the first).

    Given to `_submit`. May be called from any thread, at any time, in any order; the first word about a message counts, what
    comes after the engine has given the batch up (a reset, a timeout) is ignored. Success must be claimed: a message about
    which nothing is said within `send_timeout` counts as one that may have arrived, and is sent again.
    """

    __slots__ = ("_count", "_detailed", "_details", "_reported", "_results", "_tell", "settled", "since")

    def __init__(self, batch: Batch, since: float, tell: Callable[[Report], object]) -> None:
        self._count = batch.count
        self._results: list[Outcome | BaseException | None] = [None] * batch.count
        self._details: Sequence[Any] = [None] * batch.count
        self._detailed = False
        # Appending to a list is one step, whichever thread does it; whoever makes it full knows that it did. Two threads that
        # speak of the same message at the same moment are both in it: full is not yet complete, and is told by whoever follows.
        self._reported: list[int] = []
        self._tell = tell
        self.settled: set[int] = set()  # for the worker: those that it has settled before the others
        self.since = since

    def delivered(self, position: int, detail: Any = None) -> None:
        """The destination has confirmed this message. `detail`: what it said (partition and offset, an id), for `receipt.detail`."""
        if self._results[position] is None:
            if detail is not None:
                self._details[position] = detail  # type: ignore[index]
                self._detailed = True
            self._results[position] = DELIVERED
            self._reported.append(position)
            if len(self._reported) >= self._count:
                self._tell(self)

    def failed(self, position: int, result: BaseException | Outcome) -> None:
        """This message was not delivered: an exception as for `_send`, or an `Outcome`."""
        if self._results[position] is None:
            self._results[position] = result
            self._reported.append(position)
            self._tell(self)  # at once: it may mean that the connection is gone

    def all_delivered(self, details: Sequence[Any] | None = None) -> None:
        """Every message that nothing has been said about yet is confirmed. `details`: one for each message of the batch, not to be
        changed any more; if it is no list, they are asked for when somebody wants to see them. Raises ValueError if there are more or
        fewer."""
        if details is not None and len(details) != self._count:
            raise ValueError(f"{len(details)} details for {self._count} messages")
        if not self._reported:  # nothing has been said about any: by far the most frequent case
            self._results[:] = [DELIVERED] * self._count
            if details is not None:
                self._details = details
                self._detailed = True
            self._reported += range(self._count)
            self._tell(self)
            return
        for position in range(self._count):
            self.delivered(position, None if details is None else details[position])

    def all_failed(self, result: BaseException | Outcome) -> None:
        """Every message that nothing has been said about yet was not delivered."""
        for position in range(self._count):
            self.failed(position, result)

    # --- for the worker -----------------------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Something has been said about every message."""
        return len(self._reported) >= self._count and None not in self._results

    @property
    def begun(self) -> bool:
        """Something has been said about a message that is not settled yet."""
        return len(self._reported) > len(self.settled)

    @property
    def all_arrived(self) -> bool:
        """Every message is confirmed, and none was settled before: by far the most frequent case, and quick to recognise."""
        return not self.settled and self._results.count(DELIVERED) == self._count

    def positions(self) -> list[int]:
        """The messages that are not settled yet."""
        return [position for position in range(self._count) if position not in self.settled]

    def arrived(self) -> list[int]:
        """The messages that are confirmed and not settled yet."""
        return [position for position in self.positions() if self._results[position] is DELIVERED]

    def results(self) -> list[Outcome | BaseException]:
        """What was said so far about the messages that are not settled yet."""
        return [result for position in self.positions() if (result := self._results[position]) is not None]

    def result(self, position: int) -> Outcome | BaseException | None:
        """What was said about a message; None: nothing yet."""
        return self._results[position]

    def details_of(self, positions: Sequence[int] | None) -> Sequence[Any] | None:
        """What the destination said about these messages (None: about all); None when it said nothing about any message."""
        if not self._detailed:
            return None
        return self._details if positions is None else [self._details[position] for position in positions]
