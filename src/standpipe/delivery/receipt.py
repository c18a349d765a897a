"""What the caller of `produce` holds, and at the same time the engine's record of what was handed over.

One object per call, not two: a receipt *is* the queue entry. It covers one message, or all messages of one
`produce_many`; everything rarely needed lives in `_more`, which most receipts never get.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from enum import Enum
from typing import Any

from standpipe.core.clock import Clock, SystemClock


class State(Enum):
    """Where the messages of a receipt are. All but `QUEUED` and `STORED` are final; after a shutdown these are as well."""

    QUEUED = "queued"
    """accepted; waiting, or being sent. After a shutdown: in a spool whose disk has failed; whether a restart finds it is unknown"""
    STORED = "stored"
    """as queued, and on the disk: it survives what the spool's durability says, and is delivered after a restart"""
    DELIVERED = "delivered"
    """the destination has confirmed every message"""
    DEAD_LETTERED = "dead_lettered"
    """put aside for good; at least one message of the receipt"""
    DROPPED = "dropped"
    """dropped by the overflow policy that the user named; at least one message"""
    UNDELIVERED = "undelivered"
    """handed back by `shutdown`; at least one message"""


QUEUED, STORED, DELIVERED, DEAD_LETTERED, DROPPED, UNDELIVERED = State

OPEN = (QUEUED, STORED)
"""The states that are not final."""

_GRAVITY = (UNDELIVERED, DROPPED, DEAD_LETTERED)
"""For a receipt of several messages: the first of these that happened to any of them is its state."""


class Origin:
    """What the receipts of one producer have in common: how their message ids begin, and whom to tell about failing observers."""

    __slots__ = ("clock", "ended", "notifier", "observer_failed", "observer_failures", "prefix", "producer", "watched", "worker")

    def __init__(self, producer: str, prefix: str, clock: Clock | None = None) -> None:
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.producer = producer
        self.prefix = prefix
        self.observer_failures = 0
        self.observer_failed: Callable[[BaseException], object] = lambda _: None
        """Called with what a callback raised; the engine puts it into the log."""
        self.notifier = LoopNotifier()
        self.worker: int | None = None
        self.ended = False
        self.watched: set[Receipt] | None = None
        """Where receipts are forgotten that nobody holds: those to be remembered, because somebody waits for a call."""

    def end(self, settled: Sequence[Receipt]) -> None:
        """Nothing happens to any message from here on: whoever waits for one of those just `settled`, or still waits, is told."""
        self.ended = True
        # Who comes later and puts himself among the watched sees that it is over: in this order nobody falls between.
        with _watcher_lock:
            waiting = list(self.watched or ())
        for receipt in (*settled, *waiting):
            receipt._notify()

    def with_prefix(self, prefix: str) -> Origin:
        """The same producer, for messages that a former process accepted."""
        made = Origin(self.producer, prefix, self.clock)
        made.notifier = self.notifier
        return made

    def is_worker(self) -> bool:
        """Whether the calling thread is the producer's worker."""
        return self.worker == threading.get_ident()


def wall_offset(clock: Clock) -> float:
    """What has to be added to a monotonic time of `clock` for seconds since 1970."""
    return clock.time() - clock.monotonic()


class _More:
    """The parts of a receipt that most receipts do not have."""

    __slots__ = ("error", "headers", "ids", "lines", "put_aside", "stored", "tally", "unknown", "watchers")

    def __init__(self) -> None:
        self.headers: Mapping[str, str] | None = None
        self.ids: Sequence[str] | None = None
        self.watchers: list[Callable[[Receipt], object]] | None = None
        self.tally: dict[State, int] | None = None
        self.error: BaseException | None = None
        self.lines: list[bytes] | None = None
        self.stored: Any = None  # the queue's note where on the disk it is
        self.put_aside = False  # if it is left at the end, it becomes a dead letter: nobody is there to whom it could be handed back
        self.unknown = False  # may have been sent by a former process, or in a batch that was taken apart


class Receipt:
    """A receipt for one message (`produce`) or for several handed over together (`produce_many`).

    Thread-safe. Ask `state`, or wait: `receipt.wait(timeout)`, `await receipt`, `receipt.add_done_callback(fn)`.
    Dropping a receipt changes nothing; holding one keeps no payload in memory once it is final.
    """

    __slots__ = (
        "__weakref__",
        "_accepted_at",
        "_count",
        "_detail",
        "_first",
        "_is_error",
        "_keys",
        "_more",
        "_origin",
        "_payload",
        "_size",
        "_state",
    )

    _first: int  # the number of the first message, given by the queue
    _detail: Any  # what the destination said, if it said something

    def __init__(
        self,
        origin: Origin,
        is_error: bool,
        payload: bytes,
        count: int,
        size: int,
        keys: str | Sequence[str | None] | None,
        accepted_at: float,
    ) -> None:
        self._origin = origin
        self._is_error = is_error
        self._payload = payload
        self._count = count
        self._size = size
        self._keys = keys
        self._accepted_at = accepted_at
        self._state = QUEUED
        self._more: _More | None = None

    # --- for the caller -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the messages are now. Several messages: open until all are settled, then the worst that happened to any."""
        return self._state

    @property
    def count(self) -> int:
        """How many messages the receipt covers."""
        return self._count

    @property
    def message_id(self) -> str:
        """The id of the message, the same in every attempt (of the first message, if there are several)."""
        return self._id(0)

    @property
    def message_ids(self) -> list[str]:
        """The ids of all messages, in order."""
        return [self._id(index) for index in range(self._count)]

    @property
    def counts(self) -> dict[str, int]:
        """How many messages are queued, delivered, dead_lettered, dropped, undelivered; they add up to `count`."""
        counts = {state.value: 0 for state in State}
        more = self._more
        tally = more.tally if more is not None else None
        if tally is not None:
            for state, number in list(tally.items()):
                counts[state.value] = number
        elif self._state not in OPEN:
            counts[self._state.value] = self._count
        still_open = "stored" if self._state is STORED else "queued"
        counts[still_open] = self._count - sum(number for name, number in counts.items() if name != still_open)
        return counts

    @property
    def error(self) -> BaseException | None:
        """Why a message was dead-lettered (the last one, if there are several), else None."""
        return self._more.error if self._more is not None else None

    @property
    def detail(self) -> Any:
        """What the destination said about the delivery, such as partition and offset; None if it, or the producer, says nothing.
        Of several messages a list with one entry each, in order."""
        detail = getattr(self, "_detail", None)
        if self._count > 1 and detail is not None and not isinstance(detail, list):
            detail = self._detail = list(detail)
        return detail

    @property
    def delivered(self) -> bool:
        """True once the destination has confirmed every message."""
        return self._state is DELIVERED

    def done(self) -> bool:
        """True once every message has reached a final state, or the producer has been shut down: then every state is final."""
        return self._state not in OPEN or self._origin.ended

    def wait(self, timeout: float | None = None) -> State:
        """Wait until every message is settled, at most `timeout` seconds (None: no limit); returns the state then.

        Never raises because of what happened to the message: look at the state. A `shutdown` ends every wait: what stays in the
        spool is `STORED`, or `QUEUED` if the disk has refused to say that it has it. Calling it from the producer's own worker
        thread (from a callback) with a message still queued would wait for itself; it returns at once there.
        """
        if not self.done() and not self._origin.is_worker():
            settled = threading.Event()

            def watch(_: Receipt) -> None:
                settled.set()

            self.add_done_callback(watch)
            try:
                settled.wait(timeout)
            finally:
                self._forget(watch)
        return self._state

    def wait_stored(self, timeout: float | None = None) -> State:
        """Wait until the messages are on the disk, or settled, at most `timeout` seconds; returns the state then.

        With a spool `produce` returns only when they are, so that this returns at once; a memory queue stores nothing, and
        this is `wait`.
        """
        return self._state if self._state is STORED else self.wait(timeout)

    def __await__(self) -> Generator[Any, None, State]:
        """Wait in asyncio until every message is settled; the result is the state. Never blocks the loop."""
        if not self.done():
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()

            def watch(_: Receipt) -> None:
                self._origin.notifier.resolve(loop, future)

            self.add_done_callback(watch)
            try:
                yield from future.__await__()
            finally:
                self._forget(watch)
        return self._state

    def add_done_callback(self, callback: Callable[[Receipt], object]) -> None:
        """Call `callback(receipt)` once every message is settled: from the worker thread, or at once if that has happened.

        Callbacks observe, they cannot decide: one that raises changes nothing (it is logged and counted). Keep them short;
        the worker waits for them.
        """
        more = self._rest()
        with _watcher_lock:
            if more.watchers is None:
                more.watchers = []
            more.watchers.append(callback)
            if self._origin.watched is not None:
                self._origin.watched.add(self)
        # The worker sets the state first and looks for watchers second; we do it the other way round. Whoever comes second
        # sees the other, and `_notify` hands each watcher out once.
        if self.done():
            self._notify()

    def _forget(self, callback: Callable[[Receipt], object]) -> None:
        """Whoever asks again and again with a timeout must not leave a callback behind each time."""
        more = self._rest()
        with _watcher_lock:
            if more.watchers is not None and callback in more.watchers:
                more.watchers.remove(callback)

    def __repr__(self) -> str:
        what = self.message_id if self._count == 1 else f"{self._count} messages from {self.message_id}"
        return f"<Receipt {what} {self._state.value}>"

    # --- for the engine -----------------------------------------------------------------------------------------------

    def _rest(self) -> _More:
        more = self._more
        if more is None:
            with _watcher_lock:
                more = self._more
                if more is None:
                    more = self._more = _More()
        return more

    def _id(self, index: int) -> str:
        more = self._more
        if more is not None and more.ids is not None:
            return more.ids[index]
        return f"{self._origin.prefix}{self._first + index:012x}"

    def _lines(self) -> list[bytes]:
        """The payloads of a receipt of several messages, kept until it is final: it is sent in pieces, and split only once."""
        more = self._rest()
        if more.lines is None:
            more.lines = self._payload.split(b"\n")
        return more.lines

    def _key(self, index: int) -> str | None:
        keys = self._keys
        return keys if keys is None or isinstance(keys, str) else keys[index]

    def _settle(self, number: int, state: State) -> bool:
        """Note that `number` more messages reached `state` (under the engine's lock); True when these were the last."""
        if number == self._count:
            self._finish(state)
            return True
        more = self._rest()
        if more.tally is None:
            more.tally = {}
        more.tally[state] = more.tally.get(state, 0) + number
        if sum(more.tally.values()) < self._count:
            return False
        self._finish(next((grave for grave in _GRAVITY if grave in more.tally), DELIVERED))
        return True

    def _keep_details(self, start: int, details: Sequence[Any]) -> None:
        """What the destination said about messages `start` and following, of several. What is no list may make them when asked."""
        if len(details) == self._count and not isinstance(details, list):
            self._detail = details
            return
        if self.detail is None:
            self._detail = [None] * self._count
        self._detail[start : start + len(details)] = details

    def _finish(self, state: State) -> None:
        if state is not UNDELIVERED:  # then a send that hangs may still have the batch, and must find in it what it was given
            self._payload = b""
        if self._more is not None:
            self._more.lines = None
        self._state = state

    def _notify(self) -> None:
        """Call the watchers. Outside of every lock: a callback may do anything."""
        more = self._more
        if more is None or more.watchers is None:
            return
        with _watcher_lock:
            watchers, more.watchers = more.watchers, None
            if self._origin.watched is not None:
                self._origin.watched.discard(self)
        for watcher in watchers or ():
            self._call(watcher)

    def _call(self, callback: Callable[[Receipt], object]) -> None:
        try:
            callback(self)
        except BaseException as error:
            if not isinstance(error, Exception) and not self._origin.is_worker():
                raise  # Ctrl-C in the caller's own thread; in the worker nobody but the callback can have raised it
            self._origin.observer_failures += 1
            self._origin.observer_failed(error)


# Re-entrant: the garbage collector may run somebody's finalizer, and with it a log handler that produces, within these lines.
_watcher_lock = threading.RLock()
"""Guards the handing over of watchers for all receipts: held for a few instructions, and only where somebody watches."""


def _new_watcher_lock() -> None:
    """In a child process: whoever held the lock at the fork does not exist here."""
    global _watcher_lock
    _watcher_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_watcher_lock)


class LoopNotifier:
    """Resolves futures on their event loop, waking each loop once per burst instead of once per message (1.9 us each)."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: dict[asyncio.AbstractEventLoop, deque[asyncio.Future[None]]] = {}

    def resolve(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
        """Set the result of `future` on `loop` soon; callable from any thread. A closed loop is ignored."""
        with self._lock:
            waiting = self._waiting.get(loop)
            if waiting is not None:
                waiting.append(future)
                return
            for closed in [other for other in self._waiting if other.is_closed()]:
                del self._waiting[closed]
            self._waiting[loop] = deque([future])
        try:
            loop.call_soon_threadsafe(self._resolve_all, loop)
        except RuntimeError:  # the loop has been closed: nobody awaits any more
            with self._lock:
                self._waiting.pop(loop, None)

    def _resolve_all(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            futures = self._waiting.pop(loop, ())
        for future in futures:
            if not future.done():
                future.set_result(None)
