"""One promise being put to the test: makes producers with faults in them, hands over messages, and finds out what became of them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from standpipe.delivery.receipt import Receipt, State
from standpipe.delivery.statistics import ProducerStatistics, ShutdownReport
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.config import DeadLettersConfig, QueueConfig, RetryConfig
from standpipe.testing.fault_proxy import FaultProxy
from standpipe.testing.faults import Faults, faulty_class
from standpipe.testing.subject import Arrival, Subject

SEND_TIMEOUT = 2.0
"""Seconds that a send, and opening a connection, may take under the kit: a service on the same machine answers in milliseconds."""
LOOK_SECONDS = 0.005
"""Seconds between two looks at something that cannot be waited for."""
READ_BACK_SECONDS = 5.0
"""How long something acknowledged may take to show up in the destination."""

FINAL = (State.DELIVERED, State.DEAD_LETTERED, State.DROPPED, State.UNDELIVERED)


class Broken(AssertionError):
    """the producer does not keep a promise"""


class NotApplicable(Exception):
    """the promise means nothing for this producer, or cannot be checked"""


@dataclass(frozen=True)
class Sent:
    """A message that was handed over."""

    message: dict[str, Any]
    is_error: bool
    key: str | None
    receipt: Receipt
    odd: bool = False
    """it may be refused"""


class Trial:
    """What a check has at hand. Everything it has made is shut down when it is over."""

    def __init__(self, subject: Subject[Any], name: str, seed: int, *, quick: bool, patience: float) -> None:
        self.subject = subject
        self.seed = seed
        self.quick = quick
        self.patience = patience
        self.chance = random.Random(f"{name}/{seed}")
        self.run = f"{name}-{seed}-{time.time_ns():x}"
        self.faults = Faults()
        self.sent: list[Sent] = []
        self.producers: list[BaseProducer] = []
        self._numbers = 0
        self._made = ExitStack()

    def close(self) -> None:
        """Shut down what was made; what hangs is released first."""
        self.faults.heal()
        self._made.close()
        for producer in self.producers:
            producer.shutdown(timeout=1.0)
            self.wait_for(lambda producer=producer: not alive(producer), 1.0)  # type: ignore[misc]

    # --- making -------------------------------------------------------------------------------------------------------

    def config(self, base: BaseProducerConfig | None = None, **changes: Any) -> BaseProducerConfig:
        """The subject's configuration with short delays, and with queue and dead letters in memory."""
        base = base if base is not None else self.subject.config
        settings: dict[str, Any] = {
            "max_retries": 3,
            "retry": RetryConfig(initial=0.01, max=0.1),
            "reconnect_wait": 0.1,
            "send_timeout": SEND_TIMEOUT,
            "connect_timeout": SEND_TIMEOUT,
            "deadline": None,
            "max_resets": None,
            "ordering": "key",
            "queue": QueueConfig(),
            "dead_letters": DeadLettersConfig(type="memory"),
            "rate_limit": None,
            "shutdown_timeout": 1.0,
        }
        settings |= changes
        return base.model_copy(update={name: value for name, value in settings.items() if name in type(base).model_fields})

    def producer(self, base: BaseProducerConfig | None = None, **changes: Any) -> BaseProducer:
        """A new producer whose methods go through `faults`."""
        made = self.subject.make(faulty_class(self.subject.kind, self.faults), self.config(base, **changes))
        self.producers.append(made)
        return made

    def proxied(self, **changes: Any) -> tuple[FaultProxy, BaseProducer]:
        """A proxy before the service and a producer that goes through it, with nothing sent yet."""
        proxy = self.proxy()
        return proxy, self.producer(self.subject.through(proxy.port), **changes)

    def proxy(self) -> FaultProxy:
        """A proxy before the service."""
        address = self.subject.address()
        if address is None:
            raise NotApplicable("the configuration has no address, so no proxy can be put before the service")
        return self._made.enter_context(FaultProxy(*address, seed=self.chance.randrange(2**32)))

    # --- sending ------------------------------------------------------------------------------------------------------

    def message(self) -> dict[str, Any]:
        """A message unlike all others."""
        self._numbers += 1
        return self.subject.message(self.run, self._numbers)

    def send(
        self,
        producer: BaseProducer,
        message: dict[str, Any] | None = None,
        *,
        is_error: bool = False,
        key: str | None = None,
        odd: bool = False,
    ) -> Receipt:
        """Hand over one message; an `odd` one may be refused."""
        message = message if message is not None else self.message()
        receipt = producer.produce(is_error, message, key=key)
        self.sent.append(Sent(message, is_error, key, receipt, odd))
        return receipt

    def send_many(self, producer: BaseProducer, count: int, *, keys: int = 0) -> list[Receipt]:
        """Hand over so many, every third an error message, with one of so many keys each (0: none)."""
        return [
            self.send(producer, is_error=number % 3 == 2, key=f"key-{self.chance.randrange(keys)}" if keys else None)
            for number in range(count)
        ]

    # --- waiting ------------------------------------------------------------------------------------------------------

    def wait_for(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait until `condition()` is true, at most so long; whether it is."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return bool(condition())
            threading.Event().wait(LOOK_SECONDS)
        return True

    def settle(self, producer: BaseProducer, what: str, receipts: Sequence[Receipt] | None = None) -> None:
        """Wait until everything handed over has an outcome. Broken if it takes too long."""
        receipts = receipts if receipts is not None else [sent.receipt for sent in self.sent]
        end = time.monotonic() + self.patience
        for receipt in receipts:
            receipt.wait(max(0.0, end - time.monotonic()))
        open_now = sum(not receipt.done() for receipt in receipts)
        if open_now:
            now = producer.statistics()
            raise Broken(f"{what}: {open_now} of {len(receipts)} messages had no outcome after {self.patience:g} s{last_error(now)}")

    def delivered(self, producer: BaseProducer, what: str) -> None:
        """Wait until everything handed over is delivered, and see that it has arrived."""
        self.settle(producer, what)
        self.none_but_delivered(what)
        self.nothing_is_missing(what)

    # --- judging ------------------------------------------------------------------------------------------------------

    def expect(self, holds: object, text: str) -> None:
        """Broken with `text` unless `holds`."""
        if not holds:
            raise Broken(text)

    def none_but_delivered(self, what: str) -> None:
        """Broken if a message handed over ended otherwise."""
        for sent in self.sent:
            if not sent.receipt.delivered:
                error = sent.receipt.error
                raise Broken(f"{what}: message {shown(sent.message)} was {sent.receipt.state.value}{f' ({error})' if error else ''}")

    def arrivals(self) -> list[Arrival] | None:
        """What of the messages of this trial the destination has; None if it cannot be read."""
        try:
            found = self.subject.read_back()
            found = None if found is None else list(found)
        except ValueError as error:  # what is there is no message of anybody's
            raise Broken(f"what arrived cannot be read: {error}") from error
        if found is None:
            return None
        ours = {canonical(sent.message) for sent in self.sent}
        return [arrival for arrival in found if canonical(arrival.message) in ours]

    def missing(self, among: Iterable[Sent] | None = None) -> list[Sent]:
        """Messages that count as delivered and that the destination does not have."""
        arrivals = self.arrivals()
        if arrivals is None:
            return []
        there = {canonical(arrival.message) for arrival in arrivals}
        among = list(self.sent if among is None else among)
        return [sent for sent in among if sent.receipt.delivered and canonical(sent.message) not in there]

    def nothing_is_missing(self, what: str, *, at_once: bool = False) -> None:
        """Broken if something that counts as delivered has not arrived, as far as the destination can be read."""
        if at_once or not self.wait_for(lambda: not self.missing(), min(READ_BACK_SECONDS, self.patience)):
            missing = self.missing()
            if missing:
                raise Broken(
                    f"{what}: {len(missing)} of {len(self.sent)} messages count as delivered and did not arrive "
                    f"as they were sent, among them {shown(missing[0].message)}"
                )

    def in_order(self, what: str) -> None:
        """Broken if messages of one key arrived for the first time in another order than they were handed over."""
        place: dict[bytes, int] = {}
        for at, arrival in enumerate(self.arrivals() or ()):
            place.setdefault(canonical(arrival.message), at)
        latest: dict[str, tuple[int, Sent]] = {}
        for sent in self.sent:
            at = place.get(canonical(sent.message), -1)
            if sent.key is None or at < 0:
                continue
            # Error and normal messages may lie in two places, whose order nobody knows.
            lane = f"{sent.key}/{sent.is_error}"
            before = latest.get(lane)
            if before is not None and before[0] > at:
                raise Broken(f"{what}: of key {sent.key!r}, {shown(sent.message)} arrived before {shown(before[1].message)}")
            latest[lane] = (at, sent)

    def conserved(self, producer: BaseProducer) -> None:
        """Broken if the counters do not add up."""
        now = producer.statistics()
        self.expect(
            now.accepted == now.delivered + now.dead_lettered + now.dropped + now.pending,
            f"the counters do not add up: accepted {now.accepted}, delivered {now.delivered}, dead-lettered {now.dead_lettered}, "
            f"dropped {now.dropped}, pending {now.pending}",
        )

    # --- ending -------------------------------------------------------------------------------------------------------

    def shut_down(self, producer: BaseProducer, timeout: float, what: str) -> ShutdownReport:
        """Shut down; Broken if it takes longer than it may, or its report does not account for every message."""
        began = time.monotonic()
        report = producer.shutdown(timeout=timeout)
        took = time.monotonic() - began
        accepted = producer.statistics().accepted
        total = report.delivered + report.dead_lettered + report.spooled + report.undelivered + report.dropped
        self.faults.note(f"shutdown({timeout:g}) took {took:.3f} s: {report!r}")
        self.expect(took <= timeout + SHUTDOWN_GRACE, f"{what}: shutdown({timeout:g}) took {took:.1f} s")
        self.expect(total == accepted, f"{what}: {accepted} messages were accepted, the report accounts for {total}: {report!r}")
        self.expect(
            len(report.messages) == report.undelivered, f"{what}: {report.undelivered} undelivered, {len(report.messages)} handed back"
        )
        self.expect(all(sent.receipt.state is not State.QUEUED for sent in self.sent), f"{what}: receipts are still open after shutdown")
        return report

    def worker_ends(self, producer: BaseProducer, what: str) -> None:
        """Broken if the worker goes on after everything is over."""
        if not self.wait_for(lambda: not alive(producer), self.patience):
            raise Broken(f"{what}: the worker thread is still there {self.patience:g} s after shutdown, in a call of the producer's")

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Messages sent within are not kept: for many of them."""
        kept = list(self.sent)
        yield
        self.sent[:] = kept


SHUTDOWN_GRACE = 3.0
"""Seconds that `shutdown` may take beyond its timeout on a machine that is busy."""


def alive(producer: BaseProducer) -> bool:
    """Whether the worker of a producer runs."""
    thread: threading.Thread | None = getattr(producer, "_BaseProducer__thread", None)
    return thread is not None and thread.is_alive()


def canonical(message: Any) -> bytes:
    """The same for equal messages, whatever the order of their fields."""
    return orjson.dumps(message, option=orjson.OPT_SORT_KEYS)


def shown(message: dict[str, Any]) -> str:
    """A message in a line."""
    text = str(message)
    return text if len(text) <= 80 else f"{text[:80]}..."


def last_error(now: ProducerStatistics) -> str:
    """What to add to a complaint."""
    return f"; the last error was {now.last_error}" if now.last_error else ""
