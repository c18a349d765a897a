"""The queue between `produce` and the worker, on disk: a spool with a window of it in memory.

Every entry is written to the spool before it is accepted. As long as few messages wait, entries also stay in memory and are
taken from there; when more wait than the window holds, new ones are on the disk only and come back in order when the worker
gets there, so that memory does not depend on the backlog. What a former process left is read the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

import orjson

from standpipe.core.clock import Clock
from standpipe.core.errors import ProducerClosed
from standpipe.delivery.batch import Slice
from standpipe.delivery.memory_queue import NEVER, MemoryQueue, QueueLimits
from standpipe.delivery.receipt import QUEUED, STORED, Origin, Receipt
from standpipe.producers.config import SpoolConfig
from standpipe.spool.errors import SpoolError
from standpipe.spool.format import FLAG_ERROR, Record
from standpipe.spool.log import Recovery, Spool, SpoolStatistics

WINDOW_BYTES: Final = 8 * 2**20
WINDOW_MESSAGES: Final = 20_000
"""What may wait in memory: enough for a burst of a tenth of a second, little beside the process itself."""

READ_BYTES: Final = 2**20
"""Bytes read back from the disk at a time."""

POSITIONS_INTERVAL: Final = 0.05
"""Seconds between writes of the positions while messages are sent one by one; after a crash, what was settled since then may
be sent again."""


SYNC_PATIENCE: Final = 5.0
"""Seconds that closing waits for a sync under way; a disk that takes longer is dead, and everything is written anyway."""


class SpooledQueue(MemoryQueue):
    """A `MemoryQueue` whose entries survive. `open` before use; `close_spool` at the end."""

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
        self._spool: Spool | None = None
        self._on_disk = False  # newer entries than those in memory are on the disk only
        self._window_messages = 0
        self._window_bytes = 0
        self._live: weakref.WeakValueDictionary[int, Receipt] = weakref.WeakValueDictionary()
        self._written_at = 0.0

    # --- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> Recovery:
        """Open the spool; what a former process left waits first. Raises SpoolInUse, SpoolTooNew, SpoolError."""
        with self.lock:
            spool = self._make_spool(self.lock)
            recovery = spool.open()
            self._spool = spool
            self._origin.prefix = spool.prefix
            self.restored = recovery.backlog
            self.accepted = self.messages = recovery.backlog
            self._on_disk = recovery.backlog > 0
        if not self._synced:
            self._syncer = threading.Thread(target=self._sync_regularly, name=f"standpipe-{self._producer}-sync", daemon=True)
            self._syncer.start()
        return recovery

    def _sync_regularly(self) -> None:
        """Bring what was written to the disk every `sync_interval`: what a power cut may take. Failures are the spool's to tell."""
        while not self._ending.wait(self._sync_interval):
            spool = self._spool
            if spool is None:
                return
            with contextlib.suppress(SpoolError):
                spool.sync()

    def close_spool(self) -> None:
        """Write everything down and give the spool up."""
        self._ending.set()
        if self._syncer is not None:
            self._syncer.join(SYNC_PATIENCE)
        with self.lock:
            spool, self._spool = self._spool, None
            if spool is not None:
                spool.close()

    def forget_spool(self) -> None:
        """In a forked child: the spool is the parent's."""
        if self._spool is not None:
            self._spool.forget()
            self._spool = None

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
        await super().aput(entry)
        if self._synced:
            await asyncio.to_thread(self._commit, entry)

    def _accept(self, entry: Receipt, timeout: float | None = None) -> None:
        with self.lock:
            entry._size = len(entry._payload)  # what can be told again of a record that is read back
            victims = None
            if self.closed or self.messages + entry._count > self._max_messages or self.bytes + entry._size > self._max_bytes:
                victims = self._make_room(entry, timeout)
            if victims is None or entry not in victims:
                self._store(entry)
        if victims:
            for victim in victims:
                victim._notify()

    def _commit(self, entry: Receipt) -> None:
        spool = self._spool
        if spool is None or entry._state is not QUEUED:
            return
        spool.commit(entry._first + entry._count)
        with self.lock:
            if entry._state is QUEUED:
                entry._state = STORED

    def _store(self, entry: Receipt) -> None:
        spool = self._opened()
        if not self._synced:
            entry._state = STORED
        more = entry._more
        meta = _meta_of(entry) if entry._keys is not None or more is not None else b""
        time = self._clock.time()
        number = spool.append(entry._count, FLAG_ERROR if entry._is_error else 0, time, meta, entry._payload)
        count = entry._count
        entry._first = number
        self.accepted += count
        self.messages += count
        self.bytes += entry._size
        if self.messages > self.messages_max:
            self.messages_max = self.messages
        if self.bytes > self.bytes_max:
            self.bytes_max = self.bytes
        try:
            if self._on_disk:
                # Only known, in case somebody holds on to it; it comes back when the worker gets there.
                self._live[number] = entry
                entry._payload = b""
            else:
                self._append(entry)
                self._window_messages += count
                self._window_bytes += entry._size
                if self._window_messages >= WINDOW_MESSAGES or self._window_bytes >= WINDOW_BYTES:
                    self._on_disk = True
                    spool.seek(number + count)
        finally:
            if self.accepted >= self.wake_at:
                self.wake_at = NEVER
                self.wake()

    def _drop(self, entry: Receipt) -> list[Receipt]:
        dropped = super()._drop(entry)
        entry._first = self._opened().skip(entry._count)
        return dropped

    def _drop_oldest(self, entry: Receipt) -> list[Receipt]:
        self._refill()
        return super()._drop_oldest(entry)

    def _opened(self) -> Spool:
        if self._spool is None:
            raise ProducerClosed(f"{self._producer}: the spool is closed; the message was not accepted")
        return self._spool

    @property
    def next_number(self) -> int:
        """The number that the next message gets."""
        return self._spool.next_number if self._spool is not None else self.accepted

    # --- the worker ---------------------------------------------------------------------------------------------------

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
                self._spool.take(receipt._first + start, stop - start)
                self._window_messages -= stop - start
                self._window_bytes -= receipt._size * (stop - start) // receipt._count
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
        if not self._on_disk or self._entries or self._spool is None:
            return
        self._window_messages = self._window_bytes = 0
        for record, prefix in self._spool.read(READ_BYTES):
            for start, stop in self._spool.unsettled(record):
                entry = self._restore(record, prefix, start, stop)
                self._append(entry)
                self._window_messages += entry._count
                self._window_bytes += entry._size
        if self._spool.read_to_end:
            self._on_disk = False

    def _restore(self, record: Record, prefix: str, start: int, stop: int) -> Receipt:
        live = self._live.pop(record.first, None)
        if live is not None and stop - start == live._count:
            live._payload = record.payload
            return live
        lines = record.payload.split(b"\n")
        payload = record.payload if stop - start == record.count else b"\n".join(lines[start:stop])
        origin = self._origin if prefix == self._origin.prefix else self._origins.setdefault(prefix, self._origin.with_prefix(prefix))
        age = max(0.0, self._clock.time() - record.time)
        meta = record.meta or {}
        keys = meta.get("keys", meta.get("key"))
        entry = Receipt(
            origin,
            record.is_error,
            payload,
            stop - start,
            len(payload),
            tuple(keys[start:stop]) if isinstance(keys, list) else keys,
            self._clock.monotonic() - age,
        )
        entry._first = record.first + start
        entry._state = STORED
        if "headers" in meta or "ids" in meta:
            more = entry._rest()
            more.headers = meta.get("headers")
            more.ids = meta["ids"][start:stop] if "ids" in meta else None
        if origin is not self._origin:  # a former process counted these bytes
            self.bytes += entry._size
        if self._spool is not None and self._spool.was_taken(entry._first, entry._first + entry._count):
            entry._rest().unknown = True
        return entry

    # --- settled ------------------------------------------------------------------------------------------------------

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

    def keep(self) -> list[Receipt]:
        """The receipts that somebody holds of messages that are on the disk only."""
        return list(self._live.values())


def _meta_of(entry: Receipt) -> bytes:
    """Keys, headers and ids of an entry, as JSON; empty if it has none."""
    meta: dict[str, Any] = {}
    keys = entry._keys
    if isinstance(keys, str):
        meta["key"] = keys
    elif keys is not None:
        meta["keys"] = list(keys)
    more = entry._more
    if more is not None and more.headers is not None:
        meta["headers"] = dict(more.headers)
    if more is not None and more.ids is not None:
        meta["ids"] = list(more.ids)
    return orjson.dumps(meta) if meta else b""
