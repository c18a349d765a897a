"""What the producer makes of the reasons a broker can give, for a message, at login and when it ends a connection."""

from __future__ import annotations

import socket
import threading
from collections import deque
from contextlib import closing
from typing import Any

import pytest

from standpipe.core.errors import Misconfigured, NotSent, RetryAfter
from standpipe.producers.mqtt import MqttProducer
from tests.integration.mqtt.broker import WITHIN, producer
from tests.integration.mqtt.scripted import PUBLISH, PUBREL, ScriptedBroker, ack, disconnect, packet_id
from tests.servers.waiting import until

PUBACK, PUBREC, PUBCOMP = 4, 5, 7
PINGRESP = b"\xd0\x00"
QUICK_RETRY: dict[str, Any] = {"retry": {"initial": 0.01, "max": 0.02}, "reconnect_wait": 0.02}


def connack(code: int, properties: bytes = b"") -> bytes:
    return bytes((0x20, 3 + len(properties), 0, code, len(properties))) + properties


def welcome(properties: bytes) -> bytes:
    return connack(0, properties)


@pytest.mark.parametrize(("code", "says"), [(0x90, "topic name invalid"), (0x95, "packet too large"), (0x99, "payload format invalid")])
@pytest.mark.parametrize("qos", [1, 2])
def test_message_that_is_refused_for_good_is_rejected_with_the_broker_s_words(unique_name: str, code: int, says: str, qos: int) -> None:
    def answer(kind: int, body: bytes) -> bytes:
        if kind == PUBREL:
            return ack(PUBCOMP, body)
        bad = b'"bad"' in body
        return ack(PUBACK if qos == 1 else PUBREC, body, code if bad else 0, "no, thank you" if bad else "")

    with ScriptedBroker(answer) as broker, producer(broker.url, unique_name, qos=qos) as made:
        receipts = [made.produce(False, {"text": text}) for text in ("good", "bad", "good")]
        assert made.flush(WITHIN) == 0
        assert [receipt.state.name for receipt in receipts] == ["DELIVERED", "DEAD_LETTERED", "DELIVERED"]
        assert says in str(receipts[1].error)
        assert "no, thank you" in str(receipts[1].error)
        assert made.statistics().resets == 0


def test_message_of_qos_2_counts_only_when_the_second_handshake_is_done(unique_name: str) -> None:
    released = threading.Event()

    def answer(kind: int, body: bytes) -> bytes:
        if kind == PUBLISH:
            return ack(PUBREC, body)
        assert released.wait(WITHIN)
        return ack(PUBCOMP, body)

    with ScriptedBroker(answer) as broker, producer(broker.url, unique_name, qos=2, send_timeout=None) as made:
        receipt = made.produce(False, {"n": 1})
        until(lambda: len(broker.published) == 1)
        receipt.wait(0.1)
        assert not receipt.done()
        released.set()
        assert made.flush(WITHIN) == 0
        assert receipt.delivered


@pytest.mark.parametrize(("code", "delivered"), [(0x97, True), (0x80, True), (0x83, True), (0x91, True)])
def test_message_that_is_refused_for_now_is_tried_again(
    unique_name: str, monkeypatch: pytest.MonkeyPatch, code: int, delivered: bool
) -> None:
    monkeypatch.setattr("standpipe.producers.mqtt_errors.BUSY", 0.05)
    refusals = iter([code, code])
    with (
        ScriptedBroker(lambda kind, body: ack(PUBACK, body, next(refusals, 0))) as broker,
        producer(broker.url, unique_name, **QUICK_RETRY) as made,
    ):
        receipt = made.produce(False, {"n": 1})
        assert made.flush(WITHIN) == 0
        assert receipt.delivered is delivered
        assert len(broker.published) == 3
        assert broker.connections == (3 if code == 0x91 else 1)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (0x86, Misconfigured, "correct user and password"),
        (0x87, Misconfigured, "does not let us in"),
        (0x85, Misconfigured, "refuses the client id"),
        (0x84, Misconfigured, "does not speak this version"),
        (0x8A, Misconfigured, "banned"),
        (0x8C, Misconfigured, "bad authentication method"),
        (0x9D, Misconfigured, "correct url"),
        (0x88, RetryAfter, "no room for another connection"),
        (0x89, RetryAfter, "server busy"),
        (0x97, RetryAfter, "quota exceeded"),
        (0x9F, RetryAfter, "connection rate exceeded"),
        (0x80, NotSent, "unspecified error"),
    ],
)
def test_login_that_is_refused_says_why_and_what_to_do(unique_name: str, code: int, kind: type[Exception], says: str) -> None:
    with ScriptedBroker(lambda kind, body: b"", connack(code)) as broker:
        made = producer(broker.url, unique_name)
        with pytest.raises(kind, match=says) as caught:
            made._connect()
        assert type(caught.value) is kind


def test_broker_that_speaks_only_the_older_version_is_named(unique_name: str) -> None:
    with ScriptedBroker(lambda kind, body: b"", b"\x20\x02\x00\x01") as broker:
        with pytest.raises(Misconfigured, match="set protocol to the other one"):
            producer(broker.url, unique_name)._connect()
        with pytest.raises(NotSent, match=r"protocol"):
            producer(broker.url, unique_name, protocol="3.1.1")._connect()


@pytest.mark.parametrize(
    ("properties", "settings", "says"),
    [
        (b"\x24\x00", {"qos": 1}, "it takes QoS 0 at most; set qos: 0"),
        (b"\x24\x01", {"qos": 2}, "it takes QoS 1 at most; set qos: 1"),
        (b"\x25\x00", {"retain": "errors"}, "leave out retain"),
    ],
)
def test_broker_without_what_the_configuration_asks_for_is_the_configuration_s_fault(
    unique_name: str, properties: bytes, settings: dict[str, Any], says: str
) -> None:
    with ScriptedBroker(lambda kind, body: b"", welcome(properties)) as broker:
        made = producer(broker.url, unique_name, **settings)
        with pytest.raises(Misconfigured, match=says):
            made._connect()
        assert any(finding.severity.name == "CRITICAL" for finding in made.examine())


def test_no_more_messages_are_on_their_way_than_the_broker_wants(unique_name: str) -> None:
    on_their_way: list[bytes] = []
    seen: list[int] = []

    def answer(kind: int, body: bytes) -> bytes:
        """Nothing until the producer has nothing more to say and asks for a sign of life."""
        if kind == PUBLISH and not seen:
            on_their_way.append(body)
            return b""
        if kind == PUBLISH:
            return ack(PUBACK, body)
        seen.append(len(on_their_way))
        said = b"".join(ack(PUBACK, each) for each in on_their_way)
        on_their_way.clear()
        return said + PINGRESP

    with (
        ScriptedBroker(answer, welcome(b"\x21\x00\x03")) as broker,
        producer(broker.url, unique_name, keepalive=2, send_timeout=20) as made,
    ):
        made.produce_many(False, [{"n": number} for number in range(30)])
        assert made.flush(WITHIN) == 0
        assert seen[0] == 3
        assert len(broker.published) == 30


def test_broker_that_takes_messages_and_says_nothing_is_given_up_though_more_messages_wait(unique_name: str) -> None:
    given = {"max_in_flight": 2, "send_timeout": 0.3, **QUICK_RETRY}
    with (
        ScriptedBroker(lambda kind, body: ack(PUBACK, body) if broker.connections > 1 else b"") as broker,
        producer(broker.url, unique_name, **given) as made,
    ):
        receipts = [made.produce(False, {"n": number}) for number in range(10)]
        assert made.flush(WITHIN) == 0
        assert all(receipt.delivered for receipt in receipts)
        assert made.statistics().connects == 2


def test_nothing_leaves_after_the_connection_was_given_up(unique_name: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        made = producer(f"mqtt://127.0.0.1:{listener.getsockname()[1]}", unique_name)
        made.produce_many(False, [{"text": "x" * 100_000} for _ in range(100)])
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(connack(0))
            until(lambda: made._link is not None and made._link.full)
            assert made.shutdown(0.3).undelivered == 100
            with pytest.raises(ConnectionResetError):
                deque(iter(lambda: connection.recv(2**20), b""), maxlen=0)


def test_topic_goes_once_with_its_number_and_then_as_the_number_alone(unique_name: str) -> None:
    with ScriptedBroker(lambda kind, body: ack(PUBACK, body), welcome(b"\x22\x00\x01")) as broker:
        with producer(broker.url, unique_name, error_topic=f"{unique_name}/errors") as made:
            for is_error in (False, False, True, True):
                made.produce(is_error, {"n": 1})
            assert made.flush(WITHIN) == 0
        lengths = [int.from_bytes(body[:2], "big") for body in broker.published]
        assert lengths == [len(unique_name), 0, len(f"{unique_name}/errors"), len(f"{unique_name}/errors")]


def test_connection_that_another_client_has_taken_over_is_not_taken_back_at_once(unique_name: str) -> None:
    refusals = iter([disconnect(0x8E)])
    with (
        ScriptedBroker(lambda kind, body: next(refusals, None) or ack(PUBACK, body)) as broker,
        producer(broker.url, unique_name, client_id="one", **QUICK_RETRY) as made,
    ):
        receipt = made.produce(False, {"n": 1})
        until(lambda: "another client with the same client_id has taken our place" in str(made.statistics().last_error))
        assert made.flush(WITHIN) == 0
        assert receipt.delivered
        assert made.statistics().connect_failures == 1


@pytest.mark.parametrize("code", [0x81, 0x82, 0x95, 0x99])
def test_message_for_which_the_connection_is_ended_is_found_and_nobody_else_is_rejected(unique_name: str, code: int) -> None:
    def answer(kind: int, body: bytes) -> bytes:
        return disconnect(code) if b'"bad"' in body else ack(PUBACK, body)

    with ScriptedBroker(answer) as broker, producer(broker.url, unique_name, **QUICK_RETRY) as made:
        receipts = [made.produce(False, {"text": text}) for text in ["good"] * 5 + ["bad"] + ["good"] * 5]
        assert made.flush(WITHIN) == 0
        assert [receipt.state.name for receipt in receipts].count("DEAD_LETTERED") == 1
        assert receipts[5].state.name == "DEAD_LETTERED"
        assert "ends the connection because of this message" in str(receipts[5].error)
        assert made.statistics().connects <= 4


@pytest.mark.parametrize("code", [0x8B, 0x89, 0x98, 0x96])
def test_broker_that_ends_the_connection_for_its_own_reasons_rejects_nobody(unique_name: str, code: int) -> None:
    refusals = iter([disconnect(code), disconnect(code), disconnect(code)])
    with (
        ScriptedBroker(lambda kind, body: next(refusals, None) or ack(PUBACK, body)) as broker,
        producer(broker.url, unique_name, **QUICK_RETRY) as made,
    ):
        receipt = made.produce(False, {"n": 1})
        assert made.flush(WITHIN) == 0
        assert receipt.delivered


def test_nothing_is_sent_again_by_itself_and_packet_ids_begin_anew(unique_name: str) -> None:
    """A new connection is a new client: only what the engine hands over again comes twice."""
    hang_up = iter([None])

    def answer(kind: int, body: bytes) -> bytes | None:
        return next(hang_up, ack(PUBACK, body))

    with ScriptedBroker(answer) as broker, producer(broker.url, unique_name, **QUICK_RETRY) as made:
        receipt = made.produce(False, {"n": 1})
        assert made.flush(WITHIN) == 0
        assert receipt.delivered
        assert [packet_id(body) for body in broker.published] == [b"\x00\x01", b"\x00\x01"]
        assert made.statistics().possible_duplicates == 1


def test_what_is_no_acknowledgement_ends_the_connection(unique_name: str) -> None:
    odd = iter([b"\x40\x01\x00", b"\x40\xff\xff\xff\xff\x01"])
    with (
        ScriptedBroker(lambda kind, body: next(odd, None) or ack(PUBACK, body)) as broker,
        producer(broker.url, unique_name, **QUICK_RETRY) as made,
    ):
        receipt = made.produce(False, {"n": 1})
        assert made.flush(WITHIN) == 0
        assert receipt.delivered
        assert broker.connections == 3


def test_each_start_has_a_client_id_of_its_own_that_stays_while_it_lives(unique_name: str) -> None:
    made: MqttProducer = producer("mqtt://127.0.0.1", unique_name)
    other: MqttProducer = producer("mqtt://127.0.0.1", unique_name)
    assert made._client_id() == made._client_id() != other._client_id()
    assert len(made._client_id()) == 23
    assert made._client_id().isalnum()
