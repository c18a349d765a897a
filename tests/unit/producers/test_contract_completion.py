"""The contract of the completion style: a batch is handed to the client now, what became of it is reported later."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import pytest

from standpipe.core.errors import Disconnected, NotSent, Reject
from standpipe.delivery.receipt import State
from standpipe.delivery.report import Report
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch
from tests.unit.delivery.confirming import Confirming, Pipelined
from tests.unit.delivery.scripted import check, drive

BROKEN = Disconnected("broken pipe")


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message["n"] for message in messages]


def feed(producer: Confirming, count: int, *, keys: int = 0) -> list[Any]:
    return [producer.produce(False, {"n": n}, key=str(n % keys) if keys else None) for n in range(count)]


# --- the window -------------------------------------------------------------------------------------------------------


def test_messages_are_handed_over_without_waiting_for_earlier_ones() -> None:
    producer = Confirming(delay=lambda number: 1.0, batch={"max_messages": 2})
    feed(producer, 8)
    drive(producer, seconds=10)
    assert producer.most == 8
    assert producer.handed == [2, 2, 2, 2]
    assert producer.times("submit") == [0.0] * 4


def test_no_more_than_max_in_flight_and_one_batch_are_with_the_client() -> None:
    producer = Confirming(batch={"max_messages": 3})
    feed(producer, 100)
    drive(producer, seconds=10)
    assert 8 <= producer.most < 8 + 3
    assert sorted(numbers(producer.arrived)) == list(range(100))


def test_receipts_become_delivered_when_the_client_says_so_and_carry_what_it_said() -> None:
    producer = Confirming(delay=lambda number: float(number))
    receipts = feed(producer, 3)
    several = producer.produce_many(False, [{"n": 10}, {"n": 11}])
    drive(producer, seconds=100)
    assert [receipt.state for receipt in (*receipts, several)] == [State.DELIVERED] * 4
    assert [receipt.detail for receipt in receipts] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert several.detail == [{"n": 10}, {"n": 11}]


def test_a_slow_message_does_not_hold_back_the_receipts_of_its_batch() -> None:
    producer = Confirming(delay=lambda number: 20.0 if number == 1 else 0.1)
    receipts = feed(producer, 3)
    seen: list[tuple[float, State]] = []
    producer.clock.at(5.0, lambda: seen.extend((producer.clock.now, receipt.state) for receipt in receipts))
    drive(producer, seconds=100)
    assert [state for _, state in seen] == [State.DELIVERED, State.QUEUED, State.DELIVERED]
    assert receipts[1].delivered
    assert receipts[1].detail == {"n": 1}
    assert producer.statistics().attempts == 3


def test_fifo_with_a_client_that_keeps_no_order_sends_one_message_at_a_time() -> None:
    producer = Confirming(ordering="fifo")
    feed(producer, 10)
    drive(producer, seconds=100)
    assert producer.most == 1
    assert numbers(producer.arrived) == list(range(10))


def test_messages_of_one_key_are_not_with_a_client_that_keeps_no_order_at_once() -> None:
    producer = Confirming(delay=lambda number: 1.0 - number * 0.05)
    feed(producer, 12, keys=3)
    drive(producer, seconds=100)
    assert producer.most == 3
    for key in range(3):
        assert [n for n in numbers(producer.arrived) if n % 3 == key] == list(range(key, 12, 3))


def test_messages_of_one_key_are_all_handed_to_a_client_that_keeps_their_order() -> None:
    producer = Pipelined()
    feed(producer, 8, keys=1)
    drive(producer, seconds=100)
    assert producer.most == 8


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_message_that_fails_is_tried_again_and_disturbs_no_other() -> None:
    producer = Confirming(fate=lambda message, number: NotSent("not now") if number == 2 else "ok")
    feed(producer, 6)
    drive(producer, seconds=100)
    assert sorted(numbers(producer.arrived)) == list(range(6))
    now = check(producer.statistics())
    assert (now.delivered, now.retries, now.resets, now.possible_duplicates) == (6, 1, 0, 0)


def test_a_rejected_message_is_put_aside_alone() -> None:
    producer = Confirming(fate=lambda message, number: Reject("too large") if message["n"] == 3 else "ok")
    receipts = feed(producer, 6)
    drive(producer, seconds=100)
    assert [receipt.state for receipt in receipts].count(State.DELIVERED) == 5
    assert receipts[3].state is State.DEAD_LETTERED
    assert [letter.content() for letter in producer.dead_letters] == [{"n": 3}]


@pytest.mark.parametrize("kind", [Confirming, Pipelined])
def test_what_is_not_confirmed_in_time_is_sent_again_on_a_new_connection(kind: type[Confirming]) -> None:
    producer = kind(fate=lambda message, number: "lost" if number == 1 else "ok", send_timeout=5.0)
    feed(producer, 4)
    drive(producer, seconds=1000)
    assert set(numbers(producer.arrived)) == set(range(4))
    now = check(producer.statistics())
    assert (now.delivered, now.pending) == (4, 0)
    assert now.resets >= 1
    assert now.possible_duplicates >= len(producer.arrived) - 4
    assert producer.times("close")[0] >= 5.0


@pytest.mark.parametrize("kind", [Confirming, Pipelined])
def test_a_lost_connection_is_opened_again_and_nothing_is_missing(kind: type[Confirming]) -> None:
    producer = kind(fate=lambda message, number: BROKEN if number == 3 else "ok")
    feed(producer, 20, keys=4)
    drive(producer, seconds=1000)
    assert set(numbers(producer.arrived)) == set(range(20))
    assert producer.names().count("connect") == 2


class ConfirmedAtTheEnd(Confirming):
    """A client that keeps the order and has, when it is closed, the confirmation of the first message."""

    atomic_batches: ClassVar[bool] = True

    def _close(self) -> None:
        for entry in self._entries:
            if entry.message["n"] == 0 and entry.fate == "ok":
                self.arrived.append(entry.message)
                entry.report.delivered(entry.position)
        super()._close()


def test_a_message_is_not_put_aside_for_the_resets_that_another_one_lived_through() -> None:
    """The first message fails once, and is confirmed when the connection is closed because of the second, which has never failed."""
    producer = ConfirmedAtTheEnd(
        fate=lambda message, number: BROKEN if number in (0, 2) else "ok", delay=lambda number: 50.0 if number == 1 else 0.1, max_resets=1
    )
    receipts = feed(producer, 1)
    producer.clock.at(10.0, lambda: receipts.append(producer.produce(False, {"n": 1})))
    drive(producer, seconds=1000)
    assert [receipt.state for receipt in receipts] == [State.DELIVERED] * 2
    assert list(producer.dead_letters) == []


def test_a_pipeline_that_fails_is_closed_and_goes_on_in_order() -> None:
    producer = Pipelined(fate=lambda message, number: NotSent("no leader") if number == 2 else "ok")
    feed(producer, 30, keys=2)
    drive(producer, seconds=1000)
    assert numbers(producer.arrived) == list(range(30))


@pytest.mark.timeout(20)
def test_a_reset_waits_for_what_is_not_confirmed_and_does_not_spin_meanwhile() -> None:
    failing, slow, silent = 0, 1, 2
    tries: list[int] = []

    def fate(message: dict[str, Any], number: int) -> Any:
        tries.append(message["n"])
        if message["n"] == failing:
            return NotSent("no") if tries.count(failing) <= 2 else "ok"
        return "silent" if message["n"] == silent and tries.count(silent) == 1 else "ok"

    producer = Confirming(fate=fate, delay=lambda number: 3.0 if number == slow else 0.01, batch={"max_messages": 1}, max_retries=1)
    feed(producer, 3)
    for number in range(3, 40):  # successes between its failures keep the breaker closed
        producer.clock.at(number * 0.01, lambda number=number: producer.produce(False, {"n": number}))  # type: ignore[misc]
    drive(producer, seconds=1000)
    assert set(numbers(producer.arrived)) == set(range(40))
    assert producer.statistics().resets == 1


def test_what_the_client_reports_while_it_is_closed_still_counts() -> None:
    class Farewell(Confirming):
        def _close(self) -> None:
            for entry in self._entries:
                entry.report.failed(entry.position, NotSent("purged from the client's queue"))
            super()._close()

    producer = Farewell(fate=lambda message, number: BROKEN if number == 0 else "silent" if number < 4 else "ok")
    feed(producer, 4)
    drive(producer, seconds=1000)
    assert check(producer.statistics()).delivered == 4
    assert producer.statistics().possible_duplicates <= 1  # the one that broke the connection


def test_an_exception_out_of_submit_fails_what_was_not_reported() -> None:
    class Refusing(Confirming):
        def _submit(self, batch: Batch, report: Report) -> None:
            if not self.tried:
                self.tried = batch.contents()
                self.arrived.append(self.tried[0])
                report.delivered(0)
                raise BufferError("queue full")
            super()._submit(batch, report)

    producer = Refusing()
    feed(producer, 4)
    drive(producer, seconds=100)
    assert sorted(numbers(producer.arrived)) == [0, 1, 2, 3]
    assert check(producer.statistics()).delivered == 4


@pytest.mark.parametrize("kind", [Confirming, Pipelined])
def test_a_rejection_raised_for_a_batch_puts_only_the_message_aside_that_is_at_fault(kind: type[Confirming]) -> None:
    class Careless(kind):  # type: ignore[valid-type, misc]
        def _submit(self, batch: Batch, report: Report) -> None:
            if any(message["n"] == 3 for message in batch.contents()):
                raise Reject("one of them is too large")
            super()._submit(batch, report)

    producer = Careless()
    feed(producer, 6)
    drive(producer)
    assert sorted(numbers(producer.arrived)) == [0, 1, 2, 4, 5]
    assert [letter.content() for letter in producer.dead_letters] == [{"n": 3}]


def test_reports_after_the_engine_has_given_up_change_nothing() -> None:
    late: list[tuple[Report, int]] = []

    class Late(Confirming):
        def _close(self) -> None:
            late.extend((entry.report, entry.position) for entry in self._entries)
            super()._close()

    producer = Late(fate=lambda message, number: "lost" if number < 2 else "ok", send_timeout=1.0)
    feed(producer, 2)

    def confirm() -> None:
        for report, position in late:
            report.delivered(position)

    producer.clock.at(50.0, confirm)
    drive(producer, seconds=100)
    assert late
    now = check(producer.statistics())
    assert (now.delivered, now.pending) == (2, 0)


def test_nothing_is_handed_over_while_the_client_is_not_writable_and_no_time_runs() -> None:
    class Blocked(Confirming):
        def _writable(self) -> bool:
            return not 1.0 <= self.clock.now < 500.0

    producer = Blocked(fate=lambda message, number: "ok", delay=lambda number: 600.0 if number == 0 else 0.1, send_timeout=200.0)
    producer.produce(False, {"n": 0})
    producer.clock.at(2.0, lambda: producer.produce(False, {"n": 1}))
    drive(producer, seconds=2000)
    assert producer.names().count("close") == 1
    assert producer.times("submit")[0] == 0.0
    assert producer.times("submit")[1] >= 500.0


# --- polling ----------------------------------------------------------------------------------------------------------


class Polled(Confirming):
    """Has no thread: nothing happens unless it is polled."""

    def __init__(self, *, breaks: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.polls: list[float] = []
        self.breaks = breaks

    def _poll(self, seconds: float) -> None:
        self.polls.append(seconds)
        if self.breaks and self._entries:
            self.breaks -= 1
            raise ConnectionResetError("reset by peer")
        self.clock.advance(seconds)


def test_a_client_without_threads_is_polled_while_messages_are_with_it() -> None:
    producer = Polled()
    feed(producer, 20)
    drive(producer, seconds=100)
    assert sorted(numbers(producer.arrived)) == list(range(20))
    assert max(producer.polls) <= 0.01


def test_a_poll_that_raises_means_a_lost_connection_and_is_not_repeated_in_a_circle() -> None:
    producer = Polled(breaks=4)
    feed(producer, 3)
    drive(producer, seconds=1000)
    now = check(producer.statistics())
    assert (now.delivered, now.pending) == (3, 0)
    assert producer.names().count("connect") == 5
    assert producer.times("connect")[-1] > 0.1


# --- shutdown ---------------------------------------------------------------------------------------------------------


def test_shutdown_waits_for_what_is_with_the_client() -> None:
    producer = Confirming(delay=lambda number: 3.0)
    feed(producer, 4)
    report = drive(producer, seconds=1.0, timeout=10.0)
    assert (report.delivered, report.undelivered) == (4, 0)
    assert producer.names()[-1] == "close"


def test_shutdown_hands_back_what_was_never_confirmed_as_possibly_sent() -> None:
    producer = Confirming(fate=lambda message, number: "lost" if message["n"] == 1 else "ok")
    feed(producer, 4)
    report = drive(producer, seconds=1.0, timeout=10.0)
    assert (report.delivered, report.undelivered, report.possible_duplicates) == (3, 1, 1)
    assert [message.content() for message in report.messages] == [{"n": 1}]


# --- style ------------------------------------------------------------------------------------------------------------


def test_a_producer_with_submit_cannot_be_asynchronous() -> None:
    class Both(BaseProducer):
        async def _connect(self) -> None: ...

        def _submit(self, batch: Batch, report: Report) -> None: ...

        async def _close(self) -> None: ...

    with pytest.raises(TypeError, match="_connect and _close cannot be `async def`"):
        Both(BaseProducerConfig(type="both", name="both"))


def test_a_client_with_a_thread_of_its_own_reports_from_it() -> None:
    class Threaded(BaseProducer):
        max_in_flight = 50

        def _connect(self) -> None:
            self.arrived: list[int] = []
            self.work: list[tuple[Report, int]] = []
            self.more = threading.Condition()
            self.ends = False
            self.thread = threading.Thread(target=self.confirm)
            self.thread.start()

        def _submit(self, batch: Batch, report: Report) -> None:
            with self.more:
                self.work += [(report, position) for position in range(batch.count)]
                self.arrived += [message["n"] for message in batch.contents()]
                self.more.notify()

        def confirm(self) -> None:
            while True:
                with self.more:
                    self.more.wait_for(lambda: self.work or self.ends)
                    if self.ends:
                        return
                    work, self.work = self.work, []
                for report, position in work:
                    report.delivered(position)

        def _close(self) -> None:
            if hasattr(self, "thread"):
                with self.more:
                    self.ends = True
                    self.more.notify()
                self.thread.join()

    with Threaded(BaseProducerConfig(type="threaded", name="threaded", batch={"max_messages": 7})) as producer:
        for n in range(2000):
            producer.produce(False, {"n": n})
        assert producer.flush(20.0) == 0
    assert producer.arrived == list(range(2000))
