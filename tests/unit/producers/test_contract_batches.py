"""The contract: batches, results per message, poison messages, and the order of messages."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from standpipe.core.errors import Disconnected, Reject, RetryAfter
from standpipe.core.outcome import Outcome
from standpipe.delivery.breaker import BreakerState
from standpipe.delivery.receipt import State
from tests.unit.delivery.scripted import AtomicBatch, Scripted, ScriptedBatch, check, drive

BROKEN = ConnectionResetError("broken pipe")


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message["n"] for message in messages]


def refuse(bad: set[int], error: BaseException) -> Any:
    """A destination that takes a batch only if none of the `bad` messages is in it."""

    def on_send(message: dict[str, Any]) -> None:
        if message["n"] in bad:
            raise error

    return on_send


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_a_batch_has_at_most_max_messages() -> None:
    producer = ScriptedBatch(batch={"max_messages": 4})
    for number in range(10):
        producer.produce(False, {"n": number})
    drive(producer)
    assert [len(batch) for batch in producer.batches] == [4, 4, 2]


def test_a_batch_has_at_most_max_bytes_but_a_larger_message_goes_alone() -> None:
    producer = ScriptedBatch(batch={"max_bytes": 30})
    for size in (1, 1, 100, 1, 1, 1, 1):
        producer.produce(False, {"n": "x" * size})
    drive(producer)
    assert [len(batch) for batch in producer.batches] == [2, 1, 3, 1]


def test_produce_many_is_cut_into_batches_and_rejoined_in_its_receipt() -> None:
    producer = ScriptedBatch(batch={"max_messages": 7})
    receipt = producer.produce_many(False, [{"n": number} for number in range(50)])
    drive(producer)
    assert numbers(producer.sent) == list(range(50))
    assert (receipt.state, receipt.counts["delivered"]) == (State.DELIVERED, 50)
    assert max(len(batch) for batch in producer.batches) == 7


def test_linger_waits_for_more_until_the_first_message_has_waited_long_enough() -> None:
    producer = ScriptedBatch(batch={"linger": "2s", "max_messages": 100})
    for second in (0.0, 0.5, 1.9, 2.5):
        producer.clock.at(second, lambda: producer.produce(False, {"n": 1}))
    drive(producer)
    assert (producer.times("send_batch"), [len(batch) for batch in producer.batches]) == ([2.0, 4.5], [3, 1])


def test_a_full_batch_does_not_linger() -> None:
    producer = ScriptedBatch(batch={"linger": "10s", "max_messages": 3})
    for second in (0.0, 1.0, 2.0):
        producer.clock.at(second, lambda: producer.produce(False, {"n": 1}))
    drive(producer)
    assert producer.times("send_batch") == [2.0]


def test_shutdown_sends_a_lingering_batch_at_once() -> None:
    producer = ScriptedBatch(batch={"linger": "1h"})
    producer.produce(False, {"n": 1})
    assert drive(producer, seconds=5.0).delivered == 1
    assert producer.times("send_batch") == [5.0]


# --- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [None, [], [Outcome.DELIVERED], [Outcome.DELIVERED] * 4, "ok!", b"ok!", True, 3, object(), {}, iter([])],
    ids=lambda garbage: type(garbage).__name__,
)
def test_what_is_not_one_result_per_message_claims_nothing(garbage: Any) -> None:
    class Careless(ScriptedBatch):
        def _send_batch(self, batch: Any) -> Any:
            results = super()._send_batch(batch)
            return garbage if len(self.batches) == 1 else results

    producer = Careless()
    receipts = [producer.produce(False, {"n": number}) for number in range(3)]
    drive(producer)
    assert producer.statistics().delivered == 3
    assert producer.statistics().possible_duplicates == 0
    assert "_send_batch returned" in str(producer.statistics().last_error)
    assert all(receipt.delivered for receipt in receipts)


@pytest.mark.parametrize("together", [True, False], ids=["produce_many", "produce"])
@pytest.mark.parametrize("garbage", [[], [{"row": 1}], [{"row": 1}] * 4, {"row": 1}, 7], ids=repr)
def test_details_that_are_not_one_for_each_message_are_left_out_with_a_warning(
    garbage: Any, together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Careless(ScriptedBatch):
        def _send_batch(self, batch: Any) -> Any:
            batch.details = garbage
            return super()._send_batch(batch)

    producer = Careless()
    messages = [{"n": number} for number in range(3)]
    receipts = [producer.produce_many(False, messages)] if together else [producer.produce(False, message) for message in messages]
    drive(producer)
    assert [numbers(batch) for batch in producer.batches] == [[0, 1, 2]]
    assert [(receipt.state, receipt.detail) for receipt in receipts] == [(State.DELIVERED, None)] * len(receipts)
    assert producer.statistics().observer_failures == 1
    assert caplog.text.count("not one for each of its 3 message(s); they are left out, the messages are not affected") == 1


@pytest.mark.parametrize("garbage", [None, True, "delivered", 200, Outcome], ids=repr)
def test_a_result_that_is_neither_an_outcome_nor_an_exception_is_no_success(garbage: Any) -> None:
    producer = ScriptedBatch(results=[[Outcome.DELIVERED, garbage]])
    producer.produce(False, {"n": 0})
    producer.produce(False, {"n": 1})
    drive(producer)
    assert [numbers(batch) for batch in producer.batches] == [[0, 1], [1]]
    assert "neither an Outcome nor an exception" in str(producer.statistics().last_error)


def test_each_message_is_settled_by_its_own_result() -> None:
    producer = ScriptedBatch(
        results=[[Outcome.DELIVERED, Outcome.REJECTED, Outcome.FAILED, Outcome.UNKNOWN, Reject("bad"), BROKEN, RetryAfter(3)]]
    )
    receipts = [producer.produce(False, {"n": number}) for number in range(7)]
    drive(producer)
    states = [receipt.state for receipt in receipts]
    assert states == [State.DELIVERED, State.DEAD_LETTERED, *[State.DELIVERED] * 2, State.DEAD_LETTERED, *[State.DELIVERED] * 2]
    assert sorted(numbers(producer.sent)) == [0, 2, 3, 5, 6]
    assert producer.statistics().possible_duplicates == 2  # UNKNOWN and the broken pipe
    assert [letter.content()["n"] for letter in producer.dead_letters] == [1, 4]


# --- poison -----------------------------------------------------------------------------------------------------------

POISONED = [{0}, {31}, {15, 16}, {0, 31}, {3, 7, 20, 21, 22}, set(range(0, 32, 2)), set(range(32))]


@pytest.mark.parametrize("bad", POISONED, ids=lambda bad: f"{len(bad)} of 32")
@pytest.mark.parametrize("kind", [ScriptedBatch, AtomicBatch])
def test_rejected_batches_are_taken_apart_until_exactly_the_poison_is_put_aside(kind: type[ScriptedBatch], bad: set[int]) -> None:
    producer = kind(on_send=refuse(bad, Reject("poison")))
    receipts = [producer.produce(False, {"n": number}, key=f"k{number % 5}") for number in range(32)]
    drive(producer)
    assert sorted(letter.content()["n"] for letter in producer.dead_letters) == sorted(bad)
    assert [receipt.state is State.DEAD_LETTERED for receipt in receipts] == [number in bad for number in range(32)]
    assert_order_per_key(producer, 5)
    assert producer.statistics().resets == 0


@pytest.mark.parametrize("bad", POISONED, ids=lambda bad: f"{len(bad)} of 32")
@pytest.mark.parametrize("kind", [ScriptedBatch, AtomicBatch])
def test_failing_batches_are_taken_apart_until_only_the_poison_waits(kind: type[ScriptedBatch], bad: set[int]) -> None:
    producer = kind(on_send=refuse(bad, ValueError("poison")), max_resets=4)
    for number in range(32):
        producer.produce(False, {"n": number})
    report = drive(producer)
    assert sorted(letter.content()["n"] for letter in producer.dead_letters) == sorted(bad)
    assert (report.delivered, report.dead_lettered) == (32 - len(bad), len(bad))


@pytest.mark.parametrize("kind", [Scripted, ScriptedBatch, AtomicBatch])
def test_poison_without_a_key_lets_all_others_pass_and_is_never_dropped(kind: type[Scripted]) -> None:
    producer = kind(on_send=refuse({2, 5}, ValueError("poison")))
    receipts = [producer.produce(False, {"n": number}) for number in range(8)]
    report = drive(producer, seconds=3600.0, timeout=1.0)
    assert sorted(numbers(producer.sent)) == [0, 1, 3, 4, 6, 7]
    assert sorted(message.content()["n"] for message in report.messages) == [2, 5]
    assert [receipt.state is State.UNDELIVERED for receipt in receipts] == [number in (2, 5) for number in range(8)]


@pytest.mark.parametrize("kind", [Scripted, ScriptedBatch, AtomicBatch])
def test_a_failing_message_holds_back_its_own_key_only(kind: type[Scripted]) -> None:
    producer = kind(on_send=refuse({0}, ValueError("poison")))
    for number in range(9):
        producer.produce(False, {"n": number}, key="abc"[number % 3])
    report = drive(producer, seconds=600.0, timeout=1.0)
    assert sorted(numbers(producer.sent)) == [1, 2, 4, 5, 7, 8]
    assert [message.content()["n"] for message in report.messages] == [0, 3, 6]


@pytest.mark.parametrize("kind", [Scripted, ScriptedBatch, AtomicBatch])
def test_fifo_lets_nobody_pass(kind: type[Scripted]) -> None:
    producer = kind(on_send=refuse({3}, ValueError("poison")), ordering="fifo")
    for number in range(6):
        producer.produce(False, {"n": number})
    report = drive(producer, seconds=600.0, timeout=1.0)
    assert numbers(producer.sent) == [0, 1, 2]
    assert [message.content()["n"] for message in report.messages] == [3, 4, 5]


def test_fifo_over_a_transport_that_is_not_atomic_sends_one_by_one() -> None:
    producer = ScriptedBatch(ordering="fifo", results=[[BROKEN]])
    for number in range(4):
        producer.produce(False, {"n": number})
    drive(producer)
    assert [numbers(batch) for batch in producer.batches] == [[0], [0], [1], [2], [3]]


def test_a_batch_that_is_not_atomic_never_holds_two_messages_of_one_key() -> None:
    producer = ScriptedBatch(on_message=flaky())
    receipt = producer.produce_many(False, [{"n": n} for n in range(30)], keys=[None if n % 4 == 0 else f"k{n % 4}" for n in range(30)])
    drive(producer)
    for batch in producer.batches:
        keys = [message["n"] % 4 for message in batch if message["n"] % 4]
        assert len(keys) == len(set(keys))
    assert_order_per_key(producer, 4, keyless=0)
    assert receipt.delivered


def test_messages_that_failed_in_different_ways_stay_in_the_order_of_their_key() -> None:
    shares = itertools.cycle([1.0, 0.0])
    producer = AtomicBatch(results=[[BROKEN, Outcome.FAILED, RetryAfter(2)]], jitter=lambda: next(shares))
    for number in range(3):
        producer.produce(False, {"n": number}, key="k")
    producer.clock.at(0.01, lambda: producer.produce(False, {"n": 3}, key="k"))
    drive(producer)
    assert numbers(producer.sent) == [0, 1, 2, 3]


def test_messages_that_failed_in_different_ways_stay_in_total_order() -> None:
    producer = AtomicBatch(results=[[Outcome.DELIVERED, BROKEN, Outcome.FAILED, Disconnected(), *[Outcome.FAILED] * 3]], ordering="fifo")
    for number in range(7):
        producer.produce(False, {"n": number})
    drive(producer)
    assert numbers(producer.sent) == list(range(7))
    assert producer.statistics().resets == 1


def flaky() -> Any:
    """Fails every third message once."""
    failed: set[int] = set()

    def on_message(message: dict[str, Any]) -> object:
        if message["n"] % 3 == 0 and message["n"] not in failed:
            failed.add(message["n"])
            return BROKEN
        return None

    return on_message


def assert_order_per_key(producer: Scripted, keys: int, keyless: int | None = None) -> None:
    for key in range(keys):
        mine = [number for number in numbers(producer.sent) if number % keys == key]
        assert key == keyless or mine == sorted(mine)


# --- the breaker ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Scripted, ScriptedBatch])
def test_the_breaker_opens_probes_with_one_message_and_closes(kind: type[Scripted]) -> None:
    up_from = 100.0
    producer: Scripted

    def down(message: dict[str, Any]) -> None:
        if producer.clock.now < up_from:
            raise BROKEN

    producer = kind(on_send=down)
    states: list[BreakerState] = []
    tried: list[int] = []
    for number in range(200):
        producer.produce(False, {"n": number})
    producer.clock.at(50.0, lambda: states.append(producer.statistics().breaker))
    producer.clock.at(50.0, lambda: tried.append(len(producer.tried)))
    producer.clock.at(99.9, lambda: tried.append(len(producer.tried)))
    producer.clock.at(200.0, lambda: states.append(producer.statistics().breaker))
    assert drive(producer).delivered == 200
    assert states == [BreakerState.OPEN, BreakerState.CLOSED]
    assert tried[1] - tried[0] <= 12  # fifty seconds of outage: single probes with growing delays, not a storm


def test_with_the_breaker_open_poison_and_fresh_messages_are_tried_by_turns() -> None:
    producer = Scripted(on_send=refuse(set(range(6)), ValueError("poison")))
    for number in range(20):
        producer.produce(False, {"n": number})
    drive(producer, seconds=3600.0, timeout=0.0)
    assert sorted(numbers(producer.sent)) == list(range(6, 20))


@pytest.mark.parametrize(("rate", "seconds"), [(10, 9.9), (1, 99.0), (1000, 0.0)])
def test_rate_limit_lets_through_exactly_so_many_messages_a_second(rate: float, seconds: float) -> None:
    producer = Scripted(rate_limit=rate)
    for number in range(100):
        producer.produce(False, {"n": number})
    drive(producer)
    times = producer.times("send")
    assert times[-1] == pytest.approx(seconds)
    for second in range(int(seconds)):
        assert sum(second <= when < second + 1 for when in times) <= rate + max(1.0, rate * 0.1)


def test_a_batch_that_fails_with_the_connection_stays_whole_order_and_all() -> None:
    producer = AtomicBatch(results=[Disconnected("gone")])
    for number in range(10):
        producer.produce(False, {"n": number}, key="k")
    drive(producer)
    check(producer.statistics())
    assert numbers(producer.sent) == list(range(10))
