"""Messages on their way to the destination together.

A batch is a list of slices of receipts: nothing is copied and no object per message is made unless somebody asks for
single messages. The same object carries what retrying needs to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, KeysView, Sequence
from typing import Any

import orjson

from standpipe.core.message import Message
from standpipe.core.outcome import Outcome
from standpipe.delivery.receipt import Receipt, wall_offset

Slice = tuple[Receipt, int, int]
"""Messages `start` to `stop` (excluded) of a receipt."""

_LAST_DIGITS = [f"{number:02x}" for number in range(0x100)]


def _generated_ids(prefix: str, first: int, stop: int) -> list[str]:
    """`f"{prefix}{number:012x}"` for each number, in a third of the time: neighbours differ in their last two digits only."""
    found: list[str] = []
    while first < stop:
        high, low = divmod(first, 0x100)
        leading = f"{prefix}{high:010x}"
        found += [leading + last for last in _LAST_DIGITS[low : low + stop - first]]
        first = (high + 1) * 0x100
    return found


def lines_of(part: Slice) -> Sequence[bytes]:
    """The payloads of a slice, one each."""
    receipt, start, stop = part
    if receipt._count == 1:
        return (receipt._payload,)
    if stop - start == receipt._count:
        return receipt._payload.split(b"\n")
    return receipt._lines()[start:stop]


def share(receipt: Receipt, start: int, stop: int) -> int:
    """The bytes of messages `start` to `stop`, so that the shares of all parts add up to the whole exactly."""
    return receipt._size * stop // receipt._count - receipt._size * start // receipt._count


class Batch:
    """What `_send_batch` is given: one or more messages, in the order in which they must arrive.

    Take what the transport likes best: `jsonl()` (all payloads as JSON Lines), `payloads()`, `contents()` (decoded), or
    iterate over `Message` objects. `split_by_error()` separates error from normal messages. To claim success return
    `batch.delivered()`; for single messages return one result per message: an `Outcome` or an exception.
    Not thread-safe; do not keep it after `_send_batch` has returned.
    """

    __slots__ = ("attempts", "born", "count", "details", "due", "epoch", "first_attempt", "holds", "slices", "tries", "unknown")

    def __init__(self, slices: list[Slice], count: int, *, holds: bool = True) -> None:
        self.slices = slices
        self.count = count
        # For the engine. attempts: failed ones since the last reset; tries: all that failed; epoch: the connection of the
        # last failure; born: the connection of the first one (-1: none); unknown: an attempt may have arrived; holds: if keys
        # of it are busy, it is because of it.
        self.attempts = 0
        self.tries = 0
        self.epoch = 0
        self.born = -1
        self.due = 0.0
        self.unknown = False
        self.holds = holds
        self.first_attempt: float | None = None
        self.details: Sequence[Any] | None = None
        """What the destination said about each message (its partition and offset, its id, ...), in order. Set it before
        returning from `_send_batch`; it becomes `receipt.detail` of those that were delivered. If it is not one for each message,
        it is left out, with a warning."""

    # --- for authors of producers -------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Message]:
        """The messages as `Message` objects (made one by one; the handiest form and the slowest)."""
        wall = self._wall()
        for part in self.slices:
            receipt, start, _ = part
            headers = receipt._more.headers if receipt._more is not None else None
            for index, payload in enumerate(lines_of(part), start):
                yield Message(receipt._id(index), receipt._is_error, payload, receipt._key(index), headers, receipt._accepted_at + wall)

    def payloads(self) -> list[bytes]:
        """The JSON encodings of the messages, in order."""
        if len(self.slices) == 1:
            return list(lines_of(self.slices[0]))
        return [line for part in self.slices for line in lines_of(part)]

    def contents(self) -> list[dict[str, Any]]:
        """The messages as dicts, in order, freshly decoded."""
        decoded: list[dict[str, Any]] = orjson.loads(b"[" + self.jsonl()[:-1].replace(b"\n", b",") + b"]")
        return decoded

    def jsonl(self) -> bytes:
        """All messages as JSON Lines: UTF-8, each line ended by a newline."""
        parts = [part[0]._payload if part[2] - part[1] == part[0]._count else b"\n".join(lines_of(part)) for part in self.slices]
        parts.append(b"")
        return b"\n".join(parts)

    def ids(self) -> list[str]:
        """The message ids, in order: the same in every attempt, so that a destination can tell repetitions."""
        first = self._first_of_neighbours()
        if first is not None:
            return _generated_ids(self.slices[0][0]._origin.prefix, first, first + self.count)
        found: list[str] = []
        for receipt, start, stop in self.slices:  # `receipt._id` written out: a call for each message costs more than the id
            more = receipt._more
            if more is not None and more.ids is not None:
                found += more.ids[start:stop]
            elif stop - start == 1:  # messages that came one by one
                found.append(f"{receipt._origin.prefix}{receipt._first + start:012x}")
            else:
                found += _generated_ids(receipt._origin.prefix, receipt._first + start, receipt._first + stop)
        return found

    def _first_of_neighbours(self) -> int | None:
        """The number of the first message, if all came one by one and one directly after the other: the usual case."""
        if not self.slices or len(self.slices) != self.count:
            return None
        origin = self.slices[0][0]._origin
        numbers = [receipt._first + start for receipt, start, _ in self.slices if receipt._more is None and receipt._origin is origin]
        if not numbers or numbers != list(range(numbers[0], numbers[0] + self.count)):
            return None
        return numbers[0]

    def keys(self) -> list[str | None]:
        """The keys of the messages, in order; None where a message has none."""
        if [receipt._keys for receipt, _, _ in self.slices].count(None) == len(self.slices):
            return [None] * self.count
        found: list[str | None] = []
        for receipt, start, stop in self.slices:
            keys = receipt._keys
            found += [keys] * (stop - start) if keys is None or isinstance(keys, str) else keys[start:stop]
        return found

    def is_errors(self) -> list[bool]:
        """For each message whether it is an error message, in order."""
        flags = {receipt._is_error for receipt, _, _ in self.slices}
        if len(flags) == 1:
            return [flags.pop()] * self.count
        return [flag for receipt, start, stop in self.slices for flag in (receipt._is_error,) * (stop - start)]

    def times(self) -> list[float]:
        """When each message was accepted, in seconds since 1970, in order."""
        wall = self._wall()
        if len(self.slices) == self.count:
            return [receipt._accepted_at + wall for receipt, _, _ in self.slices]
        return [time for receipt, start, stop in self.slices for time in (receipt._accepted_at + wall,) * (stop - start)]

    def split_by_error(self) -> list[tuple[bool, Batch]]:
        """The normal and the error messages apart: at most two pairs `(is_error, batch)`, order kept within each."""
        parts = [(flag, [part for part in self.slices if part[0]._is_error is flag]) for flag in (False, True)]
        return [(flag, Batch(slices, sum(stop - start for _, start, stop in slices))) for flag, slices in parts if slices]

    def delivered(self) -> list[Outcome]:
        """The claim that every message arrived; what `_send_batch` returns on success."""
        return [Outcome.DELIVERED] * self.count

    # --- for the engine -----------------------------------------------------------------------------------------------

    def part(self, start: int, stop: int) -> Batch:
        """Messages `start` to `stop` (excluded) as a batch of their own, with the same history."""
        slices: list[Slice] = []
        position = 0
        for receipt, first, last in self.slices:
            low, high = max(start - position, 0), min(stop - position, last - first)
            if low < high:
                slices.append((receipt, first + low, first + high))
            position += last - first
            if position >= stop:
                break
        made = self._with(slices, stop - start)
        made.details = None if self.details is None else self.details[start:stop]
        return made

    def choose(self, wanted: Callable[[int], bool]) -> Batch:
        """The messages whose position satisfies `wanted`, with the same history."""
        slices: list[Slice] = []
        details: list[Any] | None = None if self.details is None else []
        for position, single in enumerate(self.singles()):
            if wanted(position):
                slices.append(single)
                if details is not None and self.details is not None:
                    details.append(self.details[position])
        made = self._with(slices, len(slices))
        made.details = details
        return made

    @staticmethod
    def joined(batches: Sequence[Batch]) -> Batch:
        """The messages of several batches as one, in that order, with the worst of their histories."""
        slices = [part for batch in batches for part in batch.slices]
        made = batches[0]._with(slices, sum(batch.count for batch in batches))
        made.attempts = max(batch.attempts for batch in batches)
        made.tries = max(batch.tries for batch in batches)
        made.epoch = max(batch.epoch for batch in batches)
        made.born = min((batch.born for batch in batches if batch.born >= 0), default=-1)
        made.unknown = any(batch.unknown for batch in batches)
        made.holds = any(batch.holds for batch in batches)
        made.first_attempt = min((batch.first_attempt for batch in batches if batch.first_attempt is not None), default=None)
        return made

    def singles(self) -> Iterator[Slice]:
        """One slice per message."""
        for receipt, start, stop in self.slices:
            for index in range(start, stop):
                yield receipt, index, index + 1

    def key_set(self) -> KeysView[str]:
        """The keys of the messages, each once, without None, in the order of the messages: what is done for each of them is
        the same in every run."""
        found: dict[str, None] = {}
        for receipt, start, stop in self.slices:
            keys = receipt._keys
            if isinstance(keys, str):
                found[keys] = None
            elif keys is not None:
                found.update((key, None) for key in keys[start:stop] if key is not None)
        return found.keys()

    def _wall(self) -> float:
        return wall_offset(self.slices[0][0]._origin.clock) if self.slices else 0.0

    def _with(self, slices: list[Slice], count: int) -> Batch:
        made = Batch(slices, count, holds=self.holds)
        made.attempts, made.tries, made.epoch, made.born = self.attempts, self.tries, self.epoch, self.born
        made.due, made.unknown, made.first_attempt = self.due, self.unknown, self.first_attempt
        return made
