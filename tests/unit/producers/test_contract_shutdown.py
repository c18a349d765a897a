"""The contract: shutdown, from wherever it is called, and what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from standpipe.core.errors import ProducerClosed
from standpipe.delivery.engine import Abandoned
from standpipe.delivery.receipt import Receipt, State
from standpipe.delivery.statistics import ShutdownReport
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch
from tests.unit.delivery.scripted import Scripted, drive
from tests.unit.producers.spooled import WorkedByHand

CONFIG = BaseProducerConfig(type="real", name="real")


class Real(BaseProducer):
    """With its own worker thread; `hold` makes every send wait until it is set."""

    def __init__(self, config: BaseProducerConfig = CONFIG, *, held: bool = False) -> None:
        self.sent: list[int] = []
        self.threads: set[int] = set()
        self.calls: list[str] = []
        self.sending = threading.Event()
        self.hold = threading.Event()
        if not held:
            self.hold.set()
        super().__init__(config)

    def _connect(self) -> None:
        self._called("connect")

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self._called("send")
        self.sending.set()
        self.hold.wait()
        self.sent.append(message["n"])

    def _close(self) -> None:
        self._called("close")

    def _called(self, name: str) -> None:
        self.threads.add(threading.get_ident())
        self.calls.append(name)


def test_all_calls_come_from_the_one_worker_thread() -> None:
    producer = Real()
    threads = [threading.Thread(target=lambda: [producer.produce(False, {"n": n}) for n in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = producer.shutdown(timeout=10.0)
    assert report.delivered == 800
    assert len(producer.threads) == 1
    assert threading.get_ident() not in producer.threads


def test_start_connects_without_a_message() -> None:
    producer = Real()
    producer.start()
    producer.start()
    assert producer.shutdown(timeout=5.0) == ShutdownReport()
    assert producer.calls in (["connect", "close"], [])  # shutdown may have been quicker than the first connect


def test_shutdown_delivers_what_is_pending_and_says_so() -> None:
    producer = Scripted()
    receipts = [producer.produce(n % 2 == 0, {"n": n}) for n in range(100)]
    report = drive(producer, seconds=0.0)
    assert report == ShutdownReport(delivered=100)
    assert report.complete
    assert {receipt.state for receipt in receipts} == {State.DELIVERED}


def test_shutdown_is_idempotent_and_returns_the_same_report() -> None:
    producer = Real()
    producer.produce(False, {"n": 1})
    first = producer.shutdown(timeout=5.0)
    assert producer.shutdown(timeout=0.0) is first
    assert producer.shutdown() is first
    assert producer.calls.count("close") == 1


def test_shutdown_from_several_threads_gives_all_the_same_report() -> None:
    producer = Real(held=True)
    for n in range(10):
        producer.produce(False, {"n": n})
    reports: list[ShutdownReport] = []
    threads = [threading.Thread(target=lambda: reports.append(producer.shutdown(timeout=10.0))) for _ in range(5)]
    for thread in threads:
        thread.start()
    producer.hold.set()
    for thread in threads:
        thread.join()
    assert [report.delivered for report in reports] == [10] * 5
    assert all(report is reports[0] for report in reports)


def test_produce_after_shutdown_raises_and_changes_no_counter() -> None:
    producer = Scripted()
    producer.shutdown(timeout=0.0)
    calls: list[Callable[[], object]] = [
        lambda: producer.produce(False, {"n": 1}),
        lambda: producer.produce_many(False, [{"n": 1}]),
        lambda: producer.produce_encoded(False, b'{"n":1}', 1),
        lambda: asyncio.run(producer.aproduce(False, {"n": 1})),
    ]
    for call in calls:
        with pytest.raises(ProducerClosed, match="test: the producer has been shut down; the message was not accepted"):
            call()
    assert producer.statistics().accepted == 0


def test_a_stuck_send_does_not_hold_up_shutdown_and_everything_is_handed_back() -> None:
    producer = Real(held=True)
    receipts = [producer.produce(False, {"n": n}) for n in range(5)]
    assert producer.sending.wait(5.0)
    report = producer.shutdown(timeout=0.2)
    assert (report.delivered, report.undelivered) == (0, 5)
    assert [message.content()["n"] for message in report.messages] == [0, 1, 2, 3, 4]
    assert {receipt.state for receipt in receipts} == {State.UNDELIVERED}
    producer.hold.set()
    wait_until(lambda: "close" in producer.calls)
    assert producer.calls == ["connect", "send", "close"]  # the stuck one came back; nothing was sent after it
    assert producer.statistics().delivered == 0
    assert {receipt.state for receipt in receipts} == {State.UNDELIVERED}


def test_a_send_that_outlives_shutdown_finds_in_its_batch_what_it_was_given() -> None:
    class Late(BaseProducer):
        def __init__(self) -> None:
            self.sending, self.hold, self.found = threading.Event(), threading.Event(), list[bytes]()
            super().__init__(CONFIG)

        def _connect(self) -> None:
            pass

        def _send_batch(self, batch: Batch) -> Any:
            self.sending.set()
            self.hold.wait(10.0)
            self.found = batch.payloads()
            return batch.delivered()

        def _close(self) -> None:
            pass

    producer = Late()
    producer.produce(False, {"n": 1})
    assert producer.sending.wait(5.0)
    assert producer.shutdown(timeout=0.1).undelivered == 1
    producer.hold.set()
    wait_until(lambda: producer.found)
    assert producer.found == [b'{"n":1}']


def test_what_was_handed_back_is_not_sent_by_a_worker_that_was_just_about_to_choose() -> None:
    producer = WorkedByHand()
    for number in range(2):
        producer.produce(False, {"n": number}, key="k")  # the second waits for the first, and is not in the queue any more
    producer.work(steps=1)
    report = producer.shutdown(timeout=0.0)
    assert (report.delivered, report.undelivered, report.possible_duplicates) == (1, 1, 0)
    with pytest.raises(Abandoned):
        producer.work(steps=1)
    assert producer.sent == [{"n": 0}]


def test_what_was_delivered_before_the_time_was_up_is_not_handed_back() -> None:
    def slow(message: dict[str, Any]) -> None:
        producer.clock.advance(1.0)

    producer = Scripted(on_send=slow)
    receipts = [producer.produce(False, {"n": n}) for n in range(100)]
    report = drive(producer, seconds=9.5, timeout=5.0)
    delivered = len(producer.sent)
    assert (report.delivered, report.undelivered) == (delivered, 100 - delivered)
    assert [message.content()["n"] for message in report.messages] == list(range(delivered, 100))
    assert [receipt.state for receipt in receipts] == [State.DELIVERED] * delivered + [State.UNDELIVERED] * (100 - delivered)
    assert 0 < delivered < 20


def test_messages_handed_back_keep_everything_they_were_given() -> None:
    producer = Scripted(connects=[OSError()] * 1000)
    producer.produce(True, {"n": 1}, key="k", headers={"a": "b"}, message_id="mine")
    producer.produce_many(False, [{"n": 2}, {"n": 3}], keys=["x", None], message_ids=["two", "three"])
    messages = drive(producer, seconds=5.0, timeout=0.0).messages
    assert [(m.id, m.is_error, m.key, m.headers, m.content()) for m in messages] == [
        ("mine", True, "k", {"a": "b"}, {"n": 1}),
        ("two", False, "x", None, {"n": 2}),
        ("three", False, None, None, {"n": 3}),
    ]
    assert all(message.time == 1_800_000_000.0 for message in messages)


def test_shutdown_from_a_callback_begins_it_and_the_worker_ends_it() -> None:
    producer = Real()
    partial: list[ShutdownReport] = []
    producer.hold.clear()
    first = producer.produce(False, {"n": 0})
    first.add_done_callback(lambda _: partial.append(producer.shutdown(timeout=30.0)))
    rest = [producer.produce(False, {"n": n}) for n in range(1, 5)]
    producer.hold.set()
    wait_until(lambda: producer.closed)
    assert [receipt.wait(5.0) for receipt in rest] == [State.DELIVERED] * 4
    assert producer.shutdown(timeout=5.0).delivered == 5
    assert partial[0].delivered >= 1


def test_what_shutdown_from_a_callback_cannot_deliver_is_settled_without_a_second_call() -> None:
    producer = Real()
    producer.hold.clear()
    first = producer.produce(False, {"n": 0})
    first.add_done_callback(lambda _: producer.shutdown(timeout=0.0))
    last = producer.produce(False, {"n": 1})
    producer.hold.set()
    assert last.wait(5.0) is State.UNDELIVERED
    assert producer.shutdown().undelivered == 1


def test_shutdown_frees_a_caller_that_is_blocked_in_a_full_queue() -> None:
    config = BaseProducerConfig(type="real", name="real", queue={"max_messages": 1})
    producer = Real(config, held=True)
    producer.produce(False, {"n": 0})
    raised: list[BaseException] = []

    def blocked() -> None:
        try:
            producer.produce(False, {"n": 1})
        except ProducerClosed as error:
            raised.append(error)

    thread = threading.Thread(target=blocked)
    thread.start()
    wait_until(lambda: producer._BaseProducer__queue.waiting == 1)  # type: ignore[attr-defined]
    report = producer.shutdown(timeout=0.1)
    thread.join(5.0)
    producer.hold.set()
    assert "real: the producer was shut down while waiting for room" in str(raised[0])
    assert (report.undelivered, producer.statistics().accepted) == (1, 1)


def test_shutdown_ends_a_flush_that_waits() -> None:
    producer = Real(held=True)
    producer.produce(False, {"n": 0})
    left: list[int] = []
    thread = threading.Thread(target=lambda: left.append(producer.flush()))
    thread.start()
    assert producer.sending.wait(5.0)
    producer.shutdown(timeout=0.1)
    thread.join(5.0)
    producer.hold.set()
    assert left == [1]


def test_the_context_manager_delivers_everything_also_when_the_block_raises() -> None:
    producer = Real()
    with contextlib.suppress(LookupError), producer:
        producer.produce(False, {"n": 1})
        raise LookupError
    assert producer.sent == [1]
    assert producer.closed


def test_the_asynchronous_context_manager_delivers_everything() -> None:
    async def main() -> Real:
        async with Real() as producer:
            receipt = await producer.aproduce(False, {"n": 1})
            assert await receipt is State.DELIVERED
            await producer.aproduce(False, {"n": 2})
            assert await producer.aflush(5.0) == 0
        return producer

    assert asyncio.run(main()).sent == [1, 2]


def test_a_thread_that_cannot_be_started_refuses_the_message_and_the_next_one_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = Real()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more_threads)
        with pytest.raises(RuntimeError):
            producer.produce(False, {"n": 1})
        assert producer.statistics().accepted == 0
    producer.produce(False, {"n": 2})
    assert producer.shutdown(timeout=5.0).delivered == 1


def test_each_step_of_shutdown_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "standpipe")
    producer = Scripted()
    producer.produce(False, {"n": 1})
    producer.shutdown(timeout=2.0)
    producer = Scripted()
    producer.produce(False, {"n": 1})
    drive(producer, seconds=0.0, timeout=2.0)
    text = "\n".join(caplog.messages)
    assert "test: shutting down: 1 message(s) pending, 2.0 s to deliver them" in text
    assert "test: shut down: 0 delivered, 0 dead-lettered, 0 dropped, 1 undelivered" in text
    assert "test: closed" in text
    assert "test: shut down: 1 delivered, 0 dead-lettered, 0 dropped, 0 undelivered" in text


def test_a_log_handler_that_raises_neither_ends_delivery_nor_shutdown() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    logger, handler = logging.getLogger("standpipe"), Broken()
    logger.addHandler(handler)
    level, logger.level = logger.level, logging.DEBUG
    try:
        producer = Scripted(sends=[OSError("x")] * 8, connects=[OSError("y")] * 6)
        producer.produce(False, {"n": 1})
        assert drive(producer).delivered == 1
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert producer.statistics().observer_failures > 3


def test_receipts_of_a_callback_loop_end_with_shutdown() -> None:
    """A callback that produces again and again is stopped by shutdown, not by the stack or the memory."""
    producer = Scripted()
    failures: list[BaseException] = []

    def again(receipt: Receipt) -> None:
        try:
            producer.produce(False, {"n": 1}).add_done_callback(again)
        except ProducerClosed as error:
            failures.append(error)

    def slow(message: dict[str, Any]) -> None:
        producer.clock.advance(0.01)

    producer.on_send = slow
    producer.produce(False, {"n": 0}).add_done_callback(again)
    report = drive(producer, seconds=10.0)
    assert len(failures) == 1
    assert report.delivered == producer.statistics().accepted > 900


def no_more_threads(_: object) -> None:
    raise RuntimeError("can't start new thread")


def wait_until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.002)
