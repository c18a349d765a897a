"""Producers of the completion style: a client that takes messages at once and says later, in any order, or never, what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from standpipe.core.errors import NotSent, Reject
from standpipe.delivery.batch import Batch
from standpipe.delivery.completion_worker import CompletionWorker
from standpipe.delivery.engine import Engine
from standpipe.delivery.report import Report
from tests.simulation.destination import Fate, error_of
from tests.simulation.producers import Ordinary

if TYPE_CHECKING:
    from standpipe.producers.base import BaseProducerConfig
    from tests.simulation.process import Process

BREAKS = ("gone", "down", "exit")
"""Faults of the connection: a client that is polled may say so there, and not for each message."""


@dataclass(eq=False, slots=True)
class Entry:
    """A message that is with the client."""

    report: Report
    position: int
    content: dict[str, Any]
    bad: bool
    message_id: str
    fate: Fate
    arrived: bool = False

    @property
    def number(self) -> int:
        """The message's."""
        number: int = self.content["n"]
        return number


class Confirming(Ordinary):
    """A client with threads of its own, whose messages fare independently of one another."""

    broken = False
    """Whether nothing arrives any more on this connection."""

    def __init__(self, process: Process, config: BaseProducerConfig) -> None:
        super().__init__(process, config)
        self._with_client: list[Entry] = []
        self.driver: CompletionWorker = self.__dict__["_BaseProducer__driver"]
        self.engine: Engine = self.__dict__["_BaseProducer__engine"]
        self._reported: set[int] = set()
        self._settle_delivered, self._wake_worker = self.engine.delivered, self.driver._wake
        self.engine.delivered = self._delivered
        self.driver._wake = self._woken

    def _woken(self) -> None:
        """Somebody wakes the worker; one that waits in the client is woken there, or not at all."""
        self._wake_worker()
        if not self.driver._polling:
            self.process.world.clock.wake()

    def _delivered(self, batch: Batch) -> None:
        """The engine counts these as delivered: the client must have said so, and what it said must be in their receipts."""
        process = self.process
        contents, parts = batch.contents(), list(batch.slices)
        numbers: list[int] = [content["n"] for content in contents]
        for number in set(numbers) - self._reported:
            process.world.fail(f"message {number} counts as delivered, and nobody has said that it is")
        process.settles()
        process.confirmed(numbers)
        self._settle_delivered(batch)
        process.settles()
        details = [detail for receipt, start, stop in parts for detail in _details(receipt)[start:stop]]
        if details != numbers:
            process.world.fail(f"the receipts of messages {numbers} say {details}")

    # --- handing over -------------------------------------------------------------------------------------------------

    def _submit(self, batch: Batch, report: Report) -> None:
        process = self.process
        process.alive()
        process.check()
        numbers = self.begin_batch(batch)
        what = process.world.destination.whole(process.now, numbers)
        if what is None:
            return self._take(self._entries(batch, report))
        for number in numbers:
            process.world.destination.tried(number)
            process.failed(number, what if what != "reject all" or len(numbers) == 1 else "fail")
        if what == "reject all":
            raise Reject("one of them is bad")
        if what == "garbage":
            raise NotSent("the answer makes no sense, and it was not sent")
        entries = self._entries(batch, report)[: len(numbers) // 2]
        for entry in entries:
            entry.fate = Fate("lost")
        self._take(entries)
        raise OSError("the connection broke half-way")

    def _entries(self, batch: Batch, report: Report) -> list[Entry]:
        destination, now = self.process.world.destination, self.process.now
        parts = enumerate(zip(batch.contents(), batch.is_errors(), batch.ids(), strict=True))
        return [Entry(report, place, content, bad, one, destination.fate(now, content)) for place, (content, bad, one) in parts]

    def _take(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._with_client.append(entry)
            self.later(self.arrival(entry), entry, self.arrives)

    def arrival(self, entry: Entry) -> float:
        """When it gets to the destination."""
        return self.process.now + entry.fate.slow + self.process.world.destination.latency(entry.number, 4)

    def later(self, at: float, entry: Entry, action: Callable[[Entry], object]) -> None:
        """Do something with a message that is still with the client then."""
        process = self.process

        def act() -> None:
            if entry in self._with_client and not process.dead:
                action(entry)

        process.world._plan(at, act)

    # --- at the destination -------------------------------------------------------------------------------------------

    def arrives(self, entry: Entry) -> None:
        """It gets there, or does not."""
        process, destination, what = self.process, self.process.world.destination, entry.fate.what
        self.arrive(what, entry.content, entry.bad, entry.message_id)
        entry.arrived = what in ("ok", "lost")
        process.failed(entry.number, what)
        if what == "ok":
            self.later(process.now + destination.latency(entry.number, 5), entry, self.confirms)
        elif what == "lost" and self.config.send_timeout is not None:
            process.world.saw("never confirmed")
        else:
            self.say(entry, error_of(what, entry.fate.value))

    def confirms(self, entry: Entry) -> None:
        """The answer is here."""
        self.say(entry, None)

    def say(self, entry: Entry, error: BaseException | None) -> None:
        """The client tells what became of a message, from a thread of its own."""
        origin = self.engine.origin
        worker, origin.worker = origin.worker, None
        try:
            self.tell(entry, error)
        finally:
            origin.worker = worker

    def tell(self, entry: Entry, error: BaseException | None) -> None:
        """The word itself."""
        self._with_client.remove(entry)
        if error is None:
            self._reported.add(entry.number)
            entry.report.delivered(entry.position, entry.number)
        else:
            entry.report.failed(entry.position, error)

    # --- the connection -----------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """What is under way arrives or does not; of what arrived some is still confirmed, and some when nobody listens any more."""
        super()._close()
        process, destination = self.process, self.process.world.destination
        left, self._with_client = self._with_client, []
        if process.dead:
            return
        arriving = confirming = True
        for entry in left:
            luck = destination.luck(entry.number, destination.tries(entry.number), 8)
            if not entry.arrived and arriving and entry.fate.what == "ok" and luck < 0.5 and not self.broken:
                self.arrive("ok", entry.content, entry.bad, entry.message_id)
                entry.arrived = True
            # What the client says after the engine has given the message up does not count any more.
            if entry.arrived and confirming and luck < 0.3 and entry.report.result(entry.position) is None:
                process.world.saw("confirmed while closing")
                self._with_client.append(entry)
                self.tell(entry, None)
                continue
            arriving = arriving and (entry.arrived or not self.atomic_batches)
            confirming = not self.atomic_batches
            process.failed(entry.number, "cancelled")
            process.world.saw("unconfirmed at the end of the connection")
            if entry.arrived:
                process.world._plan(process.now + 1.0, lambda entry=entry: self._too_late(entry))  # type: ignore[misc]

    def _too_late(self, entry: Entry) -> None:
        """Long after the connection was closed the client says something after all."""
        if not self.process.dead:
            self.process.world.saw("confirmed too late")
            self._with_client.append(entry)
            self.say(entry, None)


def _details(receipt: Any) -> list[Any]:
    return [receipt.detail] if receipt.count == 1 else receipt.detail or [None] * receipt.count


class Pipelined(Confirming):
    """A client that keeps the order: once a message has failed, nothing behind it arrives or is confirmed until the connection is
    closed."""

    atomic_batches: ClassVar[bool] = True

    def __init__(self, process: Process, config: BaseProducerConfig) -> None:
        super().__init__(process, config)
        self._last_arrival = 0.0

    def _connect(self) -> None:
        super()._connect()
        self.broken, self._last_arrival = False, 0.0

    def arrival(self, entry: Entry) -> float:
        """Not before those that were handed over earlier."""
        self._last_arrival = max(self._last_arrival, super().arrival(entry))
        return self._last_arrival

    def arrives(self, entry: Entry) -> None:
        """Unless an earlier one has failed."""
        if self.broken and entry.fate.what != "reject":
            entry.fate = Fate("not sent")
        self.broken = self.broken or entry.fate.what not in ("ok", "reject", "reject all")
        if self.broken and entry.fate.what == "reject":
            entry.fate = Fate("not sent")
        super().arrives(entry)

    def confirms(self, entry: Entry) -> None:
        """Behind a message of which nobody will ever hear again, nobody hears of any."""
        silent = next((other for other in self._with_client if other.fate.what == "lost"), None)
        if silent is None or self._with_client.index(silent) > self._with_client.index(entry):
            super().confirms(entry)


class Polling(Confirming):
    """A client without threads: it says everything while it is polled, also that the connection is lost; and it may ask to be sent
    nothing for a while."""

    def __init__(self, process: Process, config: BaseProducerConfig) -> None:
        super().__init__(process, config)
        self._inbox: list[tuple[Entry, BaseException | None]] = []
        self._lost: BaseException | None = None
        self._woken_client = self._waits = False

    def _connect(self) -> None:
        super()._connect()
        self._lost = None

    def _close(self) -> None:
        self._inbox.clear()
        super()._close()

    def say(self, entry: Entry, error: BaseException | None) -> None:
        """It is said when the client is polled."""
        breaks = error is not None and entry.fate.what in BREAKS
        if breaks and self.process.world.destination.luck(entry.number, 9) < 0.6:
            self._lost = error
        else:
            self._inbox.append((entry, error))
        self._wake_client()

    def _wake_client(self) -> None:
        if self._waits:
            self.process.world.clock.wake()

    def _wake(self) -> None:
        self._woken_client = True
        self._wake_client()

    def _writable(self) -> bool:
        blocked = self.process.world.destination.blocked(self.process.now)
        if blocked:
            self.process.world.saw("blocked")
        return not blocked

    def _poll(self, seconds: float) -> None:
        process = self.process
        process.alive()
        if seconds > 0 and not (self._inbox or self._lost or self._woken_client):
            self._waits = True
            try:
                process.world.clock.wait(None, seconds)
            finally:
                self._waits = False
        self._woken_client = False
        process.alive()
        if self._lost is not None:
            process.world.saw("lost while polled")
            raise self._lost
        inbox, self._inbox = self._inbox, []
        for entry, error in inbox:
            if entry in self._with_client:
                self.tell(entry, error)


class PollingPipelined(Polling, Pipelined):
    """A client without threads that keeps the order."""
