"""The contract: how often and when a message is tried, when the connection is reset, and what the exceptions say."""

from __future__ import annotations

import math
from typing import Any

import pytest

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, RetryAfter
from standpipe.core.outcome import RETRY_AFTER_MAX
from standpipe.delivery.breaker import BreakerState
from standpipe.delivery.receipt import State
from tests.unit.delivery.scripted import Scripted, check, drive

BROKEN = ConnectionResetError("broken pipe")


def test_nothing_happens_before_the_first_message() -> None:
    producer = Scripted()
    assert producer.events == []
    report = producer.shutdown(timeout=1.0)
    assert producer.events == []
    assert report.complete


def test_a_message_is_sent_once_over_one_connection() -> None:
    producer = Scripted()
    receipt = producer.produce(is_error=False, message={"data": "example"})
    assert not receipt.done()
    report = drive(producer)
    assert producer.names() == ["safe_connect", "connect", "send", "close"]
    assert producer.sent == [{"data": "example"}]
    assert receipt.state is State.DELIVERED
    assert (report.delivered, report.undelivered) == (1, 0)


@pytest.mark.parametrize("max_retries", [1, 2, 5, 8])
def test_a_failing_message_is_tried_once_and_max_retries_times_more_before_the_reset(max_retries: int) -> None:
    producer = Scripted(sends=[BROKEN] * (max_retries + 1), max_retries=max_retries)
    producer.produce(False, {"n": 1})
    drive(producer)
    calls = ["send"] * (max_retries + 1)
    assert producer.names() == ["safe_connect", "connect", *calls, "close", "safe_connect", "connect", "send", "close"]
    now = check(producer.statistics())
    assert (now.attempts, now.retries, now.resets, now.connects) == (max_retries + 2, max_retries + 1, 1, 2)
    assert (now.delivered, now.possible_duplicates) == (1, 1)


def test_the_delays_between_retries_double_from_a_tenth_of_a_second() -> None:
    producer = Scripted(sends=[BROKEN] * 6)
    producer.produce(False, {"n": 1})
    drive(producer)
    assert producer.gaps("send") == [0.1, 0.2, 0.4, 0.8, 1.6, 0.0]  # after the reset the retries start again at once


def test_the_retries_start_again_after_each_reset_and_never_end() -> None:
    producer = Scripted(sends=[BROKEN] * 6 * 40, max_retries=5)
    producer.produce(False, {"n": 1})
    report = drive(producer)
    assert producer.statistics().resets == 40
    assert report.delivered == 1
    one_round = [0.1, 0.2, 0.4, 0.8, 1.6]
    assert producer.gaps("send")[:5] == producer.gaps("send")[6:11] == one_round
    assert max(producer.gaps("send")) <= 30.0


def test_the_delay_is_a_random_share_of_its_bound() -> None:
    shares = iter([0.5, 0.0, 0.25, 1.0])
    producer = Scripted(sends=[BROKEN] * 4, jitter=lambda: next(shares))
    producer.produce(False, {"n": 1})
    drive(producer)
    assert producer.gaps("send") == [0.05, 0.0, 0.1, 0.8]


def test_delays_are_bounded_by_the_configured_maximum() -> None:
    producer = Scripted(sends=[BROKEN] * 9, max_retries=9, retry={"initial": "1s", "factor": 3, "max": "10s"})
    producer.produce(False, {"n": 1})
    drive(producer)
    assert producer.gaps("send") == [1.0, 3.0, 9.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0]


def test_connecting_is_tried_max_retries_times_then_again_after_sixty_seconds() -> None:
    producer = Scripted(connects=[OSError("no route")] * 11)
    producer.produce(False, {"n": 1})
    drive(producer)
    growing = [0.1, 0.2, 0.4, 0.8]
    assert producer.gaps("connect") == [*growing, 60.0, *growing, 60.0, 0.1]
    now = producer.statistics()
    assert (now.connects, now.connect_failures, now.delivered) == (1, 11, 1)


def test_reconnecting_after_a_reset_follows_the_same_rules() -> None:
    producer = Scripted(sends=[Disconnected("gone")], connects=[None, *[OSError("refused")] * 5], reconnect_wait="7s")
    producer.produce(False, {"n": 1})
    drive(producer)
    assert producer.names()[:6] == ["safe_connect", "connect", "send", "close", "safe_connect", "connect"]
    assert producer.gaps("connect") == [0.0, 0.1, 0.2, 0.4, 0.8, 7.0]


def test_the_breaker_that_an_unreachable_destination_opened_closes_with_the_first_delivery() -> None:
    producer = Scripted(connects=[OSError("no route")] * 5)
    seen: list[BreakerState] = []
    for number in range(10):
        producer.produce(False, {"n": number})
    producer.clock.at(30.0, lambda: seen.append(producer.statistics().breaker))
    producer.clock.at(100.0, lambda: seen.append(producer.statistics().breaker))
    assert drive(producer).delivered == 10
    assert seen == [BreakerState.HALF_OPEN, BreakerState.CLOSED]


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(1),
        KeyboardInterrupt(),
        MemoryError(),
        GeneratorExit(),
        StopIteration(),
        RecursionError(),
        AssertionError(),
        NotSent(),
        BaseExceptionGroup("several", [KeyboardInterrupt()]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_exception_in_a_send_ends_delivery_or_drops_the_message(error: BaseException) -> None:
    producer = Scripted(sends=[error])
    producer.produce(False, {"n": 1})
    producer.produce(False, {"n": 2})
    assert drive(producer).delivered == 2
    assert sorted(m["n"] for m in producer.sent) == [1, 2]
    assert producer.statistics().last_error is not None


def test_an_exception_whose_text_cannot_be_had_is_a_failure_like_any_other() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    producer = Scripted(sends=[Unspeakable()] * 3)
    producer.produce(False, {"n": 1})
    assert drive(producer).delivered == 1
    assert producer.gaps("send") == [0.1, 0.2, 0.4]
    assert producer.statistics().last_error == "Unspeakable: (its text cannot be had)"


@pytest.mark.parametrize("error", [OSError("close"), SystemExit(2), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_an_exception_in_close_changes_nothing(error: BaseException) -> None:
    class Unclosable(Scripted):
        def _close(self) -> None:
            super()._close()
            raise error

    producer = Unclosable(sends=[Disconnected("gone")])
    producer.produce(False, {"n": 1})
    assert drive(producer).delivered == 1
    assert producer.names() == ["safe_connect", "connect", "send", "close", "safe_connect", "connect", "send", "close"]


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), MemoryError()], ids=lambda error: type(error).__name__)
def test_no_exception_in_connect_ends_delivery(error: BaseException) -> None:
    producer = Scripted(connects=[error])
    producer.produce(False, {"n": 1})
    assert drive(producer).delivered == 1


def test_what_a_connect_that_failed_half_way_has_opened_is_closed_at_the_end() -> None:
    producer = Scripted(connects=[OSError("authentication failed")] * 100)
    producer.produce(False, {"n": 1})
    report = drive(producer, seconds=30.0, timeout=1.0)
    assert report.undelivered == 1
    assert producer.names()[-1] == "close"


def test_disconnected_resets_at_once_and_tries_the_same_message_again() -> None:
    producer = Scripted(sends=[Disconnected("gone"), Disconnected("gone", arrived=False)])
    producer.produce(False, {"n": 1})
    drive(producer)
    assert producer.names() == [*["safe_connect", "connect", "send", "close"] * 2, "safe_connect", "connect", "send", "close"]
    assert producer.gaps("send")[0] == 0.0
    assert producer.statistics().resets == 2
    assert producer.statistics().possible_duplicates == 1


def test_what_has_certainly_not_arrived_is_no_possible_duplicate() -> None:
    producer = Scripted(sends=[NotSent("queue full"), ConnectionRefusedError(), Disconnected(arrived=False)])
    producer.produce(False, {"n": 1})
    drive(producer)
    assert producer.statistics().possible_duplicates == 0


@pytest.mark.parametrize(
    ("seconds", "pause"),
    [
        (0, 0.0),
        (-5, 0.0),
        (math.nan, 0.0),
        ("soon", 0.0),
        (None, 0.0),
        (2.5, 2.5),
        (1e9, RETRY_AFTER_MAX),
        (math.inf, RETRY_AFTER_MAX),
        (10**400, RETRY_AFTER_MAX),
    ],
    ids=lambda value: str(value)[:10],
)
def test_retry_after_is_waited_for_within_reason(seconds: Any, pause: float) -> None:
    producer = Scripted(sends=[RetryAfter(seconds, "slow down")])
    producer.produce(False, {"n": 1})
    drive(producer)
    assert producer.gaps("send") == [pause]


def test_retry_after_holds_back_every_message_and_counts_no_retry() -> None:
    producer = Scripted(sends=[RetryAfter(5)] * 20, max_retries=1)
    for number in range(3):
        producer.produce(False, {"n": number})
    drive(producer)
    assert producer.times("send")[:4] == [0.0, 5.0, 10.0, 15.0]
    assert producer.statistics().resets == 0
    assert producer.statistics().delivered == 3


def test_a_rejected_message_is_tried_once_and_its_receipt_says_why() -> None:
    reason = Reject("no such field")
    producer = Scripted(sends=[reason])
    first, second = producer.produce(False, {"n": 1}), producer.produce(False, {"n": 2})
    report = drive(producer)
    assert (report.delivered, report.dead_lettered) == (1, 1)
    assert (first.state, first.error) == (State.DEAD_LETTERED, reason)
    assert (second.state, second.error) == (State.DELIVERED, None)
    assert producer.statistics().attempts == 2


def test_max_resets_puts_the_message_aside_after_that_many_resets_and_their_retries() -> None:
    producer = Scripted(sends=[BROKEN] * 100, max_retries=2, max_resets=3)
    receipt = producer.produce(False, {"n": 1})
    report = drive(producer)
    assert report.dead_lettered == 1
    assert receipt.state is State.DEAD_LETTERED
    assert producer.statistics().attempts == 3 * 4
    assert next(iter(producer.dead_letters)).reason.value == "exhausted"


def test_resets_before_a_messages_first_failure_do_not_count_against_it() -> None:
    before = [Disconnected(), None, Disconnected(), None]
    producer = Scripted(sends=[*before, RetryAfter(1), *[BROKEN] * 3], max_retries=2, max_resets=1)
    receipts = [producer.produce(False, {"n": number}) for number in range(3)]
    assert drive(producer).delivered == 3
    assert [receipt.state for receipt in receipts] == [State.DELIVERED] * 3


@pytest.mark.parametrize("moment", [0.05, 0.3, 3.0, 40.0, 61.0])
def test_shutdown_ends_every_wait_at_once(moment: float) -> None:
    producer = Scripted(connects=[OSError("down")] * 5, reconnect_wait="60s")
    producer.produce(False, {"n": 1})
    producer.clock.at(moment, lambda: producer.shutdown(timeout=5.0))
    producer._worker()
    report = producer.shutdown(timeout=5.0)
    assert report.delivered == 1
    assert moment in producer.times("connect")


def test_shutdown_with_nothing_pending_does_not_wait_for_a_connection() -> None:
    producer = Scripted(connects=[OSError("down")] * 1000)
    producer.clock.at(20.0, lambda: producer.shutdown(timeout=500.0))
    producer._worker()
    assert producer.clock.now == 20.0


def test_shutdown_during_the_pause_of_retry_after_sends_at_once() -> None:
    producer = Scripted(sends=[RetryAfter(1000)])
    producer.produce(False, {"n": 1})
    report = drive(producer, seconds=10.0, timeout=1.0)
    assert report.delivered == 1
    assert producer.times("send") == [0.0, 10.0]


def test_while_shutting_down_connecting_goes_on_until_the_time_is_up() -> None:
    producer = Scripted(connects=[OSError("down")] * 10_000)
    receipt = producer.produce(False, {"n": 1})
    report = drive(producer, seconds=30.0, timeout=100.0)
    assert (report.undelivered, receipt.state) == (1, State.UNDELIVERED)
    assert [message.content() for message in report.messages] == [{"n": 1}]
    assert 129.0 <= producer.clock.now <= 130.0


@pytest.mark.parametrize("where", ["sends", "connects"])
def test_what_only_a_person_can_mend_raises_an_alarm_and_keeps_the_messages(where: str, caplog: pytest.LogCaptureFixture) -> None:
    faults: Any = [Misconfigured(60.0, "the broker refuses the password; correct it")] * 8
    settings: dict[str, Any] = {where: faults, "reconnect_wait": 1.0}
    producer = Scripted(**settings)
    for number in range(3):
        producer.produce(False, {"n": number})
    drive(producer)
    now = check(producer.statistics())
    assert (now.delivered, now.dead_lettered) == (3, 0)
    alarms = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert alarms
    assert "the broker refuses the password; correct it" in alarms[0]
