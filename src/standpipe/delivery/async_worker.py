"""The worker for asynchronous producers: an event loop of its own, and a window of sends under way at once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson

from standpipe.core.errors import ContractError
from standpipe.core.outcome import judge
from standpipe.delivery.batch import Batch, lines_of
from standpipe.delivery.engine import Abandoned, Engine
from standpipe.delivery.memory_queue import NEVER
from standpipe.delivery.worker import INTERNAL_FAULT_PAUSE, Transport, connecting, read_results, settle_failed, settle_results

RESET_GRACE = 5.0
"""Seconds that sends under way get to end by themselves before the connection is reset; then they are cancelled."""


class AsyncWorker:
    """As `Worker`, for coroutines. Everything but `_wake` runs on the loop in the worker thread."""

    def __init__(self, engine: Engine, transport: Transport, max_in_flight: int, send_timeout: float | None) -> None:
        self.engine = engine
        self.transport = transport
        self.max_in_flight = 1 if engine.settings.ordering == "fifo" else max_in_flight
        self.send_timeout = send_timeout
        self._tasks: set[asyncio.Task[bool]] = set()
        self._to_close = False  # `_connect` has been called since the last `_close`, with whatever success
        self._woken: asyncio.Event

    def run(self) -> None:
        """Connect, then send until `shutdown` has been called and nothing is pending or its time is up; then close."""
        with contextlib.suppress(Abandoned):
            while not self._run_loop():
                self._begin_again()

    def _run_loop(self) -> bool:
        """True when everything is over; False when the loop has ended before its time."""
        try:
            with asyncio.Runner() as runner:
                runner.run(self._main())
        except Abandoned:
            raise
        except BaseException as fault:  # ours, or a SystemExit in a task of the author's, which ends the whole loop
            self.engine.journal.critical("the event loop of the worker has ended, a new one is made", error=fault)
            return False
        return True

    def _begin_again(self) -> None:
        engine = self.engine
        self._tasks.clear()
        engine.connected = False
        for batch in list(engine.under_way):
            engine.give_back(batch)
        with engine.lock:
            engine.queue.wake = engine.queue.ready.notify_all
            if not engine.closing:
                engine.clock.wait(engine.queue.ready, INTERNAL_FAULT_PAUSE)

    async def _main(self) -> None:
        self._woken = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.engine.queue.wake = lambda: self._wake(loop)
        try:
            while await self._turn():
                pass
        finally:
            await self._end_tasks(0.0)
            if self._to_close:
                await self._close()
                self.engine.journal.info("closed")

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(self._woken.set)

    async def _turn(self) -> bool:
        """Fill the window, wait for something to happen, settle what has ended. False: it is over."""
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
        due = None
        self._woken.clear()
        while len(self._tasks) < self.max_in_flight:
            with engine.lock:
                engine.queue.progress()
                batch, due = engine.choose(engine.clock.monotonic())
                if batch is None:
                    if engine.finished():
                        return False
                    engine.queue.wake_at = engine.selection.wake_level()
                    break
            self._tasks.add(asyncio.create_task(self._attempt(batch)))
        if await self._wait(due):
            await self.reset()
        return True

    async def _wait(self, due: float | None) -> bool:
        """Wait until a send ends, `due`, a new message, an expiry, or shutdown; True when the connection has to be reset."""
        engine = self.engine
        with engine.lock:
            times = [time for time in (due, engine.stop_at, engine.next_expiry()) if time is not None]
        timeout = max(0.0, min(times) - engine.clock.monotonic()) if times else None
        waker = asyncio.create_task(self._woken.wait())
        done, _ = await asyncio.wait({waker, *self._tasks}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        waker.cancel()
        engine.queue.wake_at = NEVER
        done.discard(waker)
        return await self._collect(done)

    async def _collect(self, done: set[asyncio.Task[bool]]) -> bool:
        reset = False
        for task in done:
            self._tasks.discard(task)
            if task.cancelled():
                continue
            fault = task.exception()
            if isinstance(fault, Abandoned):
                raise fault
            if fault is not None:
                await self._recover(fault)
            else:
                reset = task.result() or reset
        return reset

    async def _recover(self, fault: BaseException) -> None:
        """A fault of ours must neither end delivery silently nor lose messages: all sends end, their messages go back."""
        engine = self.engine
        engine.journal.critical("internal error, delivery goes on; please report this", error=fault)
        await self._end_tasks(RESET_GRACE)
        for batch in list(engine.under_way):
            engine.give_back(batch)
        await self.pause(INTERNAL_FAULT_PAUSE)

    # --- attempts -----------------------------------------------------------------------------------------------------

    async def _attempt(self, batch: Batch) -> bool:
        """Send one batch; True when the connection has to be reset."""
        engine = self.engine
        try:
            async with asyncio.timeout(self.send_timeout):
                results = await self._send(batch)
        except asyncio.CancelledError as error:
            if engine.over(engine.clock.monotonic()):
                raise  # stays under way: `shutdown` hands it back as possibly sent
            return settle_failed(engine, batch, judge(error), whole=True)
        except Abandoned:
            raise
        except BaseException as error:
            return settle_failed(engine, batch, judge(error), whole=batch.count > 1)
        return settle_results(engine, batch, results)

    async def _send(self, batch: Batch) -> Any:
        transport = self.transport
        if transport.send_batch is not None:
            return read_results(await transport.send_batch(batch), batch)  # type: ignore[misc]
        if transport.send is None or batch.count != 1:
            raise ContractError("an asynchronous producer without _send_batch was given several messages")
        part = batch.slices[0]
        await transport.send(part[0]._is_error, orjson.loads(lines_of(part)[0]))
        return [None]

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
        await self._end_tasks(RESET_GRACE)
        if not engine.over(engine.clock.monotonic()):
            for batch in list(engine.under_way):  # left by a fault of ours
                engine.give_back(batch)
        with engine.lock:
            engine.resets += 1
        engine.journal.repeated("reset", "resetting the connection")
        await self._close()
        await self.transport.safe_connect()

    async def _end_tasks(self, grace: float) -> None:
        """Wait for the sends under way, at most `grace` seconds (less when shutdown's time is up), then cancel them."""
        if not self._tasks:
            return
        now = self.engine.clock.monotonic()
        left = grace if self.engine.stop_at is None else max(0.0, min(grace, self.engine.stop_at - now))
        if left:
            await asyncio.wait(self._tasks, timeout=left)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

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
