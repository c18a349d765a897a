"""A destination that fails in every way, and producers of each style for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from standpipe.core.errors import Disconnected, NotSent, Reject, RetryAfter
from standpipe.core.outcome import Outcome
from standpipe.delivery.receipt import Receipt
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch
from standpipe.spool.files import FileSystem
from standpipe.testing.crashing_files import Stopped
from tests.simulation.plan import draw

if TYPE_CHECKING:
    from tests.simulation.process import Process

UNCERTAIN = ("fail", "lost", "gone", "exit", "down", "half")
"""After these a message may have arrived, as far as the engine can know."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`share` of the attempts fare so until the moment `until`."""

    what: str
    until: float
    share: float
    value: float
    index: int


class Destination:
    """What the messages meet. It outlives the processes; what becomes of an attempt depends on the seed and the message alone."""

    def __init__(self, seed: int) -> None:
        self.faults: list[Fault] = []
        self.healed = False
        self.dies_at: int | None = None  # the process dies at the so many-th message from now
        self._seed = seed
        self._tries: dict[int, int] = {}
        self._connects = 0

    def heal(self) -> None:
        """From now on everything works."""
        self.faults.clear()
        self.healed = True
        self.dies_at = None

    def connect(self, process: Process) -> None:
        """A connection, if it can be had."""
        self._connects += 1
        for fault in self._active(process.now, 0, self._connects):
            if fault.what == "slow":
                process.spend(fault.value)
            elif fault.what == "down":
                process.tell("cannot connect")
                raise ConnectionRefusedError("down")
        process.tell("connected")

    def whole(self, process: Process, numbers: list[int]) -> str | None:
        """What becomes of a batch as a whole, if anything."""
        for fault in self._active(process.now, numbers[0], self._tries.get(numbers[0], 0) + 1):
            if fault.what in ("half", "garbage") or (fault.what == "reject all" and fault.share == 1.0):
                return fault.what
        return None

    def tried(self, number: int) -> None:
        """An attempt that is not asked about."""
        self._tries[number] = self._tries.get(number, 0) + 1

    def fate(self, process: Process, content: dict[str, Any]) -> tuple[str, float]:
        """What becomes of an attempt to send one message."""
        number = content["n"]
        self.tried(number)
        for fault in self._active(process.now, number, self._tries[number]):
            if fault.what == "slow":
                process.spend(fault.value)
            elif fault.what not in ("half", "garbage"):
                return fault.what, fault.value
        poison = content.get("poison")
        if poison == "reject":
            return "reject", 0.0
        if poison == "raise" and not self.healed:
            return "fail", 0.0
        return "ok", 0.0

    def strikes(self) -> bool:
        """Whether the process dies at this message."""
        if self.dies_at is None:
            return False
        self.dies_at -= 1
        if self.dies_at > 0:
            return False
        self.dies_at = None
        return True

    def luck(self, *parts: int) -> float:
        """A number in 0 ... 1 for these parts."""
        return draw(self._seed, *parts)

    def _active(self, now: float, number: int, attempt: int) -> list[Fault]:
        self.faults = [fault for fault in self.faults if fault.until > now]
        return [fault for fault in self.faults if draw(self._seed, fault.index, number, attempt) < fault.share]


def error_of(what: str, value: float) -> BaseException:
    """What the producer raises."""
    errors: dict[str, BaseException] = {
        "fail": OSError("failed before it arrived"),
        "lost": TimeoutError("no answer, but it arrived"),
        "busy": RetryAfter(value),
        "gone": Disconnected("gone"),
        "gone clean": Disconnected("gone, and nothing arrived", arrived=False),
        "not sent": NotSent("the buffer is full"),
        "exit": SystemExit(1),
        "down": ConnectionResetError("the destination went away"),
        "reject": Reject("never"),
        "reject all": Reject("never"),
    }
    return errors[what]


class Single(BaseProducer):
    """One message at a time, in the test's own thread."""

    def __init__(self, process: Process, config: BaseProducerConfig) -> None:
        self.process = process
        world = process.world
        super().__init__(config, clock=world.clock, dead_letters=world.letters, jitter=world.jitter)

    def start(self) -> None:
        """The simulation runs the worker."""

    def produce_encoded(self, is_error: bool, payload: bytes, count: int, **details: Any) -> Receipt:
        """As every producer, and the oracle is told."""
        receipt = super().produce_encoded(is_error, payload, count, **details)
        self.process.fed(receipt, payload)
        return receipt

    def _spool_files(self, folder: Path) -> FileSystem:
        return self.process.disk

    def _connect(self) -> None:
        self.process.alive()
        with self.process.sending():
            self.process.world.destination.connect(self.process)

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        process = self.process
        process.alive()
        with process.sending():
            error = self.meet(message, is_error, None)
            process.alive()
            if error is not None:
                raise error
            process.confirmed([message["n"]])

    def _close(self) -> None:
        self.process.tell("closed")

    def meet(self, content: dict[str, Any], bad: bool, message_id: str | None) -> BaseException | None:
        """One message at the destination: None, or what is the matter."""
        process, destination, number = self.process, self.process.world.destination, content["n"]
        what, value = destination.fate(process, content)
        process.alive()
        strikes = destination.strikes()
        if strikes and destination.luck(number, 1) < 0.5:
            process.killed("while it sends, before it arrived")
        if what in ("ok", "lost") or (what == "gone" and destination.luck(number, 2) < 0.5):
            process.arrived(content, bad, message_id)
        if strikes and not process.dead:
            process.killed("while it sends, after it arrived")
        process.failed(number, what)
        return None if what == "ok" else error_of(what, value)


class Several(Single):
    """Batches, in which each message has a fate of its own; some fail as a whole."""

    def _send_batch(self, batch: Batch) -> Any:
        process = self.process
        process.alive()
        process.next_batch()
        with process.sending():
            self._as_produced(batch)
            contents, ids, flags = batch.contents(), batch.ids(), batch.is_errors()
            self._whole(contents, ids, flags)
            results = self._results(contents, ids, flags, batch.keys())
            process.alive()
            process.confirmed([content["n"] for content, result in zip(contents, results, strict=True) if result is Outcome.DELIVERED])
            return results

    def _as_produced(self, batch: Batch) -> None:
        for message in batch:
            told = self.process.world.oracle.messages.get(message.content()["n"])
            if told is not None and (message.key, message.headers) != (told.key, told.headers):
                self.process.world.fail(f"message {told.number} has key {message.key!r} and headers {message.headers!r}")

    def _whole(self, contents: list[dict[str, Any]], ids: list[str], flags: list[bool]) -> None:
        process = self.process
        numbers = [content["n"] for content in contents]
        what = process.world.destination.whole(process, numbers)
        if what is None:
            return
        for number in numbers:
            process.world.destination.tried(number)
            process.failed(number, what)
        if what == "reject all":
            raise Reject("one of them is bad")
        if what == "garbage":
            raise NotSent("the answer makes no sense, and it was not sent")
        for content, message_id, flag in list(zip(contents, ids, flags, strict=True))[: len(contents) // 2]:
            process.arrived(content, flag, message_id)
        raise OSError("the connection broke half-way")

    def _results(
        self, contents: list[dict[str, Any]], ids: list[str], flags: list[bool], keys: list[str | None]
    ) -> list[BaseException | Outcome]:
        del keys
        return [self.meet(content, flag, i) or Outcome.DELIVERED for content, i, flag in zip(contents, ids, flags, strict=True)]


class Atomic(Several):
    """Batches of a transport that keeps its promise: behind a message that failed nothing of the same line arrives."""

    atomic_batches: ClassVar[bool] = True

    def _results(
        self, contents: list[dict[str, Any]], ids: list[str], flags: list[bool], keys: list[str | None]
    ) -> list[BaseException | Outcome]:
        results: list[BaseException | Outcome] = []
        broken: set[str] = set()
        for content, message_id, flag, key in zip(contents, ids, flags, keys, strict=True):
            line = "everything" if self.config.ordering == "fifo" else key
            if line is not None and line in broken:
                results.append(Outcome.FAILED)
                continue
            result = self.meet(content, flag, message_id) or Outcome.DELIVERED
            if line is not None and result is not Outcome.DELIVERED and not isinstance(result, Reject):
                broken.add(line)
            results.append(result)
        return results


STYLES: dict[str, type[Single]] = {"single": Single, "several": Several, "atomic": Atomic}

__all__ = ["STYLES", "UNCERTAIN", "Destination", "Fault", "Single", "Stopped"]
