"""What becomes of each message, by what the broker says: acks, nacks, returns, and the end of the channel."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pika import exceptions, frame, spec

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError
from standpipe.core.outcome import Outcome
from standpipe.delivery.report import Report
from standpipe.producers.rabbitmq_config import RabbitmqProducerConfig
from standpipe.producers.rabbitmq_frames import Frames
from standpipe.producers.rabbitmq_window import Sending, Window
from tests.unit.producers.batches import batch_of, given

FRAMES = Frames(1, 131_072, content_type="application/json", persistent=True, mandatory=True)
NO_ROUTE = {"reply_code": 312, "reply_text": "NO_ROUTE"}


class Channel:
    """A window, what it has written, and the reports of what was published; the test is the broker."""

    def __init__(self, suspects: frozenset[str] = frozenset(), body_max: int | None = None, **settings: Any) -> None:
        fields = {"name": "r", "url": "amqp://h", "exchange": "shop", "routing_key": "eu", **settings}
        self.written: list[bytes] = []
        self.window = Window(RabbitmqProducerConfig.model_validate(fields), self.written.append, suspects)
        self.window.body_max = body_max

    def publish(self, *ids: str, key: str = "eu", exchange: str = "shop", body: bytes = b"{}", foreign: bool = False) -> Report:
        report = Report(batch_of(given(*({"n": n} for n in range(len(ids))))), 0.0, lambda _: None)
        count = len(ids)
        sending = Sending(report, [exchange] * count, [key] * count, ids, [body] * count, [{}] * count)
        self.window.publish(sending, FRAMES, (), foreign)
        return report

    def ack(self, tag: int, multiple: bool = False) -> None:
        self.window.on_confirm(frame.Method(1, spec.Basic.Ack(tag, multiple)))

    def nack(self, tag: int, multiple: bool = False) -> None:
        self.window.on_confirm(frame.Method(1, spec.Basic.Nack(tag, multiple)))

    def give_back(self, id: str, mark: str | None = None) -> None:
        method = spec.Basic.Return(**NO_ROUTE, exchange="shop", routing_key="eu")
        self.window.on_return(None, method, spec.BasicProperties(message_id=id, correlation_id=mark), b"{}")

    def close(self, code: int, text: str, channel: bool = True) -> None:
        kind = exceptions.ChannelClosedByBroker if channel else exceptions.ConnectionClosedByBroker
        self.window.on_lost(kind(code, text))

    @property
    def published(self) -> int:
        return b"".join(self.written).count(b"\x00\x3c\x00\x28")  # class basic, method publish


def outcomes(report: Report, count: int) -> list[Any]:
    found = [report.result(position) for position in range(count)]
    return [type(each) if isinstance(each, BaseException) else each for each in found]


D = Outcome.DELIVERED


def test_nothing_counts_before_the_broker_has_confirmed_it() -> None:
    channel = Channel()
    report = channel.publish("a", "b")
    assert outcomes(report, 2) == [None, None]
    assert len(channel.window) == 2


def test_ack_of_many_settles_all_up_to_it_and_no_more() -> None:
    channel = Channel()
    first, second = channel.publish("a", "b"), channel.publish("c", "d")
    channel.ack(3, multiple=True)
    assert outcomes(first, 2) == [D, D]
    assert outcomes(second, 2) == [D, None]
    channel.ack(0, multiple=True)  # 0: everything so far
    assert outcomes(second, 2) == [D, D]
    assert len(channel.window) == 0


def test_acks_in_any_order_and_mixed_with_acks_of_many_settle_each_message_once() -> None:
    for seed in range(200):
        dice, channel = random.Random(seed), Channel()
        reports = [channel.publish(*(f"{n}-{m}" for m in range(3))) for n in range(5)]
        confirmed: set[int] = set()
        while len(confirmed) < 15:
            tag = dice.choice([tag for tag in range(1, 16) if tag not in confirmed])
            multiple = dice.random() < 0.3
            channel.ack(tag, multiple)
            confirmed |= set(range(1, tag + 1)) if multiple else {tag}
            told = {3 * n + m + 1 for n, report in enumerate(reports) for m in range(3) if report.result(m) is D}
            assert told == confirmed
        assert len(channel.window) == 0


def test_detail_is_delivery_tag_exchange_and_routing_key_unless_switched_off() -> None:
    report = (channel := Channel()).publish("a", "b")
    channel.ack(2, multiple=True)
    assert report.details_of(None) == [{"delivery_tag": tag, "exchange": "shop", "routing_key": "eu"} for tag in (1, 2)]
    report = (channel := Channel(details=False)).publish("a")
    channel.ack(1)
    assert report.details_of(None) is None


def test_returned_message_is_rejected_and_its_ack_does_not_make_it_delivered() -> None:
    channel = Channel()
    report = channel.publish("a", "b", "c")
    channel.give_back("b")
    channel.ack(3, multiple=True)
    assert outcomes(report, 3) == [D, Reject, D]
    reason = str(report.result(1))
    assert "NO_ROUTE" in reason
    assert "exchange 'shop', routing key 'eu'" in reason


def test_two_messages_with_one_id_on_their_way_are_told_apart_when_returned() -> None:
    channel = Channel()
    report = channel.publish("a", "a", foreign=True)
    assert b"\x011" in b"".join(channel.written)  # the second has a mark
    channel.give_back("a", mark="1")
    channel.ack(2, multiple=True)
    assert outcomes(report, 2) == [D, Reject]


def test_the_first_of_two_messages_with_one_id_is_told_apart_as_well() -> None:
    channel = Channel()
    report = channel.publish("a", "a", "a", foreign=True)
    channel.give_back("a")
    channel.give_back("a", mark="2")
    channel.ack(3, multiple=True)
    assert outcomes(report, 3) == [Reject, D, Reject]


def test_an_id_that_is_confirmed_needs_no_mark_any_more() -> None:
    channel = Channel(routing_key="{region}")
    channel.publish("a", foreign=True)
    channel.ack(1)
    first = channel.publish("a", foreign=True)
    channel.give_back("a")
    channel.ack(2)
    assert outcomes(first, 1) == [Reject]


def test_unroutable_messages_wait_if_the_configuration_says_so() -> None:
    channel = Channel(unroutable="wait")
    report = channel.publish("a")
    channel.give_back("a")
    assert outcomes(report, 1) == [Misconfigured]


def test_when_the_only_way_stops_leading_to_a_queue_the_connection_is_opened_anew_and_nothing_is_rejected() -> None:
    channel = Channel()
    channel.publish("a")
    channel.ack(1)
    report = channel.publish("b")
    channel.give_back("b")
    failure = report.result(0)
    assert isinstance(failure, Disconnected)
    assert failure.arrived is False


def test_way_that_never_led_to_a_queue_is_not_tried_again_and_again() -> None:
    channel = Channel(error_exchange="oops")
    channel.publish("a")
    channel.ack(1)
    for number in range(2, 5):  # the ack that follows a return says nothing about the way
        report = channel.publish(str(number), exchange="oops")
        channel.give_back(str(number))
        channel.ack(number)
        assert outcomes(report, 1) == [Reject]


def test_where_messages_decide_their_way_a_return_is_the_message_s_own_fault() -> None:
    channel = Channel(routing_key="{region}")
    channel.publish("a")
    channel.ack(1)
    report = channel.publish("b")
    channel.give_back("b")
    assert outcomes(report, 1) == [Reject]


def test_full_queue_is_left_alone_for_longer_and_longer_and_quickly_found_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("standpipe.producers.rabbitmq_window.time.monotonic", lambda: now[0])
    channel = Channel()
    waits: list[float] = []
    for number in range(9):
        report = channel.publish(f"{number}-a", f"{number}-b")
        channel.nack(2 * number + 2, multiple=True)
        failures = [report.result(position) for position in range(2)]
        assert all(isinstance(failure, RetryAfter) and not isinstance(failure, Misconfigured) for failure in failures)
        seconds = {failure.seconds for failure in failures if isinstance(failure, RetryAfter)}
        waits += seconds
        now[0] += 10.0
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    channel.publish("x")
    channel.ack(19)
    report = channel.publish("y")
    channel.nack(20)
    assert isinstance(failure := report.result(0), RetryAfter)
    assert failure.seconds == 0.1


def test_full_queue_holds_back_nobody_else_where_messages_go_different_ways() -> None:
    channel = Channel(routing_key="{region}")
    report = channel.publish("a")
    channel.nack(1)
    assert outcomes(report, 1) == [SendError]


def test_unconfirmed_messages_may_have_arrived_when_the_connection_breaks() -> None:
    channel = Channel()
    report = channel.publish("a", "b")
    channel.ack(1)
    channel.window.on_lost(exceptions.StreamLostError("gone"))
    assert outcomes(report, 2) == [D, Disconnected]
    failure = report.result(1)
    assert isinstance(failure, Disconnected)
    assert failure.arrived is None
    assert channel.window.suspects == frozenset()


def test_unknown_exchange_is_the_configuration_s_fault_and_the_other_exchange_s_messages_are_only_tried_again() -> None:
    channel = Channel(error_exchange="oops")
    normal, error = channel.publish("a"), channel.publish("b", exchange="oops")
    channel.close(404, "NOT_FOUND - no exchange 'oops' in vhost '/'")
    assert outcomes(normal, 1) == [Disconnected]
    assert outcomes(error, 1) == [Misconfigured]


@pytest.mark.parametrize(("exchange", "shown"), [("shop", "shop"), ("", "amq.default")])
def test_missing_permission_is_the_configuration_s_fault(exchange: str, shown: str) -> None:
    channel = Channel(exchange=exchange)
    report = channel.publish("a", exchange=exchange)
    channel.close(403, f"ACCESS_REFUSED - write access to exchange '{shown}' in vhost '/' refused for user 'u'")
    assert outcomes(report, 1) == [Misconfigured]


def test_routing_key_from_a_message_that_the_user_may_not_write_is_the_message_s_fault() -> None:
    channel = Channel(routing_key="{region}")
    bad, good = channel.publish("a", key="secret"), channel.publish("b", key="eu")
    channel.close(403, "ACCESS_REFUSED - write access to topic 'secret' in exchange 'shop' in vhost '/' refused for user 'u'")
    assert outcomes(bad, 1) == [Reject]
    assert outcomes(good, 1) == [Disconnected]


def test_size_that_the_broker_takes_is_learned_and_larger_messages_are_rejected_before_they_do_harm() -> None:
    channel = Channel()
    reports = [channel.publish("a"), channel.publish("b", body=b"x" * 2000)]
    channel.close(406, "PRECONDITION_FAILED - message size 2000 is larger than configured max size 1000")
    assert [outcomes(report, 1) for report in reports] == [[Disconnected], [Disconnected]]
    assert channel.window.body_max == 1000
    assert channel.window.suspects == frozenset()
    channel = Channel(body_max=channel.window.body_max)
    small, large = channel.publish("a"), channel.publish("b", body=b"x" * 1001)
    assert outcomes(large, 1) == [Reject]
    assert "the broker takes 1000" in str(large.result(0))
    channel.ack(1)  # the large one took no tag
    assert outcomes(small, 1) == [D]


@pytest.mark.parametrize("text", ["message size 5 larger than max size 4", "message size 5 is larger than configured max size 4"])
def test_every_version_s_words_about_size_are_understood(text: str) -> None:
    channel = Channel()
    channel.publish("a")
    channel.close(406, f"PRECONDITION_FAILED - {text}")
    assert channel.window.body_max == 4


def test_message_that_is_alone_when_the_channel_is_closed_for_it_is_rejected_with_the_broker_s_words() -> None:
    channel = Channel()
    report = channel.publish("a")
    channel.close(406, "PRECONDITION_FAILED - invalid message")
    assert outcomes(report, 1) == [Reject]
    assert "invalid message" in str(report.result(0))


def test_messages_of_which_one_is_at_fault_are_sent_one_by_one_until_it_is_found() -> None:
    channel = Channel()
    channel.publish("a", "bad", "c")
    channel.close(406, "PRECONDITION_FAILED - invalid message")
    assert channel.window.suspects == {"a", "bad", "c"}

    channel = Channel(suspects=channel.window.suspects)
    report = channel.publish("x", "a", "bad", "c")
    assert channel.published == 1  # x is no suspect; a must be alone
    channel.ack(1)
    assert channel.published == 2
    channel.ack(2)
    assert channel.published == 3
    channel.close(406, "PRECONDITION_FAILED - invalid message")
    assert outcomes(report, 4) == [D, D, Reject, NotSent]
    assert channel.window.suspects == frozenset()


def test_nothing_overtakes_a_suspect_and_many_go_at_once_again_when_all_are_cleared() -> None:
    channel = Channel(suspects=frozenset({"a"}))
    first = channel.publish("a", "b", "c")
    assert channel.published == 1
    channel.ack(1)
    assert channel.published == 3
    second = channel.publish("d", "e")
    assert channel.published == 5
    channel.ack(5, multiple=True)
    assert outcomes(first, 3) == [D, D, D]
    assert outcomes(second, 2) == [D, D]


def test_broker_that_fails_by_itself_makes_nobody_a_suspect() -> None:
    for code, text in ((541, "INTERNAL_ERROR"), (320, "CONNECTION_FORCED - broker forced connection closure")):
        channel = Channel()
        report = channel.publish("a")
        channel.close(code, text, channel=False)
        assert outcomes(report, 1) == [Disconnected]
        assert channel.window.suspects == frozenset()


def test_message_that_cannot_be_written_takes_no_tag_and_harms_no_other() -> None:
    channel = Channel()
    report = channel.publish("a", "x" * 256, "\ud800", "d")
    assert outcomes(report, 4) == [None, Reject, Reject, None]
    channel.ack(2, multiple=True)
    assert outcomes(report, 4) == [D, Reject, Reject, D]
