"""Callers on an event loop, and producers whose methods are coroutines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from standpipe.core.errors import Disconnected, ProducerClosed, QueueFull, Reject
from standpipe.delivery.receipt import State
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from tests.unit.delivery.scripted import check


def config(**settings: Any) -> BaseProducerConfig:
    return BaseProducerConfig.model_validate({"type": "real", "name": "real", "retry": {"initial": 0.001, "max": 0.01}, **settings})


class Gated(BaseProducer):
    """Sends when `gate` is open."""

    def __init__(self, **settings: Any) -> None:
        self.gate = threading.Event()
        self.sent: list[int] = []
        super().__init__(config(**settings))

    def _connect(self) -> None:
        pass

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self.gate.wait()
        self.sent.append(message["n"])

    def _close(self) -> None:
        pass


class Heartbeat:
    """Measures the longest time for which the loop could not run."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def __aenter__(self) -> Heartbeat:
        self._task = asyncio.create_task(self._beat())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _beat(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest, last = max(self.longest, now - last), now


# --- callers ----------------------------------------------------------------------------------------------------------


def test_aproduce_into_a_full_queue_never_blocks_the_loop() -> None:
    async def main() -> float:
        producer = Gated(queue={"max_messages": 10})
        async with Heartbeat() as heart:
            tasks = [asyncio.create_task(producer.aproduce(False, {"n": n})) for n in range(50)]
            await asyncio.sleep(0.2)
            assert sum(task.done() for task in tasks) == 10
            producer.gate.set()
            receipts = await asyncio.gather(*tasks)
            assert {await receipt for receipt in receipts} == {State.DELIVERED}
        report = await asyncio.to_thread(producer.shutdown, 5.0)
        assert check(producer.statistics()).queue_messages_max == 10
        assert report.delivered == 50
        return heart.longest

    # Once is enough: other programs of a busy machine may stop the loop as well, but not each time.
    assert any(asyncio.run(main(), debug=True) < 0.05 for _ in range(20))


def test_a_cancelled_aproduce_hands_nothing_over_and_passes_its_wake_up_on() -> None:
    async def main() -> int:
        producer = Gated(queue={"max_messages": 1})
        await producer.aproduce(False, {"n": -1})
        tasks = [asyncio.create_task(producer.aproduce(False, {"n": n})) for n in range(60)]
        await asyncio.sleep(0.01)
        producer.gate.set()
        cancelled = 0
        for turn in range(0, 60, 2):  # in the middle of the wake-ups
            cancelled += tasks[turn].cancel()
            await asyncio.sleep(0)
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10.0)
        report = await asyncio.to_thread(producer.shutdown, 5.0)
        accepted = sum(not isinstance(result, BaseException) for result in results)
        assert report.delivered == producer.statistics().accepted == accepted + 1
        assert accepted >= 30
        return cancelled

    assert asyncio.run(main()) > 0


def test_aproduce_raises_when_full_timeout_has_passed_or_the_producer_is_shut_down() -> None:
    async def main() -> None:
        producer = Gated(queue={"max_messages": 1, "full_timeout": 0.05})
        await producer.aproduce(False, {"n": 0})
        with pytest.raises(QueueFull, match=r"stayed so for 0.05 s"):
            await producer.aproduce(False, {"n": 1})
        patient = Gated(queue={"max_messages": 1})
        await patient.aproduce(False, {"n": 0})
        waiting = asyncio.create_task(patient.aproduce(False, {"n": 1}))
        await asyncio.sleep(0.01)
        await asyncio.to_thread(patient.shutdown, 0.05)
        with pytest.raises(ProducerClosed):
            await asyncio.wait_for(waiting, 5.0)
        producer.gate.set()
        patient.gate.set()
        await asyncio.to_thread(producer.shutdown, 5.0)

    asyncio.run(main())


def test_ten_thousand_receipts_are_awaited_without_stopping_the_loop() -> None:
    async def main() -> float:
        producer = Gated()
        receipts = [producer.produce(False, {"n": n}) for n in range(10_000)]
        waiting = [asyncio.ensure_future(_state(receipt)) for receipt in receipts]
        await asyncio.sleep(0)
        began = time.perf_counter()
        producer.gate.set()
        assert Counter(await asyncio.gather(*waiting)) == {State.DELIVERED: 10_000}
        seconds = time.perf_counter() - began
        await asyncio.to_thread(producer.shutdown, 5.0)
        return seconds

    assert asyncio.run(main()) < 5.0


def test_awaits_that_are_cancelled_leave_nothing_behind() -> None:
    async def main() -> None:
        producer = Gated()
        receipt = producer.produce(False, {"n": 1})
        for _ in range(50):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_state(receipt), 0.001)
        assert receipt._more is not None
        assert receipt._more.watchers == []
        producer.gate.set()
        assert await receipt is State.DELIVERED
        await asyncio.to_thread(producer.shutdown, 5.0)

    asyncio.run(main())


def test_a_receipt_awaited_on_a_loop_that_is_closed_meanwhile_disturbs_nobody() -> None:
    producer = Gated()
    receipt = producer.produce(False, {"n": 1})
    loop = asyncio.new_event_loop()
    task = loop.create_task(_state(receipt))
    loop.run_until_complete(asyncio.sleep(0.01))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    producer.gate.set()
    assert receipt.wait(5.0) is State.DELIVERED
    assert producer.shutdown(timeout=5.0).delivered == 1


async def _state(receipt: Any) -> State:
    state: State = await receipt
    return state


# --- asynchronous producers -------------------------------------------------------------------------------------------


class Windowed(BaseProducer):
    """Sends many at once; `behave(message)` may wait or raise."""

    max_in_flight = 8

    def __init__(self, behave: Callable[[dict[str, Any]], Any] | None = None, **settings: Any) -> None:
        self.behave = behave
        self.sent: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.threads: set[int] = set()
        self.in_flight = 0
        self.most_in_flight = 0
        super().__init__(config(**settings))

    async def _connect(self) -> None:
        self._called("connect")

    async def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self._called("send")
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.behave is not None:
                await self.behave(message)
            self.sent.append(message)
        finally:
            self.in_flight -= 1

    async def _close(self) -> None:
        assert self.in_flight == 0, "closed while sending"
        self._called("close")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        self.threads.add(threading.get_ident())


async def a_moment(message: dict[str, Any]) -> None:
    await asyncio.sleep(0.002)


def test_at_most_max_in_flight_sends_are_under_way_and_all_on_one_thread() -> None:
    producer = Windowed(a_moment)
    for number in range(200):
        producer.produce(False, {"n": number})
    assert producer.shutdown(timeout=10.0).delivered == 200
    assert producer.most_in_flight == 8
    assert len(producer.threads) == 1


def test_messages_of_one_key_are_never_under_way_at_once_and_stay_in_order_through_failures() -> None:
    under_way: Counter[str] = Counter()
    failed: set[int] = set()

    async def behave(message: dict[str, Any]) -> None:
        key = message["key"]
        under_way[key] += 1
        try:
            assert under_way[key] == 1
            await asyncio.sleep(0.0005 * (message["n"] % 3))
            if message["n"] % 7 == 0 and message["n"] not in failed:
                failed.add(message["n"])
                raise OSError("once")
        finally:
            under_way[key] -= 1

    producer = Windowed(behave)
    for number in range(300):
        producer.produce(False, {"n": number, "key": f"k{number % 5}"}, key=f"k{number % 5}")
    assert producer.flush(timeout=20.0) == 0
    assert producer.shutdown(timeout=10.0).delivered == 300
    assert producer.most_in_flight > 1
    for key in range(5):
        mine = [message["n"] for message in producer.sent if message["n"] % 5 == key]
        assert mine == sorted(mine)


def test_fifo_has_one_send_under_way() -> None:
    producer = Windowed(a_moment, ordering="fifo")
    for number in range(30):
        producer.produce(False, {"n": number})
    assert producer.shutdown(timeout=10.0).delivered == 30
    assert (producer.most_in_flight, [message["n"] for message in producer.sent]) == (1, list(range(30)))


def test_a_send_that_takes_too_long_is_unknown_and_tried_again() -> None:
    attempts: Counter[int] = Counter()

    async def behave(message: dict[str, Any]) -> None:
        attempts[message["n"]] += 1
        if attempts[message["n"]] == 1 and message["n"] == 3:
            await asyncio.sleep(60)

    producer = Windowed(behave, send_timeout=0.05)
    for number in range(6):
        producer.produce(False, {"n": number})
    assert producer.flush(timeout=10.0) == 0
    now = check(producer.statistics())
    assert (now.delivered, now.possible_duplicates, now.retries) == (6, 1, 1)
    assert now.last_error == "TimeoutError: no answer within send_timeout (0.05 s)"
    producer.shutdown(timeout=5.0)


def test_a_reset_lets_the_other_sends_end_before_it_closes() -> None:
    broken = [True]

    async def behave(message: dict[str, Any]) -> None:
        if message["n"] == 0 and broken:
            broken.clear()
            raise Disconnected("gone")
        await asyncio.sleep(0.05)

    producer = Windowed(behave)
    for number in range(8):
        producer.produce(False, {"n": number})
    assert producer.flush(timeout=10.0) == 0
    now = check(producer.statistics())
    assert (now.delivered, now.resets, now.connects, now.attempts) == (8, 1, 2, 9)
    assert producer.shutdown(timeout=5.0).complete


def test_sends_that_all_fail_with_the_connection_reset_it_once() -> None:
    async def behave(message: dict[str, Any]) -> None:
        await asyncio.sleep(0.005)
        if producer.calls.count("connect") == 1:
            raise Disconnected("gone")

    producer = Windowed(behave)
    for number in range(8):
        producer.produce(False, {"n": number})
    assert producer.flush(timeout=10.0) == 0
    assert check(producer.statistics()).resets == 1
    assert producer.shutdown(timeout=5.0).delivered == 8


def test_shutdown_cancels_what_is_still_under_way_and_hands_it_back() -> None:
    cancelled: list[int] = []

    async def behave(message: dict[str, Any]) -> None:
        if message["n"] % 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(message["n"])
                raise

    producer = Windowed(behave, send_timeout=None)
    receipts = [producer.produce(False, {"n": number}) for number in range(10)]
    report = producer.shutdown(timeout=0.5)
    assert (report.delivered, report.undelivered, report.possible_duplicates) == (5, 5, 5)
    assert [message.content()["n"] for message in report.messages] == [1, 3, 5, 7, 9]
    assert sorted(cancelled) == [1, 3, 5, 7, 9]
    assert producer.calls[-1] == "close"
    assert [receipt.state for receipt in receipts[:2]] == [State.DELIVERED, State.UNDELIVERED]


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()], ids=lambda e: type(e).__name__
)
def test_no_exception_in_an_asynchronous_send_ends_delivery(error: BaseException) -> None:
    raised = [error]

    async def behave(message: dict[str, Any]) -> None:
        if raised:
            raise raised.pop()

    producer = Windowed(behave)
    for number in range(5):
        producer.produce(False, {"n": number})
    assert producer.flush(timeout=10.0) == 0
    assert producer.shutdown(timeout=5.0).delivered == 5


def test_an_exit_in_a_task_of_the_authors_own_ends_the_loop_but_not_delivery(caplog: pytest.LogCaptureFixture) -> None:
    async def leave() -> None:
        raise SystemExit(1)

    started: list[asyncio.Task[None]] = []

    async def behave(message: dict[str, Any]) -> None:
        if message["n"] == 0 and not started:
            started.append(asyncio.create_task(leave()))
            await asyncio.sleep(0.05)

    producer = Windowed(behave)
    for number in range(5):
        producer.produce(False, {"n": number})
    assert producer.flush(timeout=10.0) == 0
    assert producer.shutdown(timeout=5.0).delivered == 5
    assert "the event loop of the worker has ended, a new one is made" in caplog.text


def test_rejected_messages_of_an_asynchronous_producer_go_to_the_dead_letters() -> None:
    async def behave(message: dict[str, Any]) -> None:
        if message["n"] == 2:
            raise Reject("bad")

    producer = Windowed(behave)
    for number in range(5):
        producer.produce(False, {"n": number}, key="k")
    report = producer.shutdown(timeout=5.0)
    assert (report.delivered, report.dead_lettered) == (4, 1)
    assert [letter.content()["n"] for letter in producer.dead_letters] == [2]


def test_a_deadline_holds_while_an_asynchronous_producer_cannot_connect() -> None:
    class Unreachable(Windowed):
        async def _connect(self) -> None:
            raise OSError("down")

    producer = Unreachable(deadline=0.1, max_retries=1)
    producer.start()
    receipt = producer.produce(False, {"n": 1})
    assert receipt.wait(5.0) is State.DEAD_LETTERED
    assert producer.shutdown(timeout=5.0).dead_lettered == 1


def test_a_deadline_holds_while_all_sends_of_an_asynchronous_producer_hang() -> None:
    """Nothing waits when the window becomes full: the message that comes next has to say that from now on something can expire."""
    sending = threading.Event()

    async def hang(message: dict[str, Any]) -> None:
        sending.set()
        await asyncio.Event().wait()

    class Narrow(Windowed):
        max_in_flight = 1

    producer = Narrow(hang, deadline=1.0, send_timeout=None)
    hanging = producer.produce(False, {"n": 0})
    while not sending.wait(0.01):
        if hanging.done():  # it expired before its thread had begun
            hanging = producer.produce(False, {"n": 0})

    receipt = producer.produce(False, {"n": 1})

    assert receipt.wait(20.0) is State.DEAD_LETTERED
    producer.shutdown(timeout=0.0)


def test_an_idle_asynchronous_producer_is_woken_by_a_message_and_by_shutdown() -> None:
    producer = Windowed()
    producer.start()
    for number in range(20):
        threading.Event().wait(0.003)
        assert producer.produce(False, {"n": number}).wait(5.0) is State.DELIVERED
    began = time.monotonic()
    assert producer.shutdown(timeout=30.0).delivered == 20
    assert time.monotonic() - began < 15.0
