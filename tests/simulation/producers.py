"""Producers of each style, which send what they get to the simulated destination."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from standpipe.core.errors import NotSent, Reject
from standpipe.core.outcome import Outcome
from standpipe.delivery.receipt import Receipt
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch
from standpipe.spool.errors import SpoolError
from standpipe.spool.files import FileSystem
from tests.simulation.destination import error_of

if TYPE_CHECKING:
    from tests.simulation.process import Process

Results = list[BaseException | Outcome]


class Simulated(BaseProducer):
    """What they have in common. The simulation runs the worker, in the test's own thread."""

    def __init__(self, process: Process, config: BaseProducerConfig) -> None:
        self.process = process
        world = process.world
        self.max_in_flight = world.plan.setup.in_flight
        super().__init__(config, clock=world.clock, dead_letters=world.letters.of(process), jitter=world.jitter)

    def start(self) -> None:
        """The simulation runs the worker."""

    def produce_encoded(self, is_error: bool, payload: bytes, count: int, **details: Any) -> Receipt:
        """As every producer, and the oracle is told."""
        before = self.process.queue.accepted
        try:
            receipt = super().produce_encoded(is_error, payload, count, **details)
        except SpoolError as error:
            if (error.receipt is not None) is not (self.process.queue.accepted > before):
                self.process.world.fail(f"{error} says {error.receipt!r}, and {before} messages had been accepted before")
            self.process.fed_in_vain(error.receipt, payload)
            raise
        self.process.fed(receipt, payload)
        return receipt

    def _spool_files(self, folder: Path) -> FileSystem:
        return self.process.disk.folder(folder.name)

    def begin_batch(self, batch: Batch) -> list[int]:
        """The numbers of its messages, which must be as they were produced."""
        for message in batch:
            told = self.process.world.oracle.messages.get(message.content()["n"])
            if told is not None and (message.key, message.headers) != (told.key, told.headers):
                self.process.world.fail(f"message {told.number} has key {message.key!r} and headers {message.headers!r}")
        return [content["n"] for content in batch.contents()]

    def meet_whole(self, batch: Batch, numbers: list[int]) -> None:
        """A batch that fails as a whole."""
        process = self.process
        what = process.world.destination.whole(process.now, numbers)
        if what is None:
            return
        for number in numbers:
            process.world.destination.tried(number)
            process.failed(number, what)
        if what == "reject all":
            raise Reject("one of them is bad")
        if what == "garbage":
            raise NotSent("the answer makes no sense, and it was not sent")
        parts = list(zip(batch.contents(), batch.is_errors(), batch.ids(), strict=True))
        for content, flag, message_id in parts[: len(numbers) // 2]:
            process.arrived(content, flag, message_id)
        raise OSError("the connection broke half-way")

    def arrive(self, what: str, content: dict[str, Any], bad: bool, message_id: str | None) -> None:
        """A message gets there, or does not; the process may die before or after."""
        process, destination, number = self.process, self.process.world.destination, content["n"]
        strikes = destination.strikes()
        if strikes and destination.luck(number, 1) < 0.5:
            process.killed("while it sends, before it arrived")
        if what in ("ok", "lost") or (what == "gone" and destination.luck(number, 2) < 0.5):
            process.arrived(content, bad, message_id)
        if strikes and not process.dead:
            process.killed("while it sends, after it arrived")


class Ordinary(Simulated):
    """Ordinary functions: while the destination takes its time, nothing else happens in the worker."""

    def _connect(self) -> None:
        process = self.process
        process.alive()
        with process.sending():
            fate = process.world.destination.connect(process.now)
            process.spend(fate.slow)
            if fate.what != "ok":
                process.tell("cannot connect")
                raise ConnectionRefusedError("down")
            process.tell("connected")

    def _close(self) -> None:
        self.process.tell("closed")

    def meet(self, content: dict[str, Any], bad: bool, message_id: str | None) -> BaseException | None:
        """One message at the destination: None, or what is the matter."""
        process = self.process
        fate = process.world.destination.fate(process.now, content)
        process.spend(fate.slow)
        self.arrive(fate.what, content, bad, message_id)
        process.failed(content["n"], fate.what)
        return None if fate.what == "ok" else error_of(fate.what, fate.value)


class Single(Ordinary):
    """One message at a time."""

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        process = self.process
        process.alive()
        with process.sending():
            error = self.meet(message, is_error, None)
            process.alive()
            if error is not None:
                raise error
            process.confirmed([message["n"]])


class Several(Ordinary):
    """Batches, in which each message has a fate of its own; some fail as a whole."""

    def _send_batch(self, batch: Batch) -> Any:
        process = self.process
        process.alive()
        process.next_batch()
        with process.sending():
            numbers = self.begin_batch(batch)
            self.meet_whole(batch, numbers)
            results = self._results(batch)
            process.alive()
            process.confirmed([number for number, result in zip(numbers, results, strict=True) if result is Outcome.DELIVERED])
            return results

    def _results(self, batch: Batch) -> Results:
        parts = zip(batch.contents(), batch.is_errors(), batch.ids(), strict=True)
        return [self.meet(content, flag, message_id) or Outcome.DELIVERED for content, flag, message_id in parts]


class Atomic(Several):
    """Batches of a transport that keeps its promise: behind a message that failed nothing of the same line arrives."""

    atomic_batches: ClassVar[bool] = True

    def _results(self, batch: Batch) -> Results:
        results: Results = []
        broken: set[str] = set()
        parts = zip(batch.contents(), batch.ids(), batch.is_errors(), batch.keys(), strict=True)
        for content, message_id, flag, key in parts:
            line = "everything" if self.config.ordering == "fifo" else key
            if line is not None and line in broken:
                results.append(Outcome.FAILED)
                continue
            result = self.meet(content, flag, message_id) or Outcome.DELIVERED
            if line is not None and result is not Outcome.DELIVERED and not isinstance(result, Reject):
                broken.add(line)
            results.append(result)
        return results


class Coroutines(Simulated):
    """Coroutines on a loop in virtual time: many sends are under way at once, and any of them may be cancelled at any wait."""

    async def _connect(self) -> None:
        process = self.process
        process.alive()
        process.check()
        fate = process.world.destination.connect(process.now)
        await self.travel(fate.slow)
        if fate.what != "ok":
            process.tell("cannot connect")
            raise ConnectionRefusedError("down")
        process.tell("connected")

    async def _close(self) -> None:
        self.process.tell("closed")

    async def travel(self, seconds: float) -> None:
        """Something is on its way."""
        if seconds:
            await asyncio.sleep(seconds)
        self.process.alive()

    async def exit(self, number: int) -> None:
        """A `SystemExit`, sometimes in a task of the producer's own: then the whole loop ends."""
        if self.process.world.destination.luck(number, 3) < 0.8:
            self.process.loop_ends = True
            self.process.world.saw("loop ended")
            exits = asyncio.get_running_loop().create_task(_exits())
            await asyncio.wait({exits})


async def _exits() -> None:
    raise SystemExit(1)


class Concurrent(Coroutines):
    """One message in each send."""

    async def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        process, number = self.process, message["n"]
        process.alive()
        process.check()
        destination = process.world.destination
        fate = destination.fate(process.now, message)
        try:
            await self.travel(fate.slow + destination.latency(number, 4))
            self.arrive(fate.what, message, is_error, None)
            await self.travel(destination.latency(number, 5))
            if fate.what == "exit":
                await self.exit(number)
        except asyncio.CancelledError:
            process.failed(number, "cancelled")
            raise
        process.failed(number, fate.what)
        if fate.what != "ok":
            raise error_of(fate.what, fate.value)
        process.confirmed([number])


class ConcurrentBatches(Coroutines):
    """Batches, several of which are under way at once."""

    async def _send_batch(self, batch: Batch) -> Results:
        process = self.process
        process.alive()
        process.check()
        numbers = self.begin_batch(batch)
        destination = process.world.destination
        fates = [destination.fate(process.now, content) for content in batch.contents()]
        try:
            await self.travel(max(fate.slow for fate in fates) + destination.latency(numbers[0], 4))
            self.meet_whole(batch, numbers)
            for fate, content, flag, message_id in zip(fates, batch.contents(), batch.is_errors(), batch.ids(), strict=True):
                self.arrive(fate.what, content, flag, message_id)
            await self.travel(destination.latency(numbers[0], 5))
            if fates[0].what == "exit":
                await self.exit(numbers[0])
        except asyncio.CancelledError:
            for number in numbers:
                process.failed(number, "cancelled")
            raise
        for number, fate in zip(numbers, fates, strict=True):
            process.failed(number, fate.what)
        process.confirmed([number for number, fate in zip(numbers, fates, strict=True) if fate.what == "ok"])
        return [Outcome.DELIVERED if fate.what == "ok" else error_of(fate.what, fate.value) for fate in fates]
