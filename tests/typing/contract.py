"""How people use the contract. mypy checks it, nothing runs it: what stands here must stay valid, typed code.

A change that breaks this file breaks the code of everyone who wrote a producer or calls one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

from pydantic import Field, SecretStr

from standpipe.core.errors import Disconnected, Reject, RetryAfter
from standpipe.core.outcome import Outcome
from standpipe.delivery.receipt import Receipt, State
from standpipe.delivery.statistics import ProducerStatistics, ShutdownReport
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch, Report


class MyCustomProducer(BaseProducer):
    """The three methods are all that an author must write, with or without annotations."""

    def _connect(self):  # type: ignore[no-untyped-def]  # as in the first example that people copy
        self.connection: list[dict[str, Any]] | None = []

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        if self.connection is None:
            raise Disconnected("the connection is gone", arrived=False)
        if "id" not in message:
            raise Reject("no id")
        if is_error:
            raise RetryAfter(2.5)
        self.connection.append(message)

    def _close(self) -> None:
        self.connection = None


class MyConfig(BaseProducerConfig):
    """A producer's own settings are fields of its own model."""

    url: str = Field(description="where to send")
    token: SecretStr = SecretStr("")


class Configured(MyCustomProducer):
    """A producer with settings of its own."""

    config_model = MyConfig


class Bulk(MyCustomProducer):
    """The batch style: one result per message."""

    def _send_batch(self, batch: Batch) -> Sequence[Outcome | Exception]:
        return [Outcome.DELIVERED if "id" in message else Reject("no id") for message in batch.contents()]


class Asynchronous(BaseProducer):
    """The asynchronous style: the same three methods, on a loop that the worker owns."""

    max_in_flight = 8

    async def _connect(self) -> None:
        self.connection: list[dict[str, Any]] = []

    async def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self.connection.append(message)

    async def _close(self) -> None:
        self.connection = []


class Confirmed(BaseProducer):
    """The completion style: hand over now, report later."""

    max_in_flight = 1000

    def _connect(self) -> None:
        self.reports: list[tuple[Report, int]] = []

    def _submit(self, batch: Batch, report: Report) -> None:
        self.reports += [(report, position) for position in range(len(batch))]

    def _poll(self, seconds: float) -> None:
        for report, position in self.reports:
            report.delivered(position, {"offset": position})
        self.reports.clear()

    def _close(self) -> None:
        self.reports = []


def produce_and_wait() -> None:
    """The example that stands first in every introduction."""
    producer = MyCustomProducer(BaseProducerConfig(type="custom", name="analytics-producer", max_retries=5))
    receipt = producer.produce(is_error=False, message={"data": "example"})
    assert_type(receipt, Receipt)
    assert_type(receipt.wait(timeout=5), State)
    assert_type(receipt.delivered, bool)
    receipt.add_done_callback(lambda done: print(done.state, done.error))
    report = producer.shutdown(timeout=10)
    assert_type(report, ShutdownReport)
    assert_type(report.undelivered, int)


def produce_with_everything() -> None:
    """Key, headers and id are optional and named; many messages share one receipt."""
    with Configured(MyConfig(type="custom", name="orders", url="tcp://localhost:1", token=SecretStr("hush"))) as producer:
        producer.start()
        producer.produce(True, {"data": 1}, key="customer-1", headers={"trace": "abc"}, message_id="order-1")
        assert_type(producer.produce_many(False, [{"data": 1}, {"data": 2}]), Receipt)
        assert_type(producer.flush(timeout=5), int)
        statistics = producer.statistics()
        assert_type(statistics, ProducerStatistics)
        assert_type(statistics.accepted - statistics.delivered - statistics.dead_lettered - statistics.dropped - statistics.pending, int)
        for letter in producer.dead_letters:
            print(letter.id, letter.reason.value, letter.error)


async def produce_from_a_loop() -> None:
    """asyncio callers never block their loop."""
    async with MyCustomProducer(BaseProducerConfig(type="custom", name="events")) as producer:
        receipt = await producer.aproduce(False, {"data": "example"}, key="customer-1")
        assert_type(receipt, Receipt)
        assert_type(await receipt, State)


def what_must_stay_wrong() -> None:
    """Each ignored error is one that mypy must report; an ignore that is not needed is an error itself."""
    producer = MyCustomProducer(BaseProducerConfig(type="custom", name="events"))
    producer.produce(False, "text")  # type: ignore[arg-type]
    producer.produce(False, {}, "key")  # type: ignore[call-arg]
    producer.produce(message={})  # type: ignore[call-arg]
    BaseProducer(BaseProducerConfig(type="custom", name="events"))  # type: ignore[abstract]
    BaseProducerConfig(type="custom")  # type: ignore[call-arg]
    BaseProducerConfig(type="custom", name="events", max_retires=5)  # type: ignore[call-arg]
