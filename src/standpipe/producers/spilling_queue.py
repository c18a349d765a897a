"""A queue in memory that goes on to the disk when it is full, and with what is left at shutdown (`on_full: spill`).

Two spools: `spill` takes what finds the queue full; `left` takes, at shutdown, what is in memory then. Everything in memory is
older than what waits in `spill`, so that after a restart `left` comes first, then `spill`, then what is new: the order of
`produce`. What is in memory is lost by a crash, as with any queue in memory; what is on the disk is not.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

from standpipe.core.clock import Clock
from standpipe.core.errors import ProducerClosed
from standpipe.delivery.batch import Slice, lines_of
from standpipe.delivery.memory_queue import NEVER, Flush, MemoryQueue, QueueLimits
from standpipe.delivery.receipt import STORED, Origin, Receipt
from standpipe.producers.patient_reading import PatientReading
from standpipe.producers.spooled_entries import mark_lost
from standpipe.producers.state_dir import LEFT, SPILL
from standpipe.spool.errors import SpoolError, SpoolFull
from standpipe.spool.format import FLAG_ERROR, Record
from standpipe.spool.intervals import Intervals
from standpipe.spool.log import Spool
from standpipe.spool.recovery import Recovery

_log = logging.getLogger("standpipe.spool")

READ_BYTES: Final = 2**20
"""Bytes read back from the disk at a time."""


Read = tuple[Record, str]
"""A record, and the id prefix of the process that wrote it: together with its number that names it for good."""


class _Place(NamedTuple):
    """Where on the disk the first message of an entry is."""

    spool: Spool
    number: int
    prefix: str


class SpillingQueue(MemoryQueue):
    """A `MemoryQueue` with a disk behind it. `open` before use; `close_spool` at the end."""

    keeps = True

    def __init__(
        self,
        producer: str,
        limits: QueueLimits,
        clock: Clock,
        make_spool: Callable[[Any, str], Spool],
        origin: Origin,
        spill_max_bytes: int,
    ) -> None:
        super().__init__(producer, limits, clock)
        self._make_spool = make_spool
        self._origin = origin
        self._spill_max_bytes = spill_max_bytes
        self._left: Spool | None = None
        self._spill: Spool | None = None
        self._spilling = False  # newer entries than those in memory are on the disk
        self._disk_messages = 0  # of `messages` and `bytes`, those that are on the disk only
        self._disk_bytes = 0
        # Used under the lock, and its receipts die without it, at any moment: whoever takes one out holds it, or finds none and makes
        # the entry anew; going through all of them is safe, because a weak dictionary removes the dead ones only afterwards.
        self._live: weakref.WeakValueDictionary[int, Receipt] = weakref.WeakValueDictionary()
        self._next_restored = 0
        self._absent = 0  # messages that were counted as accepted and are not there: their numbers are not given out again
        self._reading = PatientReading(producer, clock)
        self._untaken: list[Slice] = []
        self._recovery: Recovery | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> Recovery:
        """Open both spools; what a former process left waits first. Raises SpoolInUse, SpoolTooNew, SpoolError."""
        with self.lock:
            if self._recovery is None:
                self._recovery = self._open(self._make_spool(self.lock, LEFT), self._make_spool(self.lock, SPILL))
            return self._recovery

    def _open(self, left: Spool, spill: Spool) -> Recovery:
        opened: list[Spool] = []
        try:
            waiting = in_flight = 0
            for spool in (left, spill):
                recovery = spool.open()
                opened.append(spool)
                waiting += recovery.backlog
                in_flight += recovery.in_flight
            kept = _everything_in(left)
            begun, twice = _without_what_was_moved(spill, _moved(kept))
        except BaseException:
            for spool in opened:
                spool.forget()
            raise
        self._left, self._spill = left, spill
        self.accepted = self.messages = waiting - twice
        self._disk_messages = recovery.backlog - twice
        self._spilling = recovery.backlog > 0
        self._restore_all(left, kept)
        self._lose(left.take_absent())
        if self._spilling:
            self._bring_back(spill, begun)
        return Recovery(backlog=self.accepted, in_flight=min(in_flight + _sent(left, kept), self.accepted))

    def close_spool(self) -> None:
        """Write everything down and give the spools up."""
        with self.lock:
            spools, self._left, self._spill = (self._left, self._spill), None, None
            for spool in spools:
                if spool is not None:
                    spool.close()

    def forget_spool(self) -> None:
        """In a forked child: the spools are the parent's."""
        for spool in (self._left, self._spill):
            if spool is not None:
                spool.forget()
        self._left = self._spill = None

    @property
    def trouble(self) -> str | None:
        """What is wrong with the disk now; None if nothing is known to be."""
        with self.lock:
            return next((spool.trouble for spool in (self._spill, self._left) if spool is not None and spool.trouble is not None), None)

    # --- callers ------------------------------------------------------------------------------------------------------

    def put(self, entry: Receipt, timeout: float | None = None) -> None:
        """As `MemoryQueue.put`; what finds the queue full goes to the disk, and what comes after it as well."""
        with self.lock:
            if self.closed:
                raise ProducerClosed(f"{self._producer}: the producer has been shut down; the message was not accepted")
            if not self._spilling and self.fits(entry._count, entry._size):
                self._put_in_memory(entry)
                return
            if self._disk_bytes + entry._size > self._spill_max_bytes:
                self._wait_for_disk(entry, self._limits.full_timeout if timeout is None else timeout)
            self._put_on_disk(entry)

    async def aput(self, entry: Receipt) -> None:
        """As `put`; when the disk's share is used up as well it awaits room instead of waiting for it."""
        if self.takes(entry._count, entry._size):
            self.put(entry)
        else:
            await asyncio.to_thread(self.put, entry)

    def takes(self, count: int, size: int) -> bool:
        """Whether so much would be taken without waiting now."""
        return (not self._spilling and self.fits(count, size)) or self._disk_bytes + size <= self._spill_max_bytes

    def fits(self, count: int, size: int) -> bool:
        """Whether so much fits into memory now."""
        in_memory = self.messages - self._disk_messages + count <= self._max_messages
        return in_memory and self.bytes - self._disk_bytes + size <= self._max_bytes

    def _wait_for_disk(self, entry: Receipt, timeout: float | None) -> None:
        """The disk's share is used up as well: now the caller waits, as with `block`."""
        until = None if timeout is None else self._clock.monotonic() + timeout
        self.waiting += 1
        try:
            while self._disk_bytes + entry._size > self._spill_max_bytes and self._spilling:
                left = None if until is None else until - self._clock.monotonic()
                if self.is_worker() or (left is not None and left <= 0):
                    raise self._full(" and its share of the disk as well")
                self._clock.wait(self._space, left)
                if self.closed:
                    raise ProducerClosed(
                        f"{self._producer}: the producer was shut down while waiting for room; the message was not accepted"
                    )
        finally:
            self.waiting -= 1

    @property
    def next_number(self) -> int:
        """The number that the next message gets."""
        return self.accepted + self._absent

    def _put_in_memory(self, entry: Receipt) -> None:
        entry._first = self.accepted + self._absent
        self._count(entry)
        try:
            self._append(entry)
        finally:
            self._wake_at_its_level()

    def _put_on_disk(self, entry: Receipt) -> None:
        spill = self._spill
        if spill is None:
            raise ProducerClosed(f"{self._producer}: the queue is closed; the message was not accepted")
        entry._first = self.next_number
        entry._size = len(entry._payload)
        if not self._spilling:
            spill.seek(spill.next_number)
        number = self._write(spill, entry, 0, entry._count)
        self._spilling = True
        self._count(entry)
        self._disk_messages += entry._count
        self._disk_bytes += entry._size
        entry._state = STORED
        try:
            self._live[number] = entry
            entry._payload = b""
        finally:
            self._wake_at_its_level()

    def _count(self, entry: Receipt) -> None:
        """Nothing is called here: Ctrl-C finds all of it done, or nothing."""
        self.accepted += entry._count
        self.messages += entry._count
        self.bytes += entry._size
        if self.messages > self.messages_max:
            self.messages_max = self.messages
        if self.bytes > self.bytes_max:
            self.bytes_max = self.bytes

    def _wake_at_its_level(self) -> None:
        if self.accepted >= self.wake_at:
            self.wake_at = NEVER
            self.wake()

    def _write(self, spool: Spool, entry: Receipt, start: int, stop: int, **notes: object) -> int:
        """Write messages `start` to `stop` of `entry` with the ids that they have, whoever reads them later. The notes become
        part of the record, so that no crash can come between."""
        more = entry._more
        keys = entry._keys
        meta = {
            "n": entry._first + start,
            "ids": [entry._id(index) for index in range(start, stop)],
            "keys": None if keys is None else [entry._key(index) for index in range(start, stop)],
            "headers": dict(more.headers) if more is not None and more.headers is not None else None,
            **notes,
        }
        time = self._clock.time() - (self._clock.monotonic() - entry._accepted_at)
        payload = entry._payload if stop - start == entry._count else b"\n".join(lines_of((entry, start, stop)))
        return spool.append(stop - start, FLAG_ERROR if entry._is_error else 0, time, orjson.dumps(meta), payload)

    # --- the worker ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        self._refill()
        return len(self._entries)

    def oldest_accepted_at(self) -> float | None:
        """When the first entry was accepted; None if there is none."""
        self._refill()
        return super().oldest_accepted_at()

    def take(self, max_messages: int, max_bytes: int) -> tuple[list[Slice], int]:
        """As `MemoryQueue.take`, from memory first and then from the disk."""
        self._refill()
        slices, count = super().take(max_messages, max_bytes)
        for receipt, start, stop in slices:
            place = _place_of(receipt)
            if place is not None:
                place.spool.take(place.number + start, stop - start)
        self.progress()
        return slices, count

    def take_expired(self, before: float) -> list[Slice]:
        """Take out the messages accepted before `before`, also those on the disk."""
        slices: list[Slice] = []
        while True:
            self._refill()
            found = super().take_expired(before)
            if not found:
                return slices
            slices += found

    def take_all(self) -> list[Slice]:
        """What is in memory; the rest stays where it is."""
        self._untaken = super().take_expired(float("inf"))
        return list(self._untaken)

    def progress(self) -> None:
        """The worker is about to look for more, or to wait."""
        for spool in (self._left, self._spill):
            if spool is not None:
                spool.write_positions()

    @property
    def read_again_at(self) -> float | None:
        """When the disk is asked again for what waits there."""
        return self._reading.again_at

    def _refill(self) -> None:
        if not self._spilling or self._entries or self._spill is None or not self._reading.allowed:
            return
        self._bring_back(self._spill, self._reading.read(self._spill, READ_BYTES))
        self._reading.ended(in_vain=self._spilling and not self._entries)

    def _bring_back(self, spill: Spool, records: list[Read]) -> None:
        self._restore_all(spill, records)
        lost = spill.take_absent()
        self._disk_messages -= lost
        if spill.read_to_end:
            self._spilling = False
            self.bytes -= self._disk_bytes  # of those that were lost; all others have been read
            self._disk_messages = self._disk_bytes = 0
        self._lose(lost)
        if not self._spilling:
            self.made_room()

    def _lose(self, count: int) -> None:
        """So many of those that were to come back are not there (the spool has told): nobody waits for them."""
        if not count:
            return
        self.accepted -= count
        self.messages -= count
        self._absent += count
        if self.wake_at != NEVER:
            self.wake_at -= count
        for flush in self._flushes:
            self._lose_for(flush, count)
        self._space.notify_all()

    def _lose_for(self, flush: Flush, count: int) -> None:
        """A flush need not wait for what was lost and had been accepted before it began."""
        if self._spilling and (not self._entries or self._entries[-1]._first < flush.limit):
            flush.remaining = max(0, flush.remaining - count)  # reading has not come to what was accepted after that
            return
        # All of the older ones have been read: those that are left were taken, or are among the entries in memory.
        newer = sum(entry._count for entry in self._entries if entry._first >= flush.limit)
        flush.remaining = min(flush.remaining, self.messages - self._disk_messages - newer)

    def _restore_all(self, spool: Spool, records: list[Read]) -> None:
        for record, prefix in records:
            for start, stop in spool.unsettled(record):
                entry = self._restore(spool, record, prefix, start, stop)
                self._append(entry)
                if spool is self._spill:
                    self._disk_messages -= entry._count
                    self._disk_bytes -= entry._size

    def _restore(self, spool: Spool, record: Record, prefix: str, start: int, stop: int) -> Receipt:
        """The entry in a record. One that this process accepted is the caller's own receipt, if he still holds it."""
        entry = self._live.pop(record.first, None) if spool is self._spill and prefix == spool.prefix else None
        meta = record.meta or {}
        if entry is None:
            entry = self._remade(record, meta, start, stop)
            own = prefix == spool.prefix
            if own:
                entry._first = meta["n"] + start
            else:
                entry._first = self._next_restored
                self._next_restored += entry._count
                self.bytes += entry._size
                if spool is self._spill:
                    self._disk_bytes += entry._size
        else:
            entry._payload = record.payload
        more = entry._rest()
        more.stored = _Place(spool, record.first + start, prefix)
        more.unknown = bool(meta.get("sent")) or spool.was_taken(record.first + start, record.first + stop)
        return entry

    def _remade(self, record: Record, meta: dict[str, object], start: int, stop: int) -> Receipt:
        lines = record.payload.split(b"\n")
        payload = record.payload if stop - start == record.count else b"\n".join(lines[start:stop])
        keys = meta.get("keys")
        age = max(0.0, self._clock.time() - record.time)
        entry = Receipt(
            self._origin,
            record.is_error,
            payload,
            stop - start,
            len(payload),
            tuple(keys[start:stop]) if isinstance(keys, list) else None,
            self._clock.monotonic() - age,
        )
        entry._state = STORED
        more = entry._rest()
        ids, headers = meta.get("ids"), meta.get("headers")
        more.ids = ids[start:stop] if isinstance(ids, list) else None
        more.headers = headers if isinstance(headers, dict) else None
        return entry

    # --- settled, and the end -----------------------------------------------------------------------------------------

    def _release(self, receipt: Receipt, start: int, stop: int) -> None:
        super()._release(receipt, start, stop)
        self._settled(receipt, start, stop)

    def release_one(self, receipt: Receipt) -> None:
        """As `release` for a receipt of one message, quicker."""
        super().release_one(receipt)
        self._settled(receipt, 0, 1)

    @staticmethod
    def _settled(receipt: Receipt, start: int, stop: int) -> None:
        place = _place_of(receipt)
        if place is not None:
            place.spool.settle(place.number + start, stop - start)

    def keep(self, left: list[Slice]) -> list[Slice]:
        """Store what is in memory. Returns what could not be stored.

        What came from `left` is there already; what came from `spill` moves to `left`, because it may have to go before others that
        do. Until that is noted in `spill` it is in both: the new record says which one it replaces, for the next `open`.
        """
        spool = self._left
        if spool is None:
            return left
        if self._spill is not None:
            mark_lost(self._live, self._spill.reading_at)
        stored = self._store(spool, [part for part in left if not _is_in(spool, part)])
        return [] if stored else [part for part in left if _place_of(part[0]) is None]

    def _store(self, spool: Spool, parts: list[Slice]) -> bool:
        """Write them to `spool`; False if that is not possible: then none is there."""
        first, untaken = spool.next_number, set(map(id, self._untaken))
        try:
            for part in parts:
                receipt, start, stop = part
                place, more = _place_of(receipt), receipt._more
                was = [place.prefix, place.number + start] if place is not None else None
                sent = id(part) not in untaken or (more is not None and more.unknown)
                self._write(spool, receipt, start, stop, was=was, sent=sent)
            spool.commit(spool.next_number)
        except (SpoolError, SpoolFull) as error:
            _log.error("%s: what is left in memory could not be stored (%s); it is handed back", self._producer, error)
            spool.settle(first, spool.next_number - first)
            return False
        for receipt, start, stop in parts:
            self._settled(receipt, start, stop)
            receipt._state = STORED
        return True


def _place_of(entry: Receipt) -> _Place | None:
    """Where on the disk it is; None: in memory only."""
    return entry._more.stored if entry._more is not None else None


def _is_in(spool: Spool, part: Slice) -> bool:
    place = _place_of(part[0])
    return place is not None and place.spool is spool


def _sent(left: Spool, kept: list[Read]) -> int:
    """How many of the messages `kept` may have been sent, of which only their records say so."""
    return sum(
        stop - start
        for record, _ in kept
        if (record.meta or {}).get("sent")
        for start, stop in left.unsettled(record)
        if not left.was_taken(record.first + start, record.first + stop)
    )


def _everything_in(spool: Spool) -> list[Read]:
    found: list[Read] = []
    while records := spool.read(READ_BYTES):
        found += records
    return found


def _moved(kept: list[Read]) -> dict[str, Intervals]:
    """Which messages of `spill`, by the prefix of their process, are among those `kept` in `left`."""
    moved: dict[str, Intervals] = {}
    for record, _ in kept:
        was = (record.meta or {}).get("was")
        if isinstance(was, list):
            prefix, number = was
            moved.setdefault(prefix, Intervals()).add(number, number + record.count)
    return moved


def _without_what_was_moved(spill: Spool, moved: dict[str, Intervals]) -> tuple[list[Read], int]:
    """A process may have ended before it noted in `spill` what it had moved to `left`: note it now. Returns the records that had
    to be read for that (what moved is the oldest), and how many messages were in both."""
    begun: list[Read] = []
    twice = 0
    last = max((stop for numbers in moved.values() for _, stop in numbers), default=0)
    while last and (records := spill.read(READ_BYTES)):
        begun += records
        for record, prefix in records:
            twice += _settle_moved(spill, record, moved.get(prefix, Intervals()))
        if records[-1][0].first >= last:
            break
    spill.write_positions()
    return begun, twice


def _settle_moved(spill: Spool, record: Record, numbers: Intervals) -> int:
    """Settle those messages of `record` that are among `numbers`; returns how many that were."""
    before = sum(stop - start for start, stop in spill.unsettled(record))
    for start, stop in numbers:
        start, stop = max(start, record.first), min(stop, record.first + record.count)
        if start < stop:
            spill.settle(start, stop - start)
    return before - sum(stop - start for start, stop in spill.unsettled(record))
