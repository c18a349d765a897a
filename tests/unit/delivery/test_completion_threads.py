"""Clients that speak of messages from threads of their own, at the moment when the worker looks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from standpipe.core.errors import NotSent
from standpipe.delivery.receipt import State
from standpipe.delivery.report import Report
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch
from standpipe.testing import ManualClock
from tests.unit.delivery.confirming import Confirming
from tests.unit.delivery.scripted import check, drive

WITHIN = 20.0


def in_another_thread(action: Callable[[], object]) -> None:
    thread = threading.Thread(target=action)
    thread.start()
    thread.join(WITHIN)
    assert not thread.is_alive()


def test_what_is_said_while_the_worker_reads_a_report_is_said_of_the_right_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second message has failed; the first is confirmed just after the worker has read what was said."""
    producer = Confirming(
        fate=lambda message, number: NotSent("not now") if number == 1 else "ok",
        delay=lambda number: 50.0 if number == 0 else 0.1,
    )
    receipts = [producer.produce(False, {"n": n}) for n in range(2)]
    read = Report.results

    def results(report: Report) -> Any:
        found = read(report)
        for entry in [entry for entry in producer._entries if entry.message["n"] == 0]:
            in_another_thread(lambda entry=entry: producer._happen(entry))  # type: ignore[misc]
        return found

    monkeypatch.setattr(Report, "results", results)
    drive(producer, seconds=1000)
    assert [receipt.state for receipt in receipts] == [State.DELIVERED] * 2
    assert [message["n"] for message in producer.arrived] == [0, 1]
    now = check(producer.statistics())
    assert (now.delivered, now.retries) == (2, 1)


def test_a_word_about_what_is_settled_already_does_not_keep_the_worker_busy() -> None:
    """Of two threads that make a report complete, the slower one says so when the worker has long been told by the other."""
    told: list[Report] = []

    class Listening(Confirming):
        def _submit(self, batch: Batch, report: Report) -> None:
            told.append(report)
            super()._submit(batch, report)

    producer = Listening()
    producer.produce(False, {"n": 0})
    worker = producer.__dict__["_BaseProducer__driver"]
    producer.clock.at(100.0, lambda: in_another_thread(lambda: worker._tell(told[0])))
    producer.clock.at(200.0, lambda: producer.shutdown(timeout=1.0))

    turns = 0
    while worker.step():
        turns += 1
        assert turns < 20, "the worker turns round and round"

    assert producer.clock.now == 200.0


class Kept(BaseProducer):
    """Its client has said nothing yet."""

    max_in_flight = 8

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.handed = threading.Semaphore(0)
        super().__init__(BaseProducerConfig(type="kept", name="kept", batch={"max_messages": 1}, shutdown_timeout=1.0))

    def _connect(self) -> None: ...

    def _close(self) -> None: ...

    def _submit(self, batch: Batch, report: Report) -> None:
        self.reports.append(report)
        self.handed.release()


class Interrupted(deque[Report]):
    """Behind the first report another one is told of, by another thread, before the first thread can look how many there are."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self._meanwhile: Callable[[], object] | None = meanwhile

    def append(self, report: Report) -> None:
        super().append(report)
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            in_another_thread(meanwhile)


def test_of_two_threads_that_tell_at_once_one_wakes_the_worker() -> None:
    with Kept() as producer:
        receipts = [producer.produce(False, {"n": n}) for n in range(2)]
        for _ in receipts:
            assert producer.handed.acquire(timeout=WITHIN)
        first, second = producer.reports
        producer.__dict__["_BaseProducer__driver"]._told = Interrupted(lambda: second.delivered(0))

        first.delivered(0)

        assert [receipt.wait(WITHIN) for receipt in receipts] == [State.DELIVERED] * 2


class Undisturbed(ManualClock):
    """What happens meanwhile ends a wait only if it wakes whoever waits."""

    woken: Callable[[], object]

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        end = None if timeout is None else self.now + timeout
        while end is None or self.now < end:
            super().wait(condition, None if end is None else end - self.now)
            if self.woken():
                return


def test_what_is_confirmed_is_settled_although_the_word_about_it_wakes_nobody() -> None:
    """Not all of the batch is confirmed, so that the worker sleeps on: it has to look by itself."""
    clock = Undisturbed()
    producer = Confirming(clock=clock, delay=lambda number: 20.0 if number == 1 else 0.1)
    worker = producer.__dict__["_BaseProducer__driver"]
    clock.woken = lambda: worker._told or worker.engine.closing
    receipts = [producer.produce(False, {"n": n}) for n in range(3)]
    seen: list[State] = []
    clock.at(5.0, lambda: seen.extend(receipt.state for receipt in receipts))
    drive(producer, seconds=100)
    assert seen == [State.DELIVERED, State.QUEUED, State.DELIVERED]
