"""The worker: the one thread that connects, sends and closes. Thin: every decision is the engine's.

`Worker` drives producers whose methods are ordinary functions, one message (`send`) or one batch (`send_batch`) at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from standpipe.core.errors import ContractError, Reject, SendError
from standpipe.core.outcome import Outcome, Verdict, judge
from standpipe.delivery.batch import Batch, lines_of
from standpipe.delivery.engine import Abandoned, Engine
from standpipe.delivery.memory_queue import NEVER
from standpipe.delivery.report import Report

INTERNAL_FAULT_PAUSE = 1.0
"""Seconds before the worker goes on after a fault of its own: long enough not to spin, short enough not to be noticed."""

RESET_GRACE = 5.0
"""Seconds that sends under way get to end by themselves before a connection that still works is reset."""

Result = Outcome | BaseException | None


@dataclass(frozen=True, slots=True)
class Transport:
    """What the worker calls: the methods of a producer. Exactly one of `send`, `send_batch` and `submit` is used."""

    connect: Callable[[], Any]
    close: Callable[[], Any]
    safe_connect: Callable[[], Any]
    send: Callable[[bool, dict[str, Any]], Any] | None = None
    send_batch: Callable[[Batch], Sequence[Result]] | None = None
    submit: Callable[[Batch, Report], Any] | None = None
    poll: Callable[[float], Any] | None = None
    wake: Callable[[], Any] | None = None
    writable: Callable[[], Any] | None = None


ALL_DELIVERED: list[Verdict | None] = []
"""What `read_results` makes of the claim that everything arrived: by far the most frequent one, and quick to recognise."""


def read_results(results: object, batch: Batch) -> list[Verdict | None]:
    """What `_send_batch` returned, as one verdict per message (None: delivered). Success must be claimed for each message."""
    if type(results) is list and len(results) == results.count(Outcome.DELIVERED) == batch.count:
        return ALL_DELIVERED
    if isinstance(results, (str, bytes)) or not isinstance(results, Sequence):
        raise ContractError(
            f"_send_batch returned {type(results).__name__}, not one result per message; return batch.delivered() when all arrived"
        )
    if len(results) != batch.count:
        raise ContractError(f"_send_batch returned {len(results)} results for {batch.count} messages; one per message is needed")
    return [verdict_on(result) for result in results]


def verdict_on(result: object) -> Verdict | None:
    """What the engine has to do about one message; None when it was delivered."""
    if result is Outcome.DELIVERED:
        return None
    if isinstance(result, BaseException):
        return judge(result)
    if result is Outcome.REJECTED:
        return Verdict(Outcome.REJECTED, Reject("rejected by the destination"))
    if result is Outcome.FAILED or result is Outcome.UNKNOWN:
        return Verdict(result, SendError("the destination did not take the message"))
    return Verdict(Outcome.UNKNOWN, ContractError(f"{result!r} in the results of _send_batch is neither an Outcome nor an exception"))


class Worker:
    """Runs in the worker thread, from `run` to its end. Only `engine.stop` and `engine.abandon` reach in from outside."""

    def __init__(self, engine: Engine, transport: Transport) -> None:
        self.engine = engine
        self.transport = transport
        self._to_close = False  # `_connect` has been called since the last `_close`, with whatever success

    # --- life ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Connect, then send until `shutdown` has been called and nothing is pending or its time is up; then close."""
        try:
            while self.step():
                pass
        except Abandoned:
            pass
        finally:
            self.close()

    def step(self) -> bool:
        """Wait for something to send and try it once; False when it is over. A fault of ours must neither end delivery
        silently nor lose what was under way."""
        try:
            return self._turn()
        except Abandoned:
            raise
        except BaseException as fault:
            self.engine.journal.critical("internal error, delivery goes on; please report this", error=fault)
            self._recover()
            self.pause(INTERNAL_FAULT_PAUSE, sweeps=False)
        return True

    def _turn(self) -> bool:
        batch = self._next()
        if batch is None:
            return False
        if self.transport.send_batch is not None:
            self._attempt_batch(batch)
        else:
            self._attempt_each(batch)
        return True

    def _next(self) -> Batch | None:
        """The next batch; waits for it. None: it is over."""
        engine = self.engine
        while True:
            now = engine.clock.monotonic()
            if engine.over(now):
                return None
            engine.sweep(now)
            if engine.finished():
                return None
            if not engine.connected:  # the first time, or after a reset that shutdown or a fault interrupted
                self.transport.safe_connect()
                continue
            with engine.lock:
                engine.queue.progress()
                batch, due = engine.choose(now)
                if batch is not None:
                    return batch
                if engine.finished():
                    return None
                self._wait(due, now)

    def _wait(self, due: float | None, now: float) -> None:
        """Wait, under the lock, until `due`, a new message, an expiry, or shutdown."""
        engine = self.engine
        times = [time for time in (due, engine.stop_at, engine.next_expiry()) if time is not None]
        engine.queue.wake_at = engine.selection.wake_level()
        engine.clock.wait(engine.queue.ready, max(0.0, min(times) - now) if times else None)
        engine.queue.wake_at = NEVER

    def _recover(self) -> None:
        """What is under way and not settled goes back, to be chosen again."""
        for batch in list(self.engine.under_way):
            left = batch.part(self.engine.done, batch.count)
            self.engine.split(batch, [left])
            self.engine.give_back(left)

    # --- attempts -----------------------------------------------------------------------------------------------------

    def _attempt_each(self, batch: Batch) -> None:
        """Send the messages of `batch` one by one. The first that fails ends it: the rest goes back, to be chosen again."""
        engine, send, loads = self.engine, self.transport.send, orjson.loads
        position = 0
        for part in batch.slices:
            receipt, start, _ = part
            for index, payload in enumerate(lines_of(part), start):
                if engine.stop_at is not None and engine.over(engine.clock.monotonic()):
                    self._recover()
                    return
                try:
                    send(receipt._is_error, loads(payload))  # type: ignore[misc]
                except BaseException as error:
                    self._one_failed(batch, position, judge(error))
                    return
                engine.delivered_next(batch, receipt, index)
                position += 1

    def _one_failed(self, batch: Batch, position: int, verdict: Verdict) -> None:
        failed, rest = batch.part(position, position + 1), batch.part(position + 1, batch.count)
        self.engine.split(batch, [failed, rest])
        reset = settle_failed(self.engine, failed, verdict, whole=False)
        if rest.count:
            self.engine.give_back(rest)
        if reset:
            self.reset()

    def _attempt_batch(self, batch: Batch) -> None:
        """Send `batch` as one; then settle each message by its own result, or the batch as a whole if there are none."""
        try:
            returned = self.transport.send_batch(batch)  # type: ignore[misc]
            results = read_results(returned, batch)
        except BaseException as error:
            if settle_failed(self.engine, batch, judge(error), whole=True):
                self.reset()
            return
        if settle_results(self.engine, batch, results):
            self.reset()

    # --- connection ---------------------------------------------------------------------------------------------------

    def safe_connect(self) -> bool:
        """Connect, as `connecting` says. False when shutdown's time was up first."""
        steps = connecting(self.engine)
        try:
            step = next(steps)
            while True:
                if step is None:
                    step = steps.send(self._try_to_connect())
                else:
                    self.pause(step)
                    step = steps.send(None)
        except StopIteration as end:
            return bool(end.value)

    def _try_to_connect(self) -> BaseException | None:
        self._to_close = True
        try:
            self.transport.connect()
        except BaseException as error:
            return error
        return None

    def reset(self) -> None:
        """Close the connection and open it again."""
        engine = self.engine
        with engine.lock:
            engine.resets += 1
        engine.journal.repeated("reset", "resetting the connection")
        self._close()
        self.transport.safe_connect()

    def close(self) -> None:
        """Close the connection for good; also what a `_connect` that failed half-way has left."""
        if self._to_close:
            self._close()
            self.engine.journal.info("closed")

    def _close(self) -> None:
        self.engine.connected = False
        self._to_close = False
        try:
            self.transport.close()
        except BaseException as error:
            self.engine.journal.repeated("close", "closing the connection failed (%s)", self.engine.journal.line(error))

    def pause(self, seconds: float, *, sweeps: bool = True) -> None:
        """Wait so long; shutdown ends it. Messages that expire meanwhile are put aside, unless doing just that may be what has
        failed: then the thread would end."""
        engine = self.engine
        until = engine.clock.monotonic() + seconds
        was_closing = engine.closing
        while True:
            now = engine.clock.monotonic()
            if sweeps:
                engine.sweep(now)
            with engine.lock:
                if now >= until or engine.closing is not was_closing or engine.over(now):
                    return
                times = [time for time in (until, engine.stop_at, engine.next_expiry() if sweeps else None) if time is not None]
                if sweeps:
                    engine.queue.wake_at = engine.expiry_wake_level()
                engine.clock.wait(engine.queue.ready, max(0.0, min(times) - now))
                engine.queue.wake_at = NEVER


def connecting(engine: Engine) -> Generator[float | None, BaseException | None, bool]:
    """The steps of `_safe_connect`: None asks to call `_connect` and to be sent what it raised, a number asks to wait so
    many seconds. Up to `max_retries` times with growing delays; then, after `reconnect_wait`, again. Ends with True when
    connected, with False when shutdown's time is up or nothing is left to deliver."""
    policy = engine.settings.retry
    rounds = 0
    while True:
        for attempt in range(1, policy.max_retries + 1):
            if engine.over(engine.clock.monotonic()) or engine.finished():
                return False
            error = yield None
            if error is None:
                engine.connection_opened()
                return True
            engine.connection_failed(error, attempt)
            if attempt < policy.max_retries:
                yield engine.retry_delay(attempt)
        rounds += 1
        engine.unreachable()
        # While shutting down there may be no time for the long wait: go on with the growing delays until the deadline.
        growing = policy.bound(policy.max_retries + rounds - 1)
        wait = min(policy.reconnect_wait, growing) if engine.closing else policy.reconnect_wait
        engine.journal.repeated("reconnect wait", "waiting %.1f s before connecting again", wait)
        yield wait


def settle_failed(engine: Engine, batch: Batch, verdict: Verdict, whole: bool) -> bool:
    """Settle a batch that failed alike; True when the connection has to be reset."""
    if verdict.outcome is Outcome.REJECTED:
        engine.rejected(batch, verdict.error, whole)
        return False
    return engine.failed(batch, verdict, whole)


def settle_results(engine: Engine, batch: Batch, results: Sequence[Verdict | None]) -> bool:
    """Settle each message of `batch` by its own result; True when the connection has to be reset. Messages of one outcome
    stay together: what failed alike is retried as one batch."""
    if batch.details is not None:
        _check_details(engine, batch)
    if results is ALL_DELIVERED:
        engine.delivered(batch)
        return False
    delivered = [position for position, verdict in enumerate(results) if verdict is None]
    if len(delivered) == batch.count:
        engine.delivered(batch)
        return False
    groups: dict[tuple[object, ...], list[int]] = {}
    for position, verdict in enumerate(results):
        if verdict is not None:
            groups.setdefault(_alike(verdict, position, engine.schedule.together), []).append(position)
    parts = [(worst([results[p] for p in positions]), batch.choose(set(positions).__contains__)) for positions in groups.values()]
    arrived = batch.choose(set(delivered).__contains__)
    engine.split(batch, [part for _, part in parts] + [arrived])
    if arrived.count:
        engine.delivered(arrived)
    reset = False
    for verdict, part in parts:
        reset = settle_failed(engine, part, verdict, whole=False) or reset
    return reset


def _check_details(engine: Engine, batch: Batch) -> None:
    """Details are for people to see: those that are not one for each message are left out, and decide nothing."""
    details: object = batch.details
    if isinstance(details, Sequence) and len(details) == batch.count:
        return
    batch.details = None
    engine.origin.observer_failures += 1
    said = f"{len(details)} entries" if isinstance(details, Sequence) else f"no sequence but {type(details).__name__}"
    text = "the batch's details are %s, not one for each of its %d message(s); they are left out, the messages are not affected"
    engine.journal.repeated("details", text, said, batch.count)


def _alike(verdict: Verdict, position: int, together: bool) -> tuple[object, ...]:
    """Rejected messages each keep their own reason; failed ones are told apart by what has to be done about them, unless
    they have to stay `together` because one may have to wait for the other."""
    if verdict.outcome is Outcome.REJECTED:
        return (verdict.outcome, position)
    return () if together else (verdict.outcome, verdict.reset_now, verdict.retry_after)


def worst(verdicts: Sequence[Verdict | None]) -> Verdict:
    """One verdict for messages that are retried together: any that may have arrived, any reset and the longest pause count."""
    known = [verdict for verdict in verdicts if verdict is not None]
    unknown = any(verdict.outcome is Outcome.UNKNOWN for verdict in known)
    reset = next((verdict for verdict in known if verdict.reset_now), None)
    pauses = [verdict.retry_after for verdict in known if verdict.retry_after is not None]
    return Verdict(
        Outcome.UNKNOWN if unknown else known[0].outcome,
        (reset or known[0]).error,
        reset_now=reset is not None,
        retry_after=max(pauses) if pauses and reset is None else None,
    )
