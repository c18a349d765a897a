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
from typing import Any, Final

import orjson

from standpipe.core.clock import Clock
from standpipe.core.errors import ProducerClosed
from standpipe.delivery.batch import Slice, lines_of
from standpipe.delivery.memory_queue import NEVER, MemoryQueue, QueueLimits
from standpipe.delivery.receipt import STORED, Origin, Receipt
from standpipe.spool.errors import SpoolError, SpoolFull
from standpipe.spool.format import FLAG_ERROR, Record
from standpipe.spool.log import Spool
from standpipe.spool.recovery import Recovery

_log = logging.getLogger("standpipe.spool")

READ_BYTES: Final = 2**20
"""Bytes read back from the disk at a time."""


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
        self._live: weakref.WeakValueDictionary[int, Receipt] = weakref.WeakValueDictionary()
        self._next_restored = 0

    # --- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> Recovery:
        """Open both spools; what a former process left waits first. Raises SpoolInUse, SpoolTooNew, SpoolError."""
        with self.lock:
            left, spill = self._make_spool(self.lock, "left"), self._make_spool(self.lock, "spill")
            first = left.open()
            try:
                second = spill.open()
            except BaseException:
                left.forget()
                raise
            self._left, self._spill = left, spill
            self.accepted = self.messages = first.backlog + second.backlog
            self._disk_messages = second.backlog
            self._spilling = second.backlog > 0
            while records := left.read(READ_BYTES):
                self._restore_all(left, records)
            return Recovery(backlog=first.backlog + second.backlog, in_flight=first.in_flight + second.in_flight)

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

    # --- callers ------------------------------------------------------------------------------------------------------

    def put(self, entry: Receipt, timeout: float | None = None) -> None:
        """As `MemoryQueue.put`; what finds the queue full goes to the disk, and what comes after it as well."""
        with self.lock:
            if self.closed:
                raise ProducerClosed(f"{self._producer}: the producer has been shut down; the message was not accepted")
            if not self._spilling and self.fits(entry._count, entry._size):
                super().put(entry, timeout)
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

    def _put_on_disk(self, entry: Receipt) -> None:
        spill = self._spill
        if spill is None:
            raise ProducerClosed(f"{self._producer}: the queue is closed; the message was not accepted")
        entry._first = self.accepted
        entry._size = len(entry._payload)
        if not self._spilling:
            spill.seek(spill.next_number)
        number = self._write(spill, entry, 0, entry._count)
        self._spilling = True
        self.accepted += entry._count
        self.messages += entry._count
        self.bytes += entry._size
        self._disk_messages += entry._count
        self._disk_bytes += entry._size
        self.messages_max = max(self.messages_max, self.messages)
        self.bytes_max = max(self.bytes_max, self.bytes)
        entry._state = STORED
        self._live[number] = entry
        entry._payload = b""
        if self.accepted >= self.wake_at:
            self.wake_at = NEVER
            self.wake()

    def _write(self, spool: Spool, entry: Receipt, start: int, stop: int) -> int:
        """Write messages `start` to `stop` of `entry` with the ids that they have, whoever reads them later."""
        more = entry._more
        keys = entry._keys
        meta = {
            "n": entry._first + start,
            "ids": [entry._id(index) for index in range(start, stop)],
            "keys": None if keys is None else [entry._key(index) for index in range(start, stop)],
            "headers": dict(more.headers) if more is not None and more.headers is not None else None,
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
            if receipt._more is not None and receipt._more.stored is not None:
                spool, number = receipt._more.stored
                spool.take(number + start, stop - start)
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
        return super().take_expired(float("inf"))

    def progress(self) -> None:
        """The worker is about to look for more, or to wait."""
        for spool in (self._left, self._spill):
            if spool is not None:
                spool.write_positions()

    def _refill(self) -> None:
        if not self._spilling or self._entries or self._spill is None:
            return
        self._restore_all(self._spill, self._spill.read(READ_BYTES))
        lost = self._spill.take_absent()
        self.accepted -= lost
        self.messages -= lost
        if self._spill.read_to_end:
            self._spilling = False
            self._disk_messages = self._disk_bytes = 0
            self.made_room()

    def _restore_all(self, spool: Spool, records: list[tuple[Record, str]]) -> None:
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
        more.stored = (spool, record.first + start)
        more.unknown = spool.was_taken(record.first + start, record.first + stop)
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
        if receipt._more is not None and receipt._more.stored is not None:
            spool, number = receipt._more.stored
            spool.settle(number + start, stop - start)

    def keep(self, left: list[Slice]) -> tuple[list[Receipt], list[Slice]]:
        """Store what is in memory. Returns the receipts of all that stays, and what could not be stored."""
        spool = self._left
        if spool is None:
            return [], left
        try:
            last = spool.next_number
            for receipt, start, stop in left:
                last = self._write(spool, receipt, start, stop) + stop - start
            spool.commit(last)
        except (SpoolError, SpoolFull) as error:
            _log.error("%s: what is left could not be stored (%s); it is handed back", self._producer, error)
            return [], left
        for receipt, start, stop in left:
            self._settled(receipt, start, stop)  # where they were before: they are in `left` now
            receipt._state = STORED
        return [receipt for receipt, _, _ in left] + list(self._live.values()), []
