"""Producers whose destination does what the test says, driven by the test's own thread under a manual clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from standpipe.core.outcome import Outcome
from standpipe.delivery.dead_letters import DeadLetters
from standpipe.delivery.statistics import ProducerStatistics, ShutdownReport
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch
from standpipe.testing import ManualClock

LONG = 1e7
"""Seconds after which `drive` shuts down: more than any test needs, and free of charge under a manual clock."""

Event = tuple[str, float]


class Scripted(BaseProducer):
    """Sends one by one. `sends` and `connects` say what the calls raise, one after the other (None: nothing); after the last, nothing.

    `on_send(message)`, if given, is asked first and may raise. `events` has every call with its time.
    """

    def __init__(
        self,
        *,
        sends: Iterable[BaseException | None] = (),
        connects: Iterable[BaseException | None] = (),
        on_send: Callable[[dict[str, Any]], object] | None = None,
        clock: ManualClock | None = None,
        dead_letters: DeadLetters | None = None,
        jitter: Callable[[], float] = lambda: 1.0,
        config: BaseProducerConfig | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock if clock is not None else ManualClock()
        self.events: list[Event] = []
        self.sent: list[dict[str, Any]] = []
        self.tried: list[dict[str, Any]] = []
        self.on_send = on_send
        self._sends = iter(sends)
        self._connects = iter(connects)
        config = config or BaseProducerConfig(type="scripted", name="test", **settings)
        super().__init__(config, clock=self.clock, jitter=jitter, dead_letters=dead_letters)

    def start(self) -> None:
        """The test runs the worker in its own thread."""

    def _connect(self) -> None:
        self._note("connect")
        _raise(next(self._connects, None))

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self._note("send")
        self.tried.append(message)
        if self.on_send is not None:
            self.on_send(message)
        _raise(next(self._sends, None))
        self.sent.append(message)

    def _close(self) -> None:
        self._note("close")

    def _safe_connect(self) -> Any:
        self._note("safe_connect")
        return super()._safe_connect()

    def _note(self, what: str) -> None:
        self.events.append((what, round(self.clock.now, 6)))

    # --- for the test -------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The calls in order."""
        return [name for name, _ in self.events]

    def times(self, name: str) -> list[float]:
        """When `name` was called."""
        return [when for called, when in self.events if called == name]

    def gaps(self, name: str) -> list[float]:
        """The times between the calls of `name`."""
        times = self.times(name)
        return [round(after - before, 6) for before, after in itertools.pairwise(times)]


class ScriptedBatch(Scripted):
    """Sends batches: each step of `sends` is an exception for the whole batch, a list of results, or None (all delivered).

    `on_message(message)` says what becomes of each message: None (delivered), or its result.
    """

    def __init__(
        self, *, results: Iterable[Any] = (), on_message: Callable[[dict[str, Any]], object] | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.batches: list[list[dict[str, Any]]] = []
        self.on_message = on_message
        self._results = iter(results)

    def _send_batch(self, batch: Batch) -> Any:
        contents = batch.contents()
        self._note("send_batch")
        self.batches.append(contents)
        self.tried += contents
        if self.on_send is not None:
            for message in contents:
                self.on_send(message)
        step = next(self._results, None)
        _raise(step)
        if step is None:
            step = batch.delivered() if self.on_message is None else [self.on_message(message) or Outcome.DELIVERED for message in contents]
        if isinstance(step, Sequence) and len(step) == len(contents):
            self.sent += [message for message, result in zip(contents, step, strict=True) if result is Outcome.DELIVERED]
        return step


class AtomicBatch(ScriptedBatch):
    """As `ScriptedBatch`; what it is told to fail stops the batch there."""

    atomic_batches: ClassVar[bool] = True


def _raise(error: object) -> None:
    if isinstance(error, BaseException):
        raise error


def drive(producer: Scripted, seconds: float = LONG, timeout: float = 10.0) -> ShutdownReport:
    """Run the worker until everything is settled, or until `seconds` have passed, then shut down."""
    producer.clock.at(producer.clock.now + seconds, lambda: producer.shutdown(timeout=timeout))
    producer._worker()
    check(producer.statistics())
    return producer.shutdown(timeout=timeout)


def check(now: ProducerStatistics) -> ProducerStatistics:
    """Every message is somewhere, and what the queue counts is what is pending."""
    assert now.accepted == now.delivered + now.dead_lettered + now.dropped + now.pending
    assert now.queue_messages == now.pending
    assert min(now.attempts, now.retries, now.queue_bytes, now.pending, now.possible_duplicates) >= 0
    assert now.pending or now.queue_bytes == 0
    return now
