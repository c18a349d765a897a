"""The queue between `produce` and the worker, in memory: bounded in messages and bytes.

What occupies it is everything accepted and not settled, also while it is being sent or waits for a retry; only so is memory
bounded. One lock, the engine's, guards it: the counters change before the entry is appended, with no call between, so that
an interrupt (Ctrl-C) finds either nothing or everything done.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from standpipe.core.clock import Clock
from standpipe.core.errors import MessageTooLarge, ProducerClosed, QueueFull
from standpipe.delivery.batch import Slice, share
from standpipe.delivery.log_handlers import inside_own_log_handler
from standpipe.delivery.receipt import DROPPED, Receipt

OnFull = Literal["block", "raise", "drop_newest", "drop_oldest", "spill"]


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Bounds of the queue and the policy when they are reached. `full_timeout` is seconds, for `block`; None: no limit."""

    max_messages: int = 100_000
    max_bytes: int = 64 * 2**20
    on_full: OnFull = "block"
    full_timeout: float | None = None


NEVER = 2**62
"""For `wake_at`, which is the number of accepted messages at which the worker wants to be woken."""


class Flush:
    """A `flush` in progress: counts down the messages that were pending when it began."""

    __slots__ = ("limit", "remaining")

    def __init__(self, limit: int, remaining: int) -> None:
        self.limit = limit
        self.remaining = remaining


class _RoomWatcher:
    """Resolves a future on its loop when room was made."""

    __slots__ = ("loop", "room")

    def __init__(self, loop: asyncio.AbstractEventLoop, room: asyncio.Future[None]) -> None:
        self.loop = loop
        self.room = room

    def __call__(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody awaits any more
            self.loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if not self.room.done():
            self.room.set_result(None)


class MemoryQueue:
    """First in, first out. `put` from any thread; `take` and `settle` from the worker."""

    keeps = False
    """Whether what is pending at the end survives the process."""

    def __init__(self, producer: str, limits: QueueLimits, clock: Clock) -> None:
        self.lock = threading.RLock()  # re-entrant: a signal handler or a finalizer may produce while its own thread produces
        self.ready = threading.Condition(self.lock)
        self.accepted = 0
        self.dropped = 0
        self.messages = 0
        self.bytes = 0
        self.messages_max = 0
        self.bytes_max = 0
        self.waiting = 0
        self.closed = False
        self.wake_at = NEVER
        self.taken = 0
        self.damaged: list[Slice] = []  # taken, but only to be put aside: they came back from the disk with a wrong checksum
        self.wake: Callable[[], None] = self.ready.notify_all
        self.is_worker: Callable[[], bool] = lambda: False
        self._producer = producer
        self._limits = limits
        self._max_messages = limits.max_messages
        self._max_bytes = limits.max_bytes
        self._clock = clock
        self._space = threading.Condition(self.lock)
        self._space_watchers: deque[Callable[[], None]] = deque()
        self._flushes: list[Flush] = []
        self._entries: deque[Receipt] = deque()
        self._append = self._entries.append
        self._taken = 0  # messages of the first entry that have been taken already

    # --- callers ------------------------------------------------------------------------------------------------------

    def put(self, entry: Receipt, timeout: float | None = None) -> None:
        """Accept `entry`, or raise: QueueFull, MessageTooLarge, ProducerClosed. `timeout` overrides `full_timeout`.

        Dropping policies accept and then drop: the entry, or older ones, settle as dropped.
        """
        with self.lock:
            count = entry._count
            messages = self.messages + count
            size = self.bytes + entry._size
            if self.closed or messages > self._max_messages or size > self._max_bytes:
                victims = self._make_room(entry, timeout)
                messages = self.messages + count
                size = self.bytes + entry._size
            else:
                victims = None
            if victims is None or entry not in victims:
                entry._first = self.accepted
                self.accepted += count
                self.messages = messages
                self.bytes = size
                if messages > self.messages_max:
                    self.messages_max = messages
                if size > self.bytes_max:
                    self.bytes_max = size
                try:
                    self._append(entry)
                finally:  # Ctrl-C may strike as soon as it is in: the worker has to know nevertheless
                    if self.accepted >= self.wake_at:
                        self.wake_at = NEVER
                        self.wake()
        if victims:
            for victim in victims:
                victim._notify()

    async def aput(self, entry: Receipt) -> None:
        """As `put`, awaiting room instead of waiting for it."""
        timeout = self._limits.full_timeout
        try:
            async with asyncio.timeout(timeout):
                while (room := self._put_or_watch(entry)) is not None:
                    await self._await_room(room)
        except TimeoutError:
            raise self._full(f" and stayed so for {timeout:g} s") from None

    def _accept(self, entry: Receipt) -> None:
        """`put` without waiting for anything but the lock."""
        self.put(entry)

    def _put_or_watch(self, entry: Receipt) -> asyncio.Future[None] | None:
        """Accept `entry`, else a future that is resolved when there may be room."""
        with self.lock:
            blocks = (
                self._limits.on_full == "block"
                and not self.closed
                and entry._count <= self._max_messages
                and entry._size <= self._max_bytes
            )
            if not blocks or self.fits(entry._count, entry._size):
                self._accept(entry)
                return None
            loop = asyncio.get_running_loop()
            room: asyncio.Future[None] = loop.create_future()
            self._space_watchers.append(_RoomWatcher(loop, room))
            return room

    async def _await_room(self, room: asyncio.Future[None]) -> None:
        try:
            await room
        except asyncio.CancelledError:
            # The wake-up was ours; whoever is next must get it, or it would wait although there is room.
            with self.lock:
                self._space_watchers = deque(w for w in self._space_watchers if not (isinstance(w, _RoomWatcher) and w.room is room))
                self.made_room()
            raise

    def _make_room(self, entry: Receipt, timeout: float | None) -> list[Receipt] | None:
        """Called under the lock when `entry` does not fit: wait, raise, or return the entries dropped (`entry` itself may be one)."""
        if self.closed:
            raise ProducerClosed(f"{self._producer}: the producer has been shut down; the message was not accepted")
        if entry._count > self._max_messages or entry._size > self._max_bytes:
            raise MessageTooLarge(
                f"{self._producer}: {entry._count} message(s) of {entry._size} bytes can never fit into a queue of "
                f"{self._max_messages} messages and {self._max_bytes} bytes; "
                "hand over less at once or raise queue.max_messages or queue.max_bytes"
            )
        policy = self._limits.on_full
        if policy == "raise" or (policy == "block" and (self.is_worker() or inside_own_log_handler())):
            # Nobody must wait for the room that only the worker can make while the worker waits for him.
            raise self._full("")
        if policy == "block":
            self._wait_for_room(entry, self._limits.full_timeout if timeout is None else timeout)
            return None
        return self._drop_oldest(entry) if policy == "drop_oldest" else self._drop(entry)

    def _full(self, after: str) -> QueueFull:
        return QueueFull(
            f"{self._producer}: the queue is full{after} ({self.messages} of {self._max_messages} messages, "
            f"{self.bytes} of {self._max_bytes} bytes); the message was not accepted"
        )

    def _wait_for_room(self, entry: Receipt, timeout: float | None) -> None:
        until = None if timeout is None else self._clock.monotonic() + timeout
        self.waiting += 1
        try:
            while not self.fits(entry._count, entry._size):
                left = None if until is None else until - self._clock.monotonic()
                if left is not None and left <= 0:
                    raise self._full(f" and stayed so for {timeout:g} s")
                self._clock.wait(self._space, left)
                if self.closed:
                    raise ProducerClosed(
                        f"{self._producer}: the producer was shut down while waiting for room in its queue; the message was not accepted"
                    )
        finally:
            self.waiting -= 1

    def fits(self, count: int, size: int) -> bool:
        """Whether so much fits now."""
        return self.messages + count <= self._max_messages and self.bytes + size <= self._max_bytes

    def _drop(self, entry: Receipt) -> list[Receipt]:
        entry._first = self.accepted
        self.accepted += entry._count
        self.dropped += entry._count
        entry._settle(entry._count, DROPPED)
        return [entry]

    def _drop_oldest(self, entry: Receipt) -> list[Receipt]:
        """Drop the oldest entries that the worker has not taken up; if there are none left to drop, the new one goes."""
        victims: list[Receipt] = []
        while self._entries and not self.fits(entry._count, entry._size):
            oldest = self._entries.popleft()
            start, self._taken = self._taken, 0
            number = oldest._count - start
            self.dropped += number
            if oldest._settle(number, DROPPED):
                victims.append(oldest)
            self._release(oldest, start, oldest._count)
        return victims if self.fits(entry._count, entry._size) else victims + self._drop(entry)

    @property
    def next_number(self) -> int:
        """The number that the next message gets."""
        return self.accepted

    def progress(self) -> None:
        """The worker is about to look for more, or to wait: a moment to write things down. Under the lock."""

    def keep(self, left: list[Slice]) -> list[Slice]:
        """At the end: of what is left in memory, what does not survive and has to be handed back. Under the lock."""
        return left

    @property
    def read_again_at(self) -> float | None:
        """When the worker should look again for messages that wait on a disk which cannot be read now. Under the lock."""
        return None

    def takes(self, count: int, size: int) -> bool:
        """Whether so much would be taken without waiting now."""
        return self.fits(count, size)

    def when_room(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` (once, from any thread, under the lock: it must only wake somebody) when room was made or on closing."""
        with self.lock:
            self._space_watchers.append(watcher)
            if self.closed or not self.messages:  # nothing is there that could make room later
                self.made_room()

    # --- the worker ---------------------------------------------------------------------------------------------------

    def oldest_accepted_at(self) -> float | None:
        """When the first entry was accepted; None if there is none."""
        return self._entries[0]._accepted_at if self._entries else None

    @property
    def untaken(self) -> int:
        """Messages that the worker has not taken yet."""
        return self.accepted - self.dropped - self.taken

    def take_expired(self, before: float) -> list[Slice]:
        """Take out the messages accepted before `before`. Under the lock."""
        slices: list[Slice] = []
        while self._entries and self._entries[0]._accepted_at < before:
            entry = self._entries.popleft()
            start, self._taken = self._taken, 0
            slices.append((entry, start, entry._count))
            self.taken += entry._count - start
        return slices

    def take_all(self) -> list[Slice]:
        """Take out everything. Under the lock."""
        return self.take_expired(float("inf"))

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, max_messages: int, max_bytes: int) -> tuple[list[Slice], int]:
        """The oldest messages, at most so many and so large (but at least one), and how many they are. Under the lock."""
        entries = self._entries
        slices: list[Slice] = []
        count = size = 0
        while entries and count < max_messages:
            entry = entries[0]
            start = self._taken
            number = entry._count - start
            entry_size = entry._size if not start else share(entry, start, entry._count)
            if number > max_messages - count or size + entry_size > max_bytes:
                if slices and number <= max_messages and entry_size <= max_bytes:
                    break  # it goes whole next time: cutting it would mean to take its payload apart
                number = self._fitting(entry, start, max_messages - count, max_bytes - size, not slices)
                if number:
                    slices.append((entry, start, start + number))
                    count += number
                    self._taken = start + number
                    if self._taken == entry._count:
                        entries.popleft()
                        self._taken = 0
                break
            entries.popleft()
            self._taken = 0
            slices.append((entry, start, entry._count))
            count += number
            size += entry_size
        self.taken += count
        return slices, count

    def _fitting(self, entry: Receipt, start: int, max_messages: int, max_bytes: int, at_least_one: bool) -> int:
        """How many messages of `entry` from `start` on fit."""
        number = 0
        if entry._count == 1:
            return 1 if at_least_one else 0
        for line in entry._lines()[start : start + max_messages]:
            max_bytes -= len(line)
            if max_bytes < 0 and not (at_least_one and number == 0):
                break
            number += 1
        return number

    def release(self, slices: list[Slice]) -> None:
        """Give the room of settled slices back. Under the lock."""
        for receipt, start, stop in slices:
            self._release(receipt, start, stop)
        if self.waiting or self._space_watchers:
            self.made_room()

    def release_one(self, receipt: Receipt) -> None:
        """As `release` for a receipt of one message, quicker."""
        self.messages -= 1
        self.bytes -= receipt._size
        if self._flushes:
            self._count_down(receipt, 1)
        if self.waiting or self._space_watchers:
            self.made_room()

    def release_part(self, receipt: Receipt, index: int) -> None:
        """As `release` for message `index` of a receipt of several."""
        self._release(receipt, index, index + 1)
        if self.waiting or self._space_watchers:
            self.made_room()

    def made_room(self) -> None:
        """Wake whoever waits for room. Under the lock."""
        if self.waiting:
            self._space.notify_all()
        # As many as there is room for, first come, first served: waking all for each message would be quadratic.
        number = len(self._space_watchers) if self.closed else min(self._max_messages - self.messages, len(self._space_watchers))
        for _ in range(number):
            self._space_watchers.popleft()()

    def _release(self, receipt: Receipt, start: int, stop: int) -> None:
        self.messages -= stop - start
        self.bytes -= share(receipt, start, stop)
        if self._flushes:
            self._count_down(receipt, stop - start)

    def _count_down(self, receipt: Receipt, number: int) -> None:
        for flush in self._flushes:
            if receipt._first < flush.limit:
                flush.remaining -= number
                if not flush.remaining:
                    self._space.notify_all()

    # --- flush and close ----------------------------------------------------------------------------------------------

    @property
    def flushing(self) -> bool:
        """Whether somebody waits for everything to be sent."""
        return bool(self._flushes)

    def flush(self, timeout: float | None) -> int:
        """Wait until everything accepted before this call is settled, at most `timeout` seconds; returns how many are left."""
        with self.lock:
            flush = Flush(self.next_number, self.messages)
            until = None if timeout is None else self._clock.monotonic() + timeout
            self._flushes.append(flush)
            self.wake()  # a lingering batch goes out at once
            try:
                while flush.remaining and not self.closed:
                    left = None if until is None else until - self._clock.monotonic()
                    if left is not None and left <= 0:
                        break
                    self._clock.wait(self._space, left)
            finally:
                self._flushes.remove(flush)
            return flush.remaining

    def close(self) -> None:
        """Accept nothing more; whoever waits for room gets ProducerClosed."""
        with self.lock:
            self.closed = True
            self._space.notify_all()
            self.made_room()
