"""The queue between `produce` and the worker, on disk: a spool with a window of it in memory.

Every entry is written to the spool before it is accepted. As long as few messages wait, entries also stay in memory and are
taken from there; when more wait than the window holds, new ones are on the disk only and come back in order when the worker
gets there, so that memory does not depend on the backlog. What a former process left is read the same way.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

from standpipe.core.clock import Clock
from standpipe.core.errors import ProducerClosed
from standpipe.delivery.batch import Slice, share
from standpipe.delivery.log_handlers import inside_own_log_handler
from standpipe.delivery.memory_queue import NEVER, MemoryQueue, QueueLimits
from standpipe.delivery.receipt import DROPPED, QUEUED, STORED, Origin, Receipt
from standpipe.producers.config import SpoolConfig
from standpipe.producers.patient_reading import PatientReading
from standpipe.producers.spooled_entries import mark_lost, meta_of, neighbours, restored
from standpipe.spool.errors import SpoolError, SpoolFull
from standpipe.spool.format import FLAG_ERROR, Record
from standpipe.spool.log import Spool
from standpipe.spool.recovery import Recovery
from standpipe.spool.statistics import SpoolStatistics

_log = logging.getLogger("standpipe.spool")

WINDOW_BYTES: Final = 16 * 2**20
"""What may wait in memory: enough for a burst of a tenth of a second (24,000 messages of 250 bytes), little beside the process
itself."""

RECENT: Final = 256
"""After so many entries that went to the disk it is found out which of them somebody holds: at once, nearly all would be put
into a weak dictionary and taken out again, 2 us each."""

ENTRY_BYTES: Final = 400
"""What an entry takes in memory beside its payload (measured: a receipt, its numbers, its place in the queue)."""

READ_BYTES: Final = 2**20
"""Bytes read back from the disk at a time."""

POSITIONS_INTERVAL: Final = 0.05
"""Seconds between writes of the positions while messages are sent one by one; after a crash, what was settled since then may
be sent again."""


DISK_POLL: Final = 1.0
"""Seconds between looks whether a full disk has room again: who makes it tells nobody; a look costs some microseconds."""

SYNC_PATIENCE: Final = 5.0
"""Seconds that closing waits for a sync under way; a disk that takes longer is dead, and everything is written anyway."""


class SpooledQueue(MemoryQueue):
    """A `MemoryQueue` whose entries survive. `open` before use; `close_spool` at the end."""

    # Python finds an attribute sooner in a slot, and those of the base class sooner as long as an object has at most 30 others.
    __slots__ = (
        "_accepted_state",
        "_began",
        "_doubtful",
        "_ending",
        "_former_bytes",
        "_last_spool",
        "_live",
        "_make_spool",
        "_on_disk",
        "_origin",
        "_origins",
        "_own_bytes",
        "_patient",
        "_reading",
        "_recent",
        "_spool",
        "_sync_interval",
        "_synced",
        "_syncer",
        "_window",
        "_write",
        "_written_at",
        "restored",
    )

    keeps = True

    def __init__(
        self,
        producer: str,
        limits: QueueLimits,
        clock: Clock,
        make_spool: Callable[[Any], Spool],
        origin: Origin,
        config: SpoolConfig,
    ) -> None:
        super().__init__(producer, limits, clock)
        self.restored = 0
        self._make_spool = make_spool
        self._origin = origin
        self._origins: dict[str, Origin] = {}
        self._synced = config.durability == "synced"
        self._sync_interval = config.sync_interval
        self._syncer: threading.Thread | None = None
        self._ending = threading.Event()
        self._doubtful: list[Receipt] = []  # at the end: accepted, and not known to be on the disk
        self._spool: Spool | None = None
        self._last_spool: Spool | None = None  # also when it is closed: it still knows what has reached the disk
        self._on_disk = False  # newer entries than those in memory are on the disk only
        self._window = 0  # bytes of entries in memory that wait to be taken
        self._reading = PatientReading(producer, clock)
        self._own_bytes = 0  # of `bytes`: what this process has put on the disk only, and not read back yet
        self._former_bytes = 0  # of `bytes`: what former processes left, not read yet
        self._patient = True  # whether a caller may be made to wait for the disk
        # The wall clock when this process began, and from there on a clock that does not jump: an hour that somebody puts it
        # forward must not make messages on the disk an hour older.
        self._began = clock.time() - clock.monotonic()
        self._write = self._refuse
        self._accepted_state = QUEUED if self._synced else STORED
        if not self._synced:
            self.put = self._accept  # type: ignore[method-assign]  # a call costs here
        # Entries that are on the disk only: the latest, and of those before them the ones that somebody still holds, by number.
        self._recent: list[Receipt] = []
        self._live: weakref.WeakValueDictionary[int, Receipt] = weakref.WeakValueDictionary()
        self._written_at = 0.0

    # --- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> Recovery:
        """Open the spool; what a former process left waits first. Raises SpoolInUse, SpoolTooNew, SpoolError."""
        with self.lock:
            if self._spool is not None:
                return self._spool.recovery
            spool = self._make_spool(self.lock)
            recovery = spool.open()
            self._spool = self._last_spool = spool
            self._write = spool.append
            self._origin.prefix = spool.prefix
            self.restored = recovery.backlog
            self.accepted = self.messages = recovery.backlog
            self._on_disk = recovery.backlog > 0
            self._count_former_bytes(spool)
        self._syncer = threading.Thread(target=self._sync_regularly, name=f"standpipe-{self._producer}-sync", daemon=True)
        self._syncer.start()
        return recovery

    def _sync_regularly(self) -> None:
        """Bring what was written to the disk every `sync_interval`: what a power cut may take. With `synced` there is something to
        do only after the disk has refused it. Failures are the spool's to tell."""
        while not self._ending.wait(self._sync_interval):
            self._sync_now()

    def _sync_now(self) -> bool:
        """Bring what was written to the disk; False if that cannot be done."""
        spool = self._spool
        if spool is None:
            return False
        try:
            spool.sync()
        except SpoolError:
            return False
        with self.lock:
            if self._on_disk and not self._entries:  # what the disk had refused can be read again
                self._reading.ended(in_vain=False)
                self.wake()
        return True

    def close_spool(self) -> None:
        """Write everything down and give the spool up."""
        self._ending.set()
        if self._syncer is not None:
            self._syncer.join(SYNC_PATIENCE)
        with self.lock:
            spool, self._spool = self._spool, None
            self._write = self._refuse
            if spool is None:
                return
            spool.close()
            for receipt in self._doubtful:
                if receipt._state is QUEUED and receipt._first + receipt._count <= spool.durable:
                    receipt._state = STORED

    def forget_spool(self) -> None:
        """In a forked child: the spool is the parent's."""
        if self._spool is not None:
            self._spool.forget()
            self._spool = None
            self._write = self._refuse

    @property
    def trouble(self) -> str | None:
        """What is wrong with the disk now; None if nothing is known to be."""
        with self.lock:
            spool = self._spool
            return spool.trouble if spool is not None else None

    def spool_statistics(self) -> SpoolStatistics | None:
        """The spool now; None before it was opened and after it was closed."""
        with self.lock:
            return self._spool.statistics() if self._spool is not None else None

    # --- callers ------------------------------------------------------------------------------------------------------

    def put(self, entry: Receipt, timeout: float | None = None) -> None:
        """As `MemoryQueue.put`, and the entry is stored when it returns. Raises also SpoolFull and SpoolError."""
        self._accept(entry, timeout)
        if self._synced:
            self._commit(entry)

    async def aput(self, entry: Receipt) -> None:
        """As `put`, awaiting room and the disk instead of waiting for them."""
        timeout = self._limits.full_timeout
        until = None if timeout is None else self._clock.monotonic() + timeout
        while True:
            try:
                await super().aput(entry)
                break
            except SpoolFull:
                left = DISK_POLL if until is None else until - self._clock.monotonic()
                if self._limits.on_full != "block" or left <= 0:
                    raise
                await asyncio.sleep(min(DISK_POLL, left))
        if self._synced:
            await asyncio.to_thread(self._commit, entry)

    def _put_or_watch(self, entry: Receipt) -> asyncio.Future[None] | None:
        with self.lock:
            self._patient = False
            try:
                return super()._put_or_watch(entry)
            finally:
                self._patient = True

    def _accept(self, entry: Receipt, timeout: float | None = None) -> None:
        # In one piece, without calls that can be spared: this is what a call of `produce` waits for.
        with self.lock:
            count = entry._count
            if entry._keys is None and entry._more is None:
                meta, size = b"", entry._size
            else:
                meta = meta_of(entry)
                size = entry._size = len(entry._payload)  # what can be told again of a record that is read back
            messages = self.messages + count
            total = self.bytes + size
            if self.closed or messages > self._max_messages or total > self._max_bytes:
                victims = self._make_room(entry, timeout)
                messages = self.messages + count
                total = self.bytes + size
            else:
                victims = None
            if victims is None or entry not in victims:
                write = self._write  # calling an attribute that is no method costs more
                try:
                    number = write(count, FLAG_ERROR if entry._is_error else 0, self._began + entry._accepted_at, meta, entry._payload)
                except SpoolFull as full:
                    number, victims = self._write_when_possible(entry, meta, timeout, full, victims or [])
                    messages = self.messages + count
                    total = self.bytes + size
            if not victims or entry not in victims:
                entry._first = number
                entry._state = self._accepted_state
                self.accepted = accepted = self.accepted + count
                self.messages = messages
                self.bytes = total
                if messages > self.messages_max:
                    self.messages_max = messages
                if total > self.bytes_max:
                    self.bytes_max = total
                try:
                    if self._on_disk:
                        # Only known, in case somebody holds on to it; it comes back when the worker gets there.
                        entry._payload = b""
                        self._own_bytes += size
                        recent = self._recent
                        recent.append(entry)
                        if len(recent) == RECENT:
                            self._look_who_is_held()
                    else:
                        append = self._append
                        append(entry)
                        self._window = window = self._window + size + ENTRY_BYTES
                        if window >= WINDOW_BYTES:
                            self._on_disk = True
                            self._opened().seek(number + count)
                finally:
                    if accepted >= self.wake_at:
                        self.wake_at = NEVER
                        self.wake()
        if victims:
            for victim in victims:
                victim._notify()

    def _commit(self, entry: Receipt) -> None:
        spool = self._last_spool
        if spool is None or entry._state is not QUEUED:
            return
        try:
            spool.commit(entry._first + entry._count)
        except SpoolError as error:
            error.receipt = entry
            raise
        with self.lock:
            if entry._state is QUEUED:
                entry._state = STORED

    def _write_when_possible(
        self, entry: Receipt, meta: bytes, timeout: float | None, full: SpoolFull, victims: list[Receipt]
    ) -> tuple[int, list[Receipt]]:
        """The disk has no room for `entry`: wait, raise or drop, as the policy says. The number it got, and what was dropped."""
        policy = self._limits.on_full
        timeout = self._limits.full_timeout if timeout is None else timeout
        until = None if timeout is None else self._clock.monotonic() + timeout
        while True:
            if policy == "drop_oldest":
                dropped = self._drop_a_segment()
                victims += dropped
            if policy == "drop_newest" or (policy == "drop_oldest" and not dropped):
                return -1, victims + self._drop(entry)
            if policy == "raise" or not self._patient or self.is_worker() or inside_own_log_handler():
                raise full
            if policy == "block":
                self._wait_for_disk(entry, until, full)
            try:
                flags = FLAG_ERROR if entry._is_error else 0
                return self._opened().append(entry._count, flags, self._began + entry._accepted_at, meta, entry._payload), victims
            except SpoolFull as still:
                full = still

    def _wait_for_disk(self, entry: Receipt, until: float | None, full: SpoolFull) -> None:
        """Wait a moment: room comes back when segments are settled, which we know, or when somebody else makes some."""
        left = DISK_POLL if until is None else until - self._clock.monotonic()
        if left <= 0:
            raise full
        self.waiting += 1
        try:
            self._clock.wait(self._space, min(DISK_POLL, left))
        finally:
            self.waiting -= 1
        if self.closed:
            raise ProducerClosed(
                f"{self._producer}: the producer was shut down while waiting for room on the disk; the message was not accepted"
            )
        if not self.fits(entry._count, entry._size):  # others have taken what there was
            self._wait_for_room(entry, None if until is None else max(0.0, until - self._clock.monotonic()))

    def _drop(self, entry: Receipt) -> list[Receipt]:
        number = self._opened().skip(entry._count)
        dropped = super()._drop(entry)
        entry._first = number
        return dropped

    def _drop_oldest(self, entry: Receipt) -> list[Receipt]:
        victims: list[Receipt] = []
        while not self.fits(entry._count, entry._size) and len(self):
            victims += self._drop_first()
        return victims if self.fits(entry._count, entry._size) else victims + self._drop(entry)

    def _drop_a_segment(self) -> list[Receipt]:
        """Drop the oldest entries that the worker has not taken up, until their file can go; none if that frees nothing."""
        spool, victims = self._opened(), []
        before = spool.segments
        while spool.segments >= before > 1 and len(self):
            victims += self._drop_first()
        return victims

    def _drop_first(self) -> list[Receipt]:
        oldest = self._entries.popleft()
        start, self._taken = self._taken, 0
        number = oldest._count - start
        self._window -= share(oldest, start, oldest._count) + ENTRY_BYTES
        self.dropped += number
        victims = [oldest] if oldest._settle(number, DROPPED) else []
        self._release(oldest, start, oldest._count)
        return victims

    def _opened(self) -> Spool:
        if self._spool is None:
            raise self._closed()
        return self._spool

    def _refuse(self, count: int, flags: int, time: float, meta: bytes, payload: bytes) -> int:
        """In the place of `Spool.append` while there is no spool."""
        raise self._closed()

    def _closed(self) -> ProducerClosed:
        return ProducerClosed(f"{self._producer}: the spool is closed; the message was not accepted")

    @property
    def next_number(self) -> int:
        """The number that the next message gets."""
        return self._spool.next_number if self._spool is not None else self.accepted

    # --- the worker ---------------------------------------------------------------------------------------------------

    @property
    def read_again_at(self) -> float | None:
        """When the disk is asked again for what waits there."""
        return self._reading.again_at

    def __len__(self) -> int:
        self._refill()
        return len(self._entries)

    def oldest_accepted_at(self) -> float | None:
        """When the first entry was accepted; None if there is none."""
        self._refill()
        return super().oldest_accepted_at()

    def take(self, max_messages: int, max_bytes: int) -> tuple[list[Slice], int]:
        """As `MemoryQueue.take`; what is taken is noted, so that a restart knows what may have been sent."""
        self._refill()
        slices, count = super().take(max_messages, max_bytes)
        if self._spool is not None:
            for receipt, start, stop in slices:
                size = receipt._size if stop - start == receipt._count else share(receipt, start, stop)
                self._window -= size + (ENTRY_BYTES if stop == receipt._count else 0)
            for first, count in neighbours(slices):
                self._spool.take(first, count)
            self._spool.write_positions()
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

    def _refill(self) -> None:
        """Bring entries back from the disk when the worker has come to the end of those in memory."""
        if not self._on_disk or self._entries or self._spool is None or not self._reading.allowed:
            return
        self._window = 0
        self._look_who_is_held()
        for found, prefix in self._reading.read(self._spool, READ_BYTES, merge=True):
            for record in self._apart(self._spool, found):
                for start, stop in self._spool.unsettled(record):
                    entry = self._restore(record, prefix, start, stop)
                    self._append(entry)
                    self._window += entry._size + ENTRY_BYTES
        self._take_damaged(self._spool)
        self._forget_absent(self._spool.take_absent())
        self._count_former_bytes(self._spool)
        if self._spool.read_to_end:
            self._on_disk = False
            self.bytes -= self._own_bytes  # of those that were lost; all others have been read
            self._own_bytes = 0
        self._reading.ended(in_vain=self._on_disk and not self._entries)

    def _take_damaged(self, spool: Spool) -> None:
        """What came back damaged waits to be put aside; until then it stays where it is."""
        for record, prefix in spool.take_damaged():
            for start, stop in spool.unsettled(record):
                entry = self._restore(record, prefix, start, stop)
                self.damaged.append((entry, 0, entry._count))
                self.taken += entry._count

    def _look_who_is_held(self) -> None:
        recent, self._recent = self._recent, []
        references = [(entry._first, weakref.ref(entry)) for entry in recent]
        recent.clear()
        for number, reference in references:
            entry = reference()
            if entry is not None:
                self._live[number] = entry

    def _apart(self, spool: Spool, record: Record) -> Sequence[Record]:
        """Merged records come back as one receipt, unless somebody holds one for a part of it, or a part may have been sent."""
        if not record.merged:
            return (record,)
        first, stop = record.first, record.first + record.count
        held = self._live and any(number in self._live for number in range(first, stop))
        return record.singles() if held or not spool.taken_alike(first, stop) else (record,)

    def _forget_absent(self, count: int) -> None:
        """So many of those that were to come back are lost (the spool has told) or never were: nobody waits for them."""
        if not count:
            return
        self.accepted -= count
        self.messages -= count
        self.restored -= count
        if self.wake_at != NEVER:
            self.wake_at -= count
        for flush in self._flushes:  # they come before everything that this process accepted
            flush.remaining -= count
        self.made_room()
        self._space.notify_all()

    def _count_former_bytes(self, spool: Spool) -> None:
        """What former processes left counts as well, by the size of its files until it is read: the disk is bounded over all."""
        unread = spool.former_bytes
        self.bytes += unread - self._former_bytes
        self._former_bytes = unread

    def _restore(self, record: Record, prefix: str, start: int, stop: int) -> Receipt:
        live = self._live.pop(record.first, None)
        if live is not None and stop - start == live._count:
            live._payload = record.payload
            self._own_bytes -= live._size
            return live
        origin = self._origin if prefix == self._origin.prefix else self._origins.setdefault(prefix, self._origin.with_prefix(prefix))
        age = max(0.0, self._began + self._clock.monotonic() - record.time)
        entry = restored(record, start, stop, origin, self._clock.monotonic() - age)
        if origin is self._origin:
            self._own_bytes -= entry._size
        else:  # a former process counted these bytes
            self.bytes += entry._size
        if self._spool is not None and self._spool.was_taken(entry._first, entry._first + entry._count):
            entry._rest().unknown = True
        return entry

    # --- settled ------------------------------------------------------------------------------------------------------

    def release(self, slices: list[Slice]) -> None:
        """As `MemoryQueue.release`; neighbours are noted together."""
        for receipt, start, stop in slices:
            super()._release(receipt, start, stop)
        for first, count in neighbours(slices):
            self._settled(first, count)
        self.made_room()

    def _release(self, receipt: Receipt, start: int, stop: int) -> None:
        super()._release(receipt, start, stop)
        self._settled(receipt._first + start, stop - start)

    def release_one(self, receipt: Receipt) -> None:
        """As `release` for a receipt of one message, quicker."""
        super().release_one(receipt)
        self._settled(receipt._first, 1)

    def _settled(self, first: int, count: int) -> None:
        spool = self._spool
        if spool is None:
            return
        spool.settle(first, count)
        now = self._clock.monotonic()
        if now - self._written_at >= POSITIONS_INTERVAL:
            self._written_at = now
            spool.write_positions()

    def progress(self) -> None:
        """The worker is about to look for more, or to wait."""
        if self._spool is not None:
            self._spool.write_positions()

    def keep(self, left: list[Slice]) -> list[Slice]:
        """All of it survives."""
        self._look_who_is_held()
        if self._spool is not None:
            mark_lost(self._live, self._spool.reading_at)
        held = [receipt for receipt, _, _ in left] + list(self._live.values())
        self._doubtful = [receipt for receipt in held if receipt._state is QUEUED]
        return []
