"""What becomes of each message, by what the broker says: acknowledgements, refusals, and the end of the connection."""

from __future__ import annotations

import random
from typing import Any

import pytest

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError
from standpipe.core.outcome import Outcome
from standpipe.delivery.report import Report
from standpipe.producers.mqtt_errors import Closed, Ended
from standpipe.producers.mqtt_packets import PUBACK, PUBCOMP, PUBREC, Ack, Writer
from standpipe.producers.mqtt_window import STRIKES_FAULTY, STRIKES_SUSPECT, Sending, Suspicion, Window
from tests.unit.producers.batches import batch_of, given

D = Outcome.DELIVERED


class Connection:
    """A window, what it has written, and the reports of what was published; the test is the broker."""

    def __init__(self, suspicion: Suspicion | None = None, qos: int = 1, aliases: int = 0, **settings: Any) -> None:
        self.written: list[bytes] = []
        self.unheard: list[str] = []
        self.suspicion = suspicion or Suspicion()
        self.qos = qos
        writer = Writer(v5=True, qos=qos, content_type="application/json", expiry=None, alias_max=aliases)
        fields: dict[str, Any] = {"limit": 100, "packet_max": 1000, "details": True, "chosen": False, **settings}
        self.window = Window(writer, self.written.append, self.suspicion, qos=qos, on_unheard=self.unheard.append, **fields)

    def publish(self, *ids: str, body: bytes = b"{}", skip: tuple[int, ...] = (), header: str = "") -> Report:
        report = Report(batch_of(given(*({"n": n} for n in range(len(ids))))), 0.0, lambda _: None)
        count = len(ids)
        sending = Sending(report, ["t"] * count, ids, [body] * count, [{"header": header} if header else {}] * count, [False] * count)
        self.window.publish(sending, skip, len(b"".join(self.written)))
        return report

    def ack(self, *packet_ids: int, code: int = 0, kind: int = PUBACK) -> None:
        self.window.on_acks([Ack(kind, packet_id, code, "") for packet_id in packet_ids])

    @property
    def published(self) -> int:
        return b"".join(self.written).count(b"\x00\x01t")


def outcomes(report: Report, count: int) -> list[Any]:
    found = [report.result(position) for position in range(count)]
    return [type(each) if isinstance(each, BaseException) else each for each in found]


def test_nothing_counts_before_the_broker_has_acknowledged_it() -> None:
    connection = Connection()
    report = connection.publish("a", "b", "c", skip=(1,))
    assert outcomes(report, 3) == [None, None, None]
    assert (len(connection.window), connection.published) == (2, 2)
    connection.ack(2)
    assert outcomes(report, 3) == [None, None, D]


def test_no_more_are_sent_than_the_limit_and_each_acknowledgement_makes_room_for_one() -> None:
    connection = Connection(limit=3)
    report = connection.publish(*"abcdefgh")
    assert (connection.published, connection.window.waiting) == (3, 5)
    connection.ack(2)
    assert (connection.published, connection.window.waiting) == (4, 4)
    connection.ack(1, 3, 4)
    assert (connection.published, connection.window.waiting) == (7, 1)
    connection.ack(5, 6, 7)
    connection.ack(8)
    assert outcomes(report, 8) == [D] * 8


def test_acknowledgements_in_any_order_settle_each_message_once_and_strange_ones_none() -> None:
    for seed in range(100):
        dice, connection = random.Random(seed), Connection(limit=7)
        reports = [connection.publish(*(f"{n}-{m}" for m in range(3))) for n in range(5)]
        while len(connection.window):
            connection.ack(dice.choice(list(connection.window._out)), dice.choice((40, 50, 60)))
        assert [outcomes(report, 3) for report in reports] == [[D] * 3] * 5
        assert connection.published == 15


def test_packet_ids_go_round_and_leave_out_those_on_their_way() -> None:
    connection = Connection(limit=3, details=False)
    connection.publish("stuck")
    connection.window._id = 65_534
    connection.publish("a", "b")
    assert list(connection.window._out) == [1, 65_535, 2]


def test_message_of_qos_2_is_released_when_received_and_counts_when_complete() -> None:
    connection = Connection(qos=2)
    report = connection.publish("a", "b")
    connection.ack(1, kind=PUBREC)
    assert connection.written[-1] == b"\x62\x02\x00\x01"
    assert outcomes(report, 2) == [None, None]
    connection.ack(1, kind=PUBCOMP)
    assert outcomes(report, 2) == [D, None]
    written = len(connection.written)
    connection.ack(2, kind=PUBREC, code=0x97)
    assert outcomes(report, 2) == [D, RetryAfter]
    assert len(connection.written) == written  # what was refused is not released


def test_message_of_qos_0_counts_when_the_socket_has_taken_all_of_it() -> None:
    connection = Connection(qos=0)
    report = connection.publish("a", "b")
    size = len(b"".join(connection.written)) // 2
    connection.window.on_flushed(size - 1)
    assert outcomes(report, 2) == [None, None]
    connection.window.on_flushed(2 * size - 1)
    assert outcomes(report, 2) == [D, None]
    late = connection.publish("c")
    connection.window.on_flushed(3 * size)
    assert (outcomes(report, 2), outcomes(late, 1)) == ([D, D], [D])


def test_detail_is_topic_packet_id_and_reason_unless_switched_off() -> None:
    report = (connection := Connection()).publish("a", "b")
    connection.ack(1)
    connection.ack(2, code=0x10)
    assert report.details_of(None) == [
        {"topic": "t", "packet_id": 1, "reason": "success"},
        {"topic": "t", "packet_id": 2, "reason": "no matching subscribers"},
    ]
    assert connection.unheard == ["t"]
    report = (connection := Connection(details=False)).publish("a")
    connection.ack(1)
    assert report.details_of(None) is None


@pytest.mark.parametrize(
    ("code", "chosen", "kind"),
    [
        (0x90, False, Reject),
        (0x95, False, Reject),
        (0x99, False, Reject),
        (0x87, False, Misconfigured),
        (0x87, True, Reject),
        (0x97, False, RetryAfter),
        (0x91, False, Disconnected),
        (0x80, False, SendError),
        (0x83, False, SendError),
        (0xEE, False, SendError),
    ],
)
def test_reason_of_a_refusal_decides(code: int, chosen: bool, kind: type[Exception]) -> None:
    connection = Connection(chosen=chosen)
    report = connection.publish("a", "b")
    connection.ack(1, code=code)
    connection.ack(2)
    assert outcomes(report, 2) == [kind, D]


def test_message_that_is_too_large_is_rejected_before_it_does_harm() -> None:
    connection = Connection()
    large, small = connection.publish("a", body=b"x" * 1000), connection.publish("b")
    assert outcomes(large, 1) == [Reject]
    assert "1000 is the most" in str(large.result(0))
    assert connection.published == 1
    connection.ack(2)
    assert outcomes(small, 1) == [D]


def test_what_was_sent_may_have_arrived_when_the_connection_is_lost_and_what_waited_has_not() -> None:
    connection = Connection(limit=1)
    report = connection.publish("a", "b")
    connection.window.on_lost(Closed("gone"))
    assert outcomes(report, 2) == [Disconnected, NotSent]
    failure = report.result(0)
    assert isinstance(failure, Disconnected)
    assert failure.arrived is None
    assert len(connection.window) == 0


def test_reason_that_names_a_fault_makes_messages_go_one_by_one_until_it_is_found() -> None:
    first = Connection()
    first.publish("a", "bad", "c")
    first.window.on_lost(Ended(0x95))
    assert first.suspicion.ids == {"a", "bad", "c"}

    second = Connection(first.suspicion)
    report = second.publish("x", "a", "bad", "c")
    assert second.published == 1  # x is no suspect; a must be alone
    second.ack(1)
    assert second.published == 2
    second.ack(2)
    assert second.published == 3
    second.window.on_lost(Ended(0x95))
    assert outcomes(report, 4) == [D, D, Reject, NotSent]
    assert second.suspicion.ids == {"c"}

    third = Connection(second.suspicion)
    report = third.publish("c", "d", "e")
    assert third.published == 1
    third.ack(1)
    assert third.published == 3  # all are cleared
    assert third.suspicion.ids == set()
    assert outcomes(report, 3) == [D, None, None]


def test_connection_that_is_closed_without_a_reason_again_and_again_finds_the_message_at_last() -> None:
    suspicion = Suspicion()
    for attempt in range(STRIKES_FAULTY):
        connection = Connection(suspicion)
        report = connection.publish("bad", "good")
        alone = attempt >= STRIKES_SUSPECT
        assert connection.published == (1 if alone else 2)
        if not alone:
            connection.ack(2)
        connection.window.on_lost(Closed("closed by the other side"))
        assert outcomes(report, 1) == [Reject if attempt == STRIKES_FAULTY - 1 else Disconnected]
    assert (suspicion.ids, suspicion.strikes) == (set(), {})


@pytest.mark.parametrize("error", [TimeoutError("slow"), Ended(0x8B), Ended(0x8E), Ended(0x97)])
def test_connection_that_ends_for_other_reasons_makes_nobody_a_suspect(error: Exception) -> None:
    suspicion = Suspicion()
    for _ in range(2 * STRIKES_FAULTY):
        connection = Connection(suspicion)
        report = connection.publish("a")
        connection.window.on_lost(error)
        assert outcomes(report, 1) == [Disconnected]
    assert (suspicion.ids, suspicion.strikes) == (set(), {})


def test_message_that_is_acknowledged_after_all_is_no_suspect_any_more() -> None:
    suspicion = Suspicion()
    for _ in range(STRIKES_SUSPECT):
        connection = Connection(suspicion)
        connection.publish("a", "b")
        connection.window.on_lost(Closed("gone"))
    assert suspicion.ids == {"a", "b"}
    connection = Connection(suspicion)
    connection.publish("a", "b")
    connection.ack(1)
    connection.ack(2)
    assert (suspicion.ids, suspicion.strikes) == (set(), {})


def test_oldest_is_the_message_that_has_been_on_its_way_for_the_longest_time() -> None:
    for qos in (0, 1):
        connection = Connection(qos=qos)
        assert connection.window.oldest() is None
        connection.publish("a")
        first = connection.window.oldest()
        connection.publish("b")
        assert first is not None
        assert connection.window.oldest() == first


def test_messages_of_qos_0_are_never_held_back() -> None:
    suspicion = Suspicion()
    for _ in range(2 * STRIKES_FAULTY):
        connection = Connection(suspicion, qos=0)
        report = connection.publish("a", "b")
        assert (connection.published, connection.window.waiting) == (2, 0)
        connection.window.on_lost(Closed("gone"))
        assert outcomes(report, 2) == [Disconnected, Disconnected]


@pytest.mark.parametrize("refusal", ["by the broker", "too large"])
def test_topic_is_named_again_after_a_message_with_its_number_was_refused(refusal: str) -> None:
    connection = Connection(aliases=5)
    connection.publish("a")
    connection.publish("b")
    assert connection.published == 1
    if refusal == "too large":
        connection.publish("c", body=b"x" * 1000)
    else:
        connection.ack(1, code=0x97)
    connection.publish("d")
    assert connection.published == 2


def test_number_of_a_topic_counts_as_told_only_if_the_message_that_tells_it_can_be_written() -> None:
    connection = Connection(aliases=5)
    refused = connection.publish("a", header="x" * 70_000)
    assert outcomes(refused, 1) == [Reject]
    connection.publish("b")
    assert connection.published == 1
