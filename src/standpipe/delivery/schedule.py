"""Which messages may be sent next: the rules of order. Pure: no thread, clock, random or log.

Rules:
1. `fifo`: a message is sent only when every earlier one is settled.
2. `key`: a message with a key is sent only when every earlier one of the same key is settled. A key is *busy* while a
   message of it waits for a retry (and, when several attempts can be under way at once, also while it is being sent);
   later messages of a busy key are *held* until it is settled. Messages without a key hold back nobody.
3. `none`: no message holds back another.
4. A batch that failed as a whole and has more than one message is tried again in halves, so that a poison message ends up
   alone. What stands in the second half and shares a key with the first is held.

A message is in exactly one place: in the queue, in `ready`, in `waiting`, in `held`, or on its way.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Set
from typing import Literal

from standpipe.delivery.batch import Batch, Slice

Ordering = Literal["key", "fifo", "none"]


class Schedule:
    """The messages that have been taken from the queue and are not on their way.

    `exclusive`: keys are busy from the moment their message is taken, because the next attempt may begin before this one
    has ended, or because the transport may deliver a later message of a batch although an earlier one failed.
    """

    def __init__(self, ordering: Ordering, exclusive: bool) -> None:
        self.ordering = ordering
        self.exclusive = exclusive and ordering == "key"
        self.together = ordering == "fifo" or (ordering == "key" and not self.exclusive)
        """A batch may hold messages that have to wait for one another: those of it that fail are retried together."""
        self.uncertain = False
        """Some receipts say that a message of theirs may have arrived, because its batch, which knew, was taken apart."""
        self.ready: deque[Slice] = deque()
        self.waiting: list[Batch] = []
        self.held: dict[str, deque[Slice]] = {}

    def __iter__(self) -> Iterator[Slice]:
        """Every slice, waiting ones first."""
        for batch in self.waiting:
            yield from batch.slices
        yield from self.ready
        for slices in self.held.values():
            yield from slices

    # --- new messages -------------------------------------------------------------------------------------------------

    def admit(self, slices: list[Slice]) -> tuple[list[Slice], int]:
        """Of messages fresh from the queue, those that may be sent now, and how many they are; the others are held."""
        if self.ordering != "key" or not (self.held or self.exclusive):
            return slices, count_of(slices)
        admitted: list[Slice] = []
        for part in slices:
            if part[0]._keys is None:
                admitted.append(part)
            else:
                self._admit_keyed(part, admitted)
        return admitted, count_of(admitted)

    def _admit_keyed(self, part: Slice, admitted: list[Slice]) -> None:
        receipt, start, stop = part
        for index in range(start, stop):
            key = receipt._key(index)
            single = (receipt, index, index + 1)
            if key is not None and key in self.held:
                self.held[key].append(single)
                continue
            if key is not None and self.exclusive:
                self.held[key] = deque()
            admitted.append(single)

    def give_back(self, batch: Batch) -> None:
        """Messages that were taken and not tried this time: they go first next time."""
        if batch.tries or batch.due:  # they failed earlier: their keys are busy because of them, and their history is kept
            self._wait(self._behind(batch, {key for other in self.waiting for key in other.key_set()}))
            return
        if self.exclusive:
            # Their keys are busy on their own account; `ready` takes them without asking again.
            self.ready.extendleft(reversed(list(batch.slices)))
            return
        admitted, _ = self.admit(batch.slices)
        self.ready.extendleft(reversed(admitted))

    def take_ready(self, limit: int) -> tuple[list[Slice], int]:
        """At most `limit` messages from those that wait for nothing, and how many they are. Fewer than `limit` only if there
        are no more: what is in `ready` is older than what is in the queue, and must be asked for first."""
        slices: list[Slice] = []
        count = 0
        while self.ready and count < limit:
            receipt, start, stop = self.ready.popleft()
            if stop - start > limit - count:
                self.ready.appendleft((receipt, start + limit - count, stop))
                stop = start + limit - count
            # Its key may have become busy since; with `exclusive` it is busy because of this very message.
            admitted, number = ([(receipt, start, stop)], stop - start) if self.exclusive else self.admit([(receipt, start, stop)])
            slices += admitted
            count += number
        return slices, count

    # --- failed messages ----------------------------------------------------------------------------------------------

    def retry(self, batch: Batch) -> None:
        """`batch` failed and is to be tried again when `batch.due` has come: its keys are busy until it is settled."""
        if self.ordering == "key" and not self.exclusive and batch.holds:
            for key in batch.key_set():
                self.held.setdefault(key, deque())
        self._wait(batch)

    def _wait(self, batch: Batch) -> None:
        if not batch.count:
            return
        if self.ordering == "fifo":
            insort(self.waiting, batch, key=_age)
        else:
            self.waiting.append(batch)

    def retry_halves(self, batch: Batch) -> None:
        """As `retry` for a batch that failed as a whole: by halves."""
        middle = (batch.count + 1) // 2
        self._retry_both(batch.part(0, middle), batch.part(middle, batch.count))

    def split(self, batch: Batch, number: int) -> Batch:
        """Take `batch` (just chosen) apart: its first `number` messages to be tried now, the rest keeps waiting."""
        head, rest = batch.part(0, number), batch.part(number, batch.count)
        # The rest keeps its keys busy; what it shares with the head is held, since settling the head frees those keys.
        self._wait(self._behind(rest, head.key_set()))
        return head

    def _retry_both(self, first: Batch, second: Batch) -> None:
        self.retry(first)
        self.retry(self._behind(second, first.key_set()))

    def _behind(self, batch: Batch, keys: Set[str]) -> Batch:
        """`batch` without the messages of busy `keys`, which are held, before those held already (they are older)."""
        if self.ordering != "key" or self.exclusive or not (keys & batch.key_set()):
            return batch
        kept: list[Slice] = []
        behind: dict[str, list[Slice]] = {}
        for single in batch.singles():
            key = single[0]._key(single[1])
            if key is not None and key in keys:
                behind.setdefault(key, []).append(single)
                if batch.unknown:
                    single[0]._rest().unknown = self.uncertain = True
            else:
                kept.append(single)
        for key, slices in behind.items():
            self.held.setdefault(key, deque()).extendleft(reversed(slices))
        return batch._with(kept, len(kept))

    def due(self, now: float) -> Batch | None:
        """The failed batch to be tried again now, longest due first; it is taken out."""
        if not self.waiting:
            return None
        first = self.waiting[0] if self.ordering == "fifo" else min(self.waiting, key=_due)
        if first.due > now:
            return None
        self.waiting.remove(first)
        return first

    def next_due(self) -> float | None:
        """When the next failed batch may be tried again."""
        if not self.waiting:
            return None
        return self.waiting[0].due if self.ordering == "fifo" else min(self.waiting, key=_due).due

    def hurry(self, now: float) -> None:
        """The destination has just proved to be well: halves of a failed batch need not wait any longer."""
        for batch in self.waiting:
            if batch.count > 1 and batch.due > now and batch.holds:  # else it only waits to be put aside
                batch.due = now

    # --- settled messages ---------------------------------------------------------------------------------------------

    def settled(self, batch: Batch) -> None:
        """`batch` is settled for good: what was held behind its keys may go."""
        if not self.held or self.ordering != "key" or not batch.holds:
            return
        for key in batch.key_set():
            held = self.held.get(key)
            if held is None:
                continue
            if not self.exclusive:
                del self.held[key]
                self.ready.extendleft(reversed(held))
            elif held:
                self.ready.appendleft(held.popleft())
            else:
                del self.held[key]

    def expired(self, before: float) -> list[Batch]:
        """Take out every message accepted before `before`, wherever it waits. Those that were tried stay apart, each batch with
        its history, and so do those that keep a key busy: it is freed when their batch is `settled`, once."""
        ready = [part for part in self.ready if part[0]._accepted_at < before]
        if ready:
            self.ready = deque(part for part in self.ready if part[0]._accepted_at >= before)
        found: list[Batch] = []
        for batch in list(self.waiting):
            if any(part[0]._accepted_at < before for part in batch.slices):
                found += self._expire_waiting(batch, before)
        held: list[Slice] = []
        for key, behind in self.held.items():
            over = [part for part in behind if part[0]._accepted_at < before]
            if over:
                held += over
                self.held[key] = deque(part for part in behind if part[0]._accepted_at >= before)
        found += [Batch(ready, count_of(ready), holds=self.exclusive), Batch(held, count_of(held), holds=False)]
        return [batch for batch in found if batch.count]

    def _expire_waiting(self, batch: Batch, before: float) -> list[Batch]:
        """Those of `batch` that have expired: first the ones whose keys nothing that is left of it keeps busy."""
        singles = list(batch.singles())
        late = [single[0]._accepted_at < before for single in singles]
        kept = batch.choose(lambda position: not late[position])
        index = self.waiting.index(batch)
        self.waiting[index : index + 1] = [kept] if kept.count else []
        busy = kept.key_set()
        keyed = [single[0]._key(single[1]) in busy for single in singles]
        behind = batch.choose(lambda position: late[position] and keyed[position])
        behind.holds = False
        return [batch.choose(lambda position: late[position] and not keyed[position]), behind]

    def oldest(self) -> float | None:
        """When the oldest message here was accepted."""
        return min((part[0]._accepted_at for part in self), default=None)


def _due(batch: Batch) -> float:
    return batch.due


def _age(batch: Batch) -> int:
    receipt, start, _ = batch.slices[0]
    return receipt._first + start


def count_of(slices: Iterable[Slice]) -> int:
    """How many messages the slices are."""
    count = 0
    for _, start, stop in slices:  # a generator for `sum` would cost more than a single slice, which is the usual case
        count += stop - start
    return count
