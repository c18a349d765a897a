"""The contract: extend `BaseProducer` with `_connect`, `_send` and `_close`, and get the queue, the worker, retries,
reconnection, batches, receipts, dead letters and a graceful shutdown.

This file assembles them; the rules of delivery are in `standpipe.delivery`.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import orjson

from standpipe.core.clock import Clock, SystemClock
from standpipe.core.errors import EncodingError, StandpipeError
from standpipe.core.finding import Finding
from standpipe.core.payload import encode, encode_many
from standpipe.delivery.async_worker import AsyncWorker
from standpipe.delivery.batch import Batch
from standpipe.delivery.completion_worker import CompletionWorker
from standpipe.delivery.dead_letters import DeadLetters
from standpipe.delivery.engine import Engine
from standpipe.delivery.journal import Journal
from standpipe.delivery.memory_queue import MemoryQueue, QueueLimits
from standpipe.delivery.receipt import Origin, Receipt
from standpipe.delivery.report import Report
from standpipe.delivery.statistics import ProducerStatistics, ShutdownReport
from standpipe.delivery.worker import Transport, Worker
from standpipe.producers.config import BaseProducerConfig, QueueConfig, SpoolConfig, secrets_in
from standpipe.producers.dead_letters import make_dead_letters
from standpipe.producers.details import add_details
from standpipe.producers.process import drain_at_exit, manage
from standpipe.producers.spilling_queue import SpillingQueue
from standpipe.producers.spooled_queue import SpooledQueue
from standpipe.producers.state_dir import LEFT, spool_folder
from standpipe.producers.style import settings_of, style_of
from standpipe.spool.dead_letters import SqliteDeadLetters
from standpipe.spool.files import FileSystem, RealFileSystem
from standpipe.spool.log import SEGMENT_BYTES, Spool
from standpipe.spool.recovery import Recovery

__all__ = ["BaseProducer", "BaseProducerConfig", "Batch", "Report"]

_dumps = orjson.dumps
_APPEND_NEWLINE = orjson.OPT_APPEND_NEWLINE
_BRACE = ord("{")

CLOSE_RESERVE = 0.1
"""Share of the time given to `shutdown` that is kept for `_close` (at most `CLOSE_RESERVE_MAX` seconds)."""
CLOSE_RESERVE_MAX = 0.5


class BaseProducer(ABC):
    """Delivers messages to one destination, asynchronously, through an internal queue and a worker thread.

    Extend it with three methods (see `_connect`, `_send`, `_close`); they are always called from the one worker thread,
    never concurrently. Nothing is connected and no thread started before the first `produce` or `start()`. All public
    methods may be called from any thread. Also a context manager, synchronous and asynchronous.

    Optional, for speed: `_send_batch(batch)` instead of `_send`; or `async def` for all of them, with up to `max_in_flight`
    sends under way at once on an event loop that the worker owns; or `_submit(batch, report)` for clients that take a message
    now and say later, from a callback, what became of it.
    """

    config_model: ClassVar[type[BaseProducerConfig]] = BaseProducerConfig
    """The configuration model of this producer, for YAML."""

    atomic_batches: ClassVar[bool] = False
    """Set it to True if a `_send_batch` that fails, as a whole or for one message, has certainly delivered no later message
    of the same key. Otherwise, with `ordering: key`, a batch never holds two messages of one key; with `fifo`, only one.

    With `_submit` the same holds for everything that is with the client at once, until the connection is closed."""

    max_in_flight: int = 64
    """For asynchronous producers: sends under way at once. For those with `_submit`: messages with the client at once; no batch
    is handed over while there are as many (at most one batch more). May be set on the instance before `__init__` of this class."""

    # Names of our own are private twice over (`__`), so that an author's `self._queue` or `self._client` cannot hit them.
    __started: bool
    __thread: threading.Thread | None
    __over: threading.Event
    __final: ShutdownReport | None
    __origin: Origin
    __queue: MemoryQueue
    __engine: Engine
    __driver: Worker | AsyncWorker | CompletionWorker
    __dead_letters: DeadLetters
    __put: Callable[[Receipt], None]

    def __init__(
        self,
        config: BaseProducerConfig,
        *,
        dead_letters: DeadLetters | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        """`dead_letters` (default: as configured), `clock` and `jitter` (numbers in 0 ... 1) are for the application and for tests."""
        if not isinstance(config, BaseProducerConfig):
            raise TypeError(f"{type(self).__name__} needs a BaseProducerConfig, not {type(config).__name__}")
        if not isinstance(config, self.config_model):
            raise TypeError(f"{type(self).__name__} needs a {self.config_model.__name__}, not a {type(config).__name__}")
        self.config = config
        self.__style = style_of(type(self), BaseProducer)
        self.__given_dead_letters = dead_letters
        self.__state_dir: Path | None = None
        self.__clock: Clock = clock if clock is not None else SystemClock()
        self.__jitter = jitter if jitter is not None else random.random
        self.__monotonic = self.__clock.monotonic
        self.__lifecycle = threading.RLock()
        self.__begin()
        manage(self)

    # --- what a producer author writes --------------------------------------------------------------------------------

    @abstractmethod
    def _connect(self) -> Any:
        """Open the connection; raise if it cannot be opened. Called again after every reset."""

    def _send(self, is_error: bool, message: dict[str, Any]) -> Any:
        """Send one message; returning claims success, raising anything is a failure and the message is tried again.

        Raise `Reject` to put it aside for good, `RetryAfter(seconds)` when the destination asks for a pause, `Disconnected`
        when the connection is gone.
        """
        raise NotImplementedError

    def _send_batch(self, batch: Batch) -> Any:
        """Send several messages at once; return one result per message (`batch.delivered()` when all arrived).

        A result is `Outcome.DELIVERED` or what went wrong with that message: an exception, as for `_send`, or another
        `Outcome`. Raising means that the batch failed as a whole; it is then tried in halves until the fault is alone.
        """
        raise NotImplementedError

    def _submit(self, batch: Batch, report: Report) -> Any:
        """Hand several messages to a client that confirms them later; return at once. For each message call
        `report.delivered(position)` or `report.failed(position, error)` when the client says so: from any thread, in any
        order, during this call or long after it. Raising means that whatever has not been reported has failed.

        Such a producer may also write `_poll`, `_wake` and `_writable`. `_close` should report what it still learns about
        messages that are with the client; about the others the engine supposes that they may have arrived.
        """
        raise NotImplementedError

    def _poll(self, seconds: float) -> Any:
        """With `_submit`: let the client work (serve its callbacks, its heartbeats) for at most so many seconds; 0: only what is
        there already. Return as soon as something has been reported. Raising means that the connection is lost.

        Called in the worker thread whenever it would otherwise wait. A client with threads of its own needs no `_poll`.
        """
        raise NotImplementedError

    def _wake(self) -> Any:
        """With `_poll`: make a `_poll` that waits, or the next one, return at once; called from any thread, must not wait.

        Without it `_poll` is called with at most 10 ms while messages are with the client, and else once a second.
        """
        raise NotImplementedError

    def _writable(self) -> Any:
        """With `_submit`: False while the destination asks to be sent nothing (flow control); then nothing is handed over, and
        the time of what the client has (`send_timeout`) does not run. Asked before every batch."""
        return True

    @abstractmethod
    def _close(self) -> Any:
        """Release everything; may be called twice, and after a `_connect` that failed half-way."""

    def examine(self) -> list[Finding]:
        """For `standpipe doctor`: connect to the destination, look at its settings and at one's own, and say what would be lost
        when. Changes nothing there, starts nothing here; runs in the caller's thread and may take `connect_timeout`. What it
        raises is reported as a destination that cannot be reached."""
        return []

    # --- producing ----------------------------------------------------------------------------------------------------

    def produce(
        self,
        is_error: bool,
        message: dict[str, Any],
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
    ) -> Receipt:
        """Hand over one message; returns at once with its receipt. The message is encoded now: later changes do not matter.

        `key`: messages of one key arrive in order. `headers`: text to text, passed to destinations that have headers.
        `message_id`: your own id (1 to 200 characters), the same in every attempt; made if not given.

        Raises EncodingError, MessageTooLarge, ProducerClosed; QueueFull if the queue is full and `on_full` is `raise`, or
        `block` and `full_timeout` has passed. When it raises, the message was not accepted.
        """
        # The next lines are `encode` written out, because a call costs here: what is not plainly good goes the long way.
        try:
            payload = _dumps(message, None, _APPEND_NEWLINE)[:-1]
        except TypeError:
            payload = encode(message)
        if payload[0] != _BRACE or payload.rfind(b"null") >= 0:
            payload = encode(message)
        if is_error is not False:
            is_error = bool(is_error)
        receipt = Receipt(self.__origin, is_error, payload, 1, len(payload), key, self.__monotonic())
        if key is not None or headers is not None or message_id is not None:
            add_details(receipt, key, headers, None if message_id is None else [message_id])
        if not self.__started:
            self.start()
        self.__put(receipt)
        return receipt

    def produce_many(
        self,
        is_error: bool,
        messages: Sequence[dict[str, Any]],
        *,
        key: str | None = None,
        keys: Sequence[str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        message_ids: Sequence[str] | None = None,
    ) -> Receipt:
        """Hand over several messages together: one receipt for all, several times as fast as one by one; all or none are accepted.

        `key` is for all of them, or `keys` has one per message; `headers` are for all. Otherwise as `produce`.
        """
        messages = messages if isinstance(messages, (list, tuple)) else list(messages)
        if not messages:
            raise EncodingError("produce_many needs at least one message")
        receipt = self.__receipt_for(bool(is_error), encode_many(messages), len(messages), key, keys, headers, message_ids)
        return self.__hand_over(receipt, None)

    def produce_encoded(
        self,
        is_error: bool,
        payload: bytes,
        count: int,
        *,
        key: str | None = None,
        keys: Sequence[str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        message_ids: Sequence[str] | None = None,
        timeout: float | None = None,
        only_copy: bool = False,
    ) -> Receipt:
        """As `produce_many` for messages that are encoded already: JSON Lines of `count` objects, without a newline at the end.

        For code that encodes by itself, such as pipelines; `payload` is trusted. `timeout` overrides `full_timeout`. `only_copy`:
        nobody could take back what `shutdown` hands back; if dead letters are on disk, it is put aside there as undeliverable.
        """
        receipt = self.__receipt_for(is_error, payload, count, key, keys, headers, message_ids)
        if only_copy:
            receipt._rest().put_aside = True
        return self.__hand_over(receipt, timeout)

    async def aproduce(
        self,
        is_error: bool,
        message: dict[str, Any],
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
    ) -> Receipt:
        """As `produce` for asyncio: when the queue is full it awaits room instead of blocking the loop.

        Cancelled while it waits: the message was not accepted.
        """
        payload = encode(message)
        receipt = Receipt(self.__origin, bool(is_error), payload, 1, len(payload), key, self.__monotonic())
        if key is not None or headers is not None or message_id is not None:
            add_details(receipt, key, headers, None if message_id is None else [message_id])
        if not self.__started:
            self.start()
        await self.__queue.aput(receipt)
        return receipt

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the worker now instead of at the first `produce`: it connects at once. Does nothing when it runs already."""
        with self.__lifecycle:
            if self.__started or self.__engine.closing:
                return
            drain_at_exit()
            if isinstance(self.__queue, SpooledQueue | SpillingQueue):
                self.__tell_recovery(self.__queue.open())
            self.__look_after_dead_letters()
            thread = threading.Thread(target=self._worker, name=f"standpipe-{self.config.name}", daemon=True)
            thread.start()  # raises if the machine has no more threads; then nothing has been accepted yet
            self.__thread = thread
            self.__started = True

    def flush(self, timeout: float | None = None) -> int:
        """Wait until everything accepted before this call is settled, at most `timeout` seconds (None: no limit).

        Returns how many of those messages are left: 0 when all are delivered, dead-lettered or dropped.
        """
        if self.__origin.is_worker():
            return self.statistics().pending
        return self.__queue.flush(timeout)

    async def aflush(self, timeout: float | None = None) -> int:
        """As `flush`, for asyncio."""
        return await asyncio.to_thread(self.flush, timeout)

    def shutdown(self, timeout: float | None = None) -> ShutdownReport:
        """Stop accepting, deliver what is pending, close the connection, end the worker; at most `timeout` seconds
        (default: `shutdown_timeout`), then report what became of every message.

        Idempotent and callable from any thread: later calls wait for the first and return its report. Called from the worker
        itself (a callback) it only begins, and reports what is known so far.
        """
        timeout = self._begin_shutdown(timeout)
        if self.__origin.is_worker():
            return self.__report(())
        if self.__thread is not None and self.__over.wait(timeout):
            self.__thread.join(timeout)
        return self.__end()

    def _begin_shutdown(self, timeout: float | None = None) -> float:
        """Stop accepting and let the worker deliver what is pending; returns the time it has, in seconds."""
        timeout = self.config.shutdown_timeout if timeout is None else max(0.0, timeout)
        engine = self.__engine
        if not engine.closing:
            if pending := self.statistics().pending:
                engine.journal.info("shutting down: %d message(s) pending, %.1f s to deliver them", pending, timeout)
            else:
                engine.journal.info("shutting down: nothing is pending")
        with self.__lifecycle:
            reserve = min(timeout * CLOSE_RESERVE, CLOSE_RESERVE_MAX)
            engine.stop(self.__monotonic() + timeout - reserve)
        return timeout

    def __end(self) -> ShutdownReport:
        """The report, made by whoever gets here first."""
        with self.__lifecycle:
            if self.__final is not None:
                return self.__final
            messages, sending, settled = self.__engine.abandon()
            if isinstance(self.__queue, SpooledQueue | SpillingQueue):
                self.__queue.close_spool()
            if isinstance(self.__dead_letters, SqliteDeadLetters):
                self.__dead_letters.close()
            self.__final = self.__report(messages, sending)
            self.__origin.end(settled)
        self.__tell(self.__final)  # without the lock: a log handler may be feeding this very producer
        return self.__final

    def __tell_recovery(self, recovery: Recovery) -> None:
        if recovery.backlog:
            text = "%d message(s) from before the restart wait in the spool; %d of them may have been sent already"
            self.__engine.journal.info(text, recovery.backlog, recovery.in_flight)

    def __look_after_dead_letters(self) -> None:
        """What is too old goes, and damage is told before the first message depends on the store."""
        store = self.__dead_letters
        if isinstance(store, SqliteDeadLetters):
            try:
                store.sweep()
            except (StandpipeError, OSError) as error:
                text = "dead letters cannot be stored, rejected messages will wait until they can (%s); see `state_dir` and `dead_letters`"
                self.__engine.journal.warning(text, error)

    def keep_state_in(self, folder: Path) -> None:
        """The folder for the spool, unless the configuration names a path, and for dead letters, unless it says `memory`;
        before `start`. Default: the XDG state folder for a spool, none for dead letters."""
        self.__state_dir = folder
        self.__dead_letters = self.__engine.dead_letters = self.__make_dead_letters()

    def __tell(self, report: ShutdownReport) -> None:
        journal = self.__engine.journal
        if self.__thread is not None and not self.__over.is_set():
            journal.warning("the worker is still busy in a call to the destination; it is left behind and sends nothing more")
        tell = journal.warning if report.undelivered else journal.info
        tell(
            "shut down: %d delivered, %d dead-lettered, %d dropped, %d " + ("kept in the spool" if self.__queue.keeps else "undelivered"),
            report.delivered,
            report.dead_lettered,
            report.dropped,
            report.spooled or report.undelivered,
        )

    def __report(self, messages: Iterable[Any], sending: int = 0) -> ShutdownReport:
        now, handed = self.statistics(), tuple(messages)
        handed_back = len(handed)
        return ShutdownReport(
            delivered=now.delivered,
            dead_lettered=now.dead_lettered,
            spooled=now.pending - handed_back if self.__queue.keeps else 0,
            undelivered=handed_back if self.__queue.keeps else now.pending,
            dropped=now.dropped,
            messages=handed,
            possible_duplicates=sending,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.to_thread(self.shutdown)

    # --- telling ------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of this instance."""
        return self.config.name

    @property
    def destination(self) -> str:
        """Where the messages go, for people: in dead letters and lists. Override it to say more; no secrets."""
        return f"{self.config.type}:{self.config.name}"

    @property
    def dead_letters(self) -> DeadLetters:
        """The messages put aside for good."""
        return self.__dead_letters

    @property
    def closed(self) -> bool:
        """True once `shutdown` has been called."""
        return self.__engine.closing

    @property
    def _ended(self) -> bool:
        return self.__final is not None

    def statistics(self) -> ProducerStatistics:
        """A consistent snapshot of the counters. While the disk refuses a spool's messages, `last_error` says so."""
        now = self.__engine.statistics()
        trouble = self.__queue.trouble if isinstance(self.__queue, SpooledQueue | SpillingQueue) else None
        return now if trouble is None else replace(now, last_error=f"spool: {trouble}")

    def when_room(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` once, soon after there is room in the queue again, or on shutdown. It must only wake somebody up."""
        self.__queue.when_room(watcher)

    def has_room(self, count: int, size: int) -> bool:
        """Whether `count` messages of `size` bytes together would be taken without waiting now."""
        return self.__queue.closed or self.config.queue.on_full.startswith("drop") or self.__queue.takes(count, size)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.name!r}>"

    # --- the worker ---------------------------------------------------------------------------------------------------

    def _worker(self) -> None:
        """The body of the worker thread."""
        self.__origin.worker = threading.get_ident()
        try:
            self.__driver.run()
        finally:
            self.__origin.worker = None
            self.__over.set()
            if self.__thread is threading.current_thread():
                # `shutdown` may have been called from here only, by a callback: then nobody else settles what is left.
                self.__end()

    def _safe_connect(self) -> Any:
        """Call `_connect` until it succeeds: up to `max_retries` times with growing delays, then wait `reconnect_wait` and
        start over. Every wait ends at once on shutdown. (A coroutine for asynchronous producers.)"""
        return self.__driver.safe_connect()

    # --- assembly -----------------------------------------------------------------------------------------------------

    def __begin(self) -> None:
        """Everything that belongs to this process alone: made anew in a child after a fork."""
        config, clock = self.config, self.__clock
        self.__started = False
        self.__thread = None
        # Not `join` alone: after a Ctrl-C in it, Python 3.11 takes the thread for dead.
        self.__over = threading.Event()
        self.__final = None
        # 80 random bits for this producer in this process, then a counter: unique across machines, whatever the clocks say.
        self.__origin = Origin(config.name, os.urandom(10).hex(), clock)
        limits = QueueLimits(config.queue.max_messages, config.queue.max_bytes, config.queue.on_full, config.queue.full_timeout)
        self.__queue = self.__make_queue(limits)
        self.__queue.is_worker = self.__origin.is_worker
        self.__origin.watched = set() if self.__queue.keeps else None
        self.__put = self.__queue.put
        self.__dead_letters = self.__make_dead_letters()
        journal = Journal(config.name, clock, tuple(secrets_in(config)))
        self.__engine = Engine(
            settings_of(self.config, self.__style, self.atomic_batches, self.destination),
            self.__queue,
            self.__dead_letters,
            self.__origin,
            clock,
            self.__jitter,
            journal,
        )
        self.__driver = self.__make_driver()

    def __make_queue(self, limits: QueueLimits) -> MemoryQueue:
        queue = self.config.queue
        if isinstance(queue, SpoolConfig):
            return SpooledQueue(self.config.name, limits, self.__clock, self.__make_spool, self.__origin, queue)
        if queue.on_full == "spill":
            make = partial(self.__make_spill, queue)
            return SpillingQueue(self.config.name, limits, self.__clock, make, self.__origin, queue.spill_max_bytes)
        return MemoryQueue(self.config.name, limits, self.__clock)

    def __make_dead_letters(self) -> DeadLetters:
        given = self.__given_dead_letters
        return given if given is not None else make_dead_letters(self.config.dead_letters, self.name, self.__state_dir, self.__clock)

    def __make_spool(self, lock: threading.RLock) -> Spool:
        config = self.config.queue
        folder = spool_folder(self.name, config.path, self.__state_dir)
        size = config.segment_bytes if isinstance(config, SpoolConfig) else SEGMENT_BYTES
        careful = isinstance(config, SpoolConfig) and config.durability == "synced"
        return Spool(self._spool_files(folder), lock, segment_bytes=size, careful=careful, salvages=True, name=self.config.name)

    def __make_spill(self, config: QueueConfig, lock: threading.RLock, part: str) -> Spool:
        folder = spool_folder(self.name, config.path, self.__state_dir) / part
        return Spool(self._spool_files(folder), lock, careful=part == LEFT, name=f"{self.config.name} ({part})")

    def _spool_files(self, folder: Path) -> FileSystem:
        """The file system that the spool is on: tests put one in its place that fails."""
        return RealFileSystem(folder)

    def __make_driver(self) -> Worker | AsyncWorker | CompletionWorker:
        style, kind = self.__style, type(self)
        transport = Transport(
            connect=self._connect,
            close=self._close,
            safe_connect=self._safe_connect,
            send=None if style.batch else self._send,
            send_batch=self._send_batch if style.batch else None,
            submit=self._submit if style.completion else None,
            poll=None if kind._poll is BaseProducer._poll else self._poll,
            wake=None if kind._wake is BaseProducer._wake else self._wake,
            writable=None if kind._writable is BaseProducer._writable else self._writable,
        )
        if style.completion:
            return CompletionWorker(self.__engine, transport, self.max_in_flight, self.config.send_timeout, self.atomic_batches)
        if style.asynchronous:
            return AsyncWorker(self.__engine, transport, self.max_in_flight, self.config.send_timeout)
        return Worker(self.__engine, transport)

    def __receipt_for(
        self,
        is_error: bool,
        payload: bytes,
        count: int,
        key: str | None,
        keys: Sequence[str | None] | None,
        headers: Mapping[str, str] | None,
        message_ids: Sequence[str] | None,
    ) -> Receipt:
        keys = None if keys is None else tuple(keys)  # the caller may go on with its list
        if keys is not None and (len(keys) != count or key is not None):
            raise EncodingError(f"{len(keys)} keys for {count} messages; give one key per message, or `key` for all")
        if message_ids is not None and len(message_ids) != count:
            raise EncodingError(f"{len(message_ids)} message ids for {count} messages; give one per message")
        receipt = Receipt(self.__origin, is_error, payload, count, len(payload), key if keys is None else keys, self.__monotonic())
        if key is not None or keys is not None or headers is not None or message_ids is not None:
            add_details(receipt, receipt._keys, headers, message_ids)
        return receipt

    def __hand_over(self, receipt: Receipt, timeout: float | None) -> Receipt:
        if not self.__started:
            self.start()
        self.__queue.put(receipt, timeout)
        return receipt

    def _after_fork(self) -> None:
        """In a child process: an empty queue, a connection of its own, a worker on the first `produce`."""
        closed = self.__engine.closing
        if isinstance(self.__queue, SpooledQueue | SpillingQueue):
            self.__queue.forget_spool()
        self.__engine.abandoned = True  # if it was the worker itself that forked: here it sends nothing more
        self.__lifecycle = threading.RLock()
        self.__begin()
        if closed:
            self.__engine.stop(self.__monotonic())
            self.__final = self.__report(())
