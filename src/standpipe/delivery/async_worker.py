"""The worker for asynchronous producers: an event loop of its own, and a window of sends under way at once.

The window consists of lanes: tasks that each send one batch after the other, as long as there are any, because a task for
every batch would cost as much as sending it. A lane that finds nothing to send is idle until the main task hands it a batch.

1. The main task alone connects, resets, closes, waits for what becomes due, and ends sends whose time is up.
2. A lane takes a batch by itself only while nothing else is to be done: no reset is wanted, no fault was met.
3. Before a reset, and at the end, all lanes end; their batches are settled, given back, or stay under way for `shutdown`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import orjson

from standpipe.core.errors import ContractError
from standpipe.core.outcome import Verdict, judge
from standpipe.delivery.batch import Batch, lines_of
from standpipe.delivery.breaker import BreakerState
from standpipe.delivery.engine import Abandoned, Engine
from standpipe.delivery.memory_queue import NEVER
from standpipe.delivery.worker import (
    INTERNAL_FAULT_PAUSE,
    RESET_GRACE,
    Transport,
    connecting,
    read_results,
    settle_failed,
    settle_results,
)

YIELD_EVERY = 8
"""Batches that a lane sends before the others certainly get a turn: a send that never waits must not keep the loop to itself."""


class _Lane:
    """One task that sends batches."""

    __slots__ = ("due", "idle", "overdue", "sending", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.idle: asyncio.Future[Batch | None]
        """what it waits for when it has nothing to send: a batch, or None as the sign to end"""
        self.due: float | None = None
        """when the send that is under way has to have ended, in the loop's time"""
        self.sending = False
        """the send has begun: it can be cancelled and settles its batch; before, the batch would be left behind"""
        self.overdue = False
        """the send was cancelled because its time was up"""


class AsyncWorker:
    """As `Worker`, for coroutines. Everything but `_wake` runs on the loop in the worker thread."""

    def __init__(self, engine: Engine, transport: Transport, max_in_flight: int, send_timeout: float | None) -> None:
        self.engine = engine
        self.transport = transport
        self.max_in_flight = 1 if engine.settings.ordering == "fifo" else max_in_flight
        self.send_timeout = send_timeout
        self._to_close = False  # `_connect` has been called since the last `_close`, with whatever success
        self.loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None  # none: as asyncio makes them
        self._woken: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._forget_lanes()

    def _forget_lanes(self) -> None:
        self._lanes: dict[asyncio.Task[None], _Lane] = {}
        self._idle: list[_Lane] = []
        self._faults: list[BaseException] = []
        self._reset_wanted = False
        self._ending = False

    def run(self) -> None:
        """Connect, then send until `shutdown` has been called and nothing is pending or its time is up; then close."""
        with contextlib.suppress(Abandoned):
            while not self._run_loop():
                self._begin_again()

    def _run_loop(self) -> bool:
        """True when everything is over; False when the loop has ended before its time."""
        try:
            with asyncio.Runner(loop_factory=self.loop_factory) as runner:
                runner.run(self._main())
        except Abandoned:
            raise
        except BaseException as fault:  # ours, or a SystemExit in a task of the author's, which ends the whole loop
            self.engine.journal.critical("the event loop of the worker has ended, a new one is made", error=fault)
            return False
        return True

    def _begin_again(self) -> None:
        engine = self.engine
        self._forget_lanes()
        engine.connected = False
        for batch in list(engine.under_way):
            engine.give_back(batch)
        with engine.lock:
            engine.queue.wake = engine.queue.ready.notify_all
            if not engine.closing:
                engine.clock.wait(engine.queue.ready, INTERNAL_FAULT_PAUSE)

    async def _main(self) -> None:
        self._woken = asyncio.Event()
        self._loop = loop = asyncio.get_running_loop()
        self.engine.queue.wake = lambda: self._wake(loop)
        try:
            while await self._turn():
                pass
        finally:
            await self._end_lanes(0.0)
            if self._to_close:
                await self._close()
                self.engine.journal.info("closed")

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(self._woken.set)

    async def _turn(self) -> bool:
        """Fill the window, wait for something to do. False: it is over."""
        engine = self.engine
        now = engine.clock.monotonic()
        if engine.over(now):
            return False
        engine.sweep(now)
        if engine.finished():
            return False
        if not engine.connected:
            await self.transport.safe_connect()
            return True
        self._woken.clear()
        due = None
        while self._idle or len(self._lanes) < self.max_in_flight:
            batch, due = self._choose()
            if batch is None:
                if engine.finished():
                    return False
                break
            self._hand_over(batch)
        await self._wait(due)
        return True

    def _choose(self) -> tuple[Batch | None, float | None]:
        """The next batch, else when to look again; then new messages wake the main task."""
        engine = self.engine
        with engine.lock:
            engine.queue.progress()
            batch, due = engine.choose(engine.clock.monotonic())
            if batch is None:
                engine.queue.wake_at = engine.selection.wake_level()
        return batch, due

    async def _wait(self, due: float | None) -> None:
        """Wait until a lane is idle or asks for something, `due`, a new message, an expiry, or shutdown; then do what is asked for."""
        engine = self.engine
        with engine.lock:
            times = [time for time in (due, engine.stop_at, engine.next_expiry()) if time is not None]
            if engine.queue.wake_at == NEVER:  # the window is full: nobody has looked for more
                engine.queue.wake_at = engine.expiry_wake_level()
        waits = [min(times) - engine.clock.monotonic()] if times else []
        if (late := self._next_late()) is not None:
            waits.append(late - self._loop.time())
        timer = self._loop.call_later(max(0.0, min(waits)), self._woken.set) if waits else None
        try:
            await self._woken.wait()
        finally:
            if timer is not None:
                timer.cancel()
        engine.queue.wake_at = NEVER
        self._cancel_late()
        if self._faults:
            await self._recover()
        elif self._reset_wanted:
            await self.reset()

    def _due(self) -> float | None:
        """When the time of a send that begins now is up."""
        return None if self.send_timeout is None else self._loop.time() + self.send_timeout

    def _next_late(self) -> float | None:
        """When the time of the oldest send is up."""
        return min((lane.due for lane in self._lanes.values() if lane.due is not None), default=None)

    def _cancel_late(self) -> None:
        """End the sends whose time is up; each is settled by its own lane."""
        late = self._next_late()
        if late is None or late > (now := self._loop.time()):
            return
        for lane in self._lanes.values():
            if lane.sending and lane.due is not None and lane.due <= now:
                lane.due, lane.overdue = None, True
                lane.task.cancel()

    async def _recover(self) -> None:
        """A fault of ours must neither end delivery silently nor lose messages: all sends end, their messages go back."""
        engine = self.engine
        for fault in self._faults:
            if isinstance(fault, Abandoned):
                raise fault
        engine.journal.critical("internal error, delivery goes on; please report this", error=self._faults[0])
        await self._end_lanes(RESET_GRACE)
        for batch in list(engine.under_way):
            engine.give_back(batch)
        await self.pause(INTERNAL_FAULT_PAUSE)

    # --- lanes --------------------------------------------------------------------------------------------------------

    def _hand_over(self, batch: Batch) -> None:
        """To an idle lane, or to a new one. Its time runs from here: the main task must know before it waits."""
        while self._idle:
            lane = self._idle.pop()
            if not lane.idle.done():  # else it was cancelled, as all tasks are when the loop ends
                lane.due = self._due()
                lane.idle.set_result(batch)
                return
        lane = _Lane()
        lane.due = self._due()
        lane.task = self._loop.create_task(self._send_on(lane, batch))
        self._lanes[lane.task] = lane
        lane.task.add_done_callback(self._lane_ended)

    def _lane_ended(self, task: asyncio.Task[None]) -> None:
        self._lanes.pop(task, None)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            self._faults.append(fault)
        self._woken.set()

    async def _send_on(self, lane: _Lane, first: Batch) -> None:
        """Send one batch after the other."""
        batch: Batch | None = first
        sent = 0
        while batch is not None:
            probe = self.engine.breaker.state is not BreakerState.CLOSED
            if await self._attempt(lane, batch):
                self._reset_wanted = True
            elif probe and self.engine.breaker.state is BreakerState.CLOSED:
                self._woken.set()  # everything may go at once again, and this lane alone would take it one by one
            if self._ending or lane.task.cancelling():
                return
            sent += 1
            if sent % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            batch = self._next()
            if batch is None and not self._ending:
                lane.idle = self._loop.create_future()
                self._idle.append(lane)
                self._woken.set()
                batch = await lane.idle

    def _next(self) -> Batch | None:
        """The next batch for a lane, if it may take one by itself."""
        engine = self.engine
        if self._reset_wanted or self._ending or self._faults or not engine.connected:
            return None
        now = engine.clock.monotonic()
        if engine.over(now):
            return None
        engine.sweep(now)
        return self._choose()[0]

    async def _attempt(self, lane: _Lane, batch: Batch) -> bool:
        """Send one batch; True when the connection has to be reset."""
        engine = self.engine
        verdict: Verdict | None = None
        lane.due, lane.sending = self._due(), True
        try:
            results = await self._send(batch)
        except asyncio.CancelledError as error:
            verdict = self._cancelled(lane, error)
            whole = not lane.overdue or batch.count > 1
        except Abandoned:
            raise
        except BaseException as error:
            verdict, whole = judge(error), batch.count > 1
        lane.due, lane.sending = None, False
        if lane.overdue:  # also if the send took no notice
            lane.overdue = False
            lane.task.uncancel()
        if verdict is None:
            return settle_results(engine, batch, results)
        return settle_failed(engine, batch, verdict, whole=whole)

    def _cancelled(self, lane: _Lane, error: asyncio.CancelledError) -> Verdict:
        """What a send that was cancelled says; when time is up it stays under way, and `shutdown` hands it back as possibly sent."""
        if lane.overdue:
            return judge(TimeoutError(f"no answer within send_timeout ({self.send_timeout:g} s)"))
        if self.engine.over(self.engine.clock.monotonic()):
            raise error
        return judge(error)

    async def _send(self, batch: Batch) -> Any:
        transport = self.transport
        if transport.send_batch is not None:
            return read_results(await transport.send_batch(batch), batch)  # type: ignore[misc]
        if transport.send is None or batch.count != 1:
            raise ContractError("an asynchronous producer without _send_batch was given several messages")
        part = batch.slices[0]
        await transport.send(part[0]._is_error, orjson.loads(lines_of(part)[0]))
        return [None]

    async def _end_lanes(self, grace: float) -> None:
        """Wait for the sends under way, at most `grace` seconds (less when shutdown's time is up), then cancel them."""
        self._ending = True
        for lane in self._idle:
            if not lane.idle.done():
                lane.idle.set_result(None)
        tasks = list(self._lanes)
        if tasks:
            now = self.engine.clock.monotonic()
            left = grace if self.engine.stop_at is None else max(0.0, min(grace, self.engine.stop_at - now))
            if left:
                await asyncio.wait(tasks, timeout=left)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._forget_lanes()

    # --- connection ---------------------------------------------------------------------------------------------------

    async def safe_connect(self) -> bool:
        """Connect, as `connecting` says. False when shutdown's time was up first."""
        steps = connecting(self.engine)
        try:
            step = next(steps)
            while True:
                if step is None:
                    step = steps.send(await self._try_to_connect())
                else:
                    await self.pause(step)
                    step = steps.send(None)
        except StopIteration as end:
            return bool(end.value)

    async def _try_to_connect(self) -> BaseException | None:
        self._to_close = True
        try:
            await self.transport.connect()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return error
        return None

    async def reset(self) -> None:
        """Let the sends under way end, close the connection and open it again."""
        engine = self.engine
        await self._end_lanes(RESET_GRACE)
        if not engine.over(engine.clock.monotonic()):
            for batch in list(engine.under_way):  # left by a fault of ours
                engine.give_back(batch)
        with engine.lock:
            engine.resets += 1
        engine.journal.repeated("reset", "resetting the connection")
        await self._close()
        await self.transport.safe_connect()

    async def _close(self) -> None:
        self.engine.connected = False
        self._to_close = False
        try:
            await self.transport.close()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.engine.journal.repeated("close", "closing the connection failed (%s)", self.engine.journal.line(error))

    async def pause(self, seconds: float) -> None:
        """Wait so long; shutdown ends it. Messages that expire meanwhile are put aside."""
        engine = self.engine
        until = engine.clock.monotonic() + seconds
        was_closing = engine.closing
        while True:
            now = engine.clock.monotonic()
            engine.sweep(now)
            self._woken.clear()
            with engine.lock:
                if now >= until or engine.closing is not was_closing or engine.over(now):
                    return
                times = [time for time in (until, engine.stop_at, engine.next_expiry()) if time is not None]
                engine.queue.wake_at = engine.expiry_wake_level()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), max(0.0, min(times) - now))
