"""What is wrong with the configuration or the brokers is said, with the remedy, and the messages wait; nobody else is harmed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from standpipe.delivery.receipt import State
from standpipe.producers.kafka import KafkaProducer
from tests.integration.conftest import MakeServer
from tests.integration.kafka import reading
from tests.servers.certificates import Certificates
from tests.servers.kafka import MockKafka, TansuServer
from tests.servers.server import Address

UNKNOWN_TOPIC = 3
NO_PERMISSION = 29
NOBODY = "127.0.0.1:1"


def complains(producer: KafkaProducer, complaint: str) -> str:
    """The producer says so after it could not deliver a message, which it has kept. Gives all that it says."""
    receipt = producer.produce(False, {"n": 1})
    # Not necessarily at first: that no broker can be reached may be known before why.
    reading.wait_until(lambda: complaint in str(producer.statistics().last_error))
    said = str(producer.statistics().last_error)
    report = producer.shutdown(0.2)
    assert report.undelivered == 1
    assert receipt.state is State.UNDELIVERED
    return said


@pytest.mark.parametrize(
    ("servers", "settings", "complaint"),
    [
        (NOBODY, {}, "no broker can be reached; check servers"),
        ("nobody.invalid:9092", {}, "a host in servers cannot be resolved"),
        (NOBODY, {"tls": {"ca_file": "/nowhere/ca.pem"}}, "tls.ca_file '/nowhere/ca.pem' does not exist"),
        (NOBODY, {"options": {"socket.keepalive.enabel": True}}, "No such configuration property"),
    ],
)
def test_who_cannot_be_reached_is_named(servers: str, settings: dict[str, Any], complaint: str) -> None:
    complains(reading.producer(servers, "orders", **settings), complaint)


def test_a_broker_without_logins_refuses_ours(mock_kafka: MockKafka) -> None:
    auth = {"type": "plain", "user": "ann", "password": "hush-hush"}
    said = complains(reading.producer(mock_kafka.url, "orders", auth=auth), "Misconfigured: the broker does not let us in; correct auth")
    assert "hush-hush" not in said


@pytest.mark.parametrize(("pair", "trusted"), [("expired", "ca_file"), ("wrong_host", "ca_file"), ("server", "other_ca_file")])
def test_a_certificate_that_is_not_good_is_refused(
    own_server: MakeServer, certificates: Certificates, unique_name: str, pair: str, trusted: str
) -> None:
    server = own_server(TansuServer, tls=certificates.for_server(getattr(certificates, pair)))
    made = reading.producer(server.url, unique_name, tls={"ca_file": str(getattr(certificates, trusted))})
    complains(made, "no encrypted connection; correct servers, tls.ca_file or tls.cert_file")


def test_an_encrypted_connection_carries_messages(own_server: MakeServer, certificates: Certificates, unique_name: str) -> None:
    server = own_server(TansuServer, tls=certificates.for_server())
    with reading.producer(server.url, unique_name, tls={"ca_file": str(certificates.ca_file)}) as producer:
        assert reading.arrives(producer.produce(False, {"n": 1}))
    access = {"security.protocol": "ssl", "ssl.ca.location": str(certificates.ca_file)}
    assert [message.value() for message in reading.messages(server.url, unique_name, **access)] == [b'{"n":1}']
    complains(reading.producer(server.url, unique_name), "no broker can be reached")


def test_a_topic_that_does_not_exist_is_named_and_waited_for(mock_kafka: MockKafka, unique_name: str) -> None:
    mock_kafka.create_topic(unique_name)
    mock_kafka.topic_error(unique_name, UNKNOWN_TOPIC)
    with reading.producer(mock_kafka.url, unique_name, connect_timeout=0.5) as producer:
        receipt = producer.produce(False, {"n": 1})
        said = f"Misconfigured: the topic '{unique_name}' does not exist; create it, or correct topic"
        reading.wait_until(lambda: producer.statistics().last_error == said)
        mock_kafka.topic_error(unique_name, 0)
        assert reading.arrives(receipt)


def test_messages_for_a_topic_that_does_not_exist_do_not_hold_up_others(
    mock_kafka: MockKafka, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    missing = f"{unique_name}.missing"
    mock_kafka.create_topic(f"{unique_name}.there")
    mock_kafka.create_topic(missing)
    mock_kafka.topic_error(missing, UNKNOWN_TOPIC)
    with (
        caplog.at_level(logging.WARNING, "standpipe.producers.kafka"),
        reading.producer(mock_kafka.url, unique_name + ".{place}", send_timeout=30) as producer,
    ):
        waiting = [producer.produce(False, {"place": "missing", "n": n}, key="k") for n in range(3)]
        assert all(reading.arrives(producer.produce(False, {"place": "there"})) for _ in range(3))
        reading.wait_until(lambda: f"the topic '{missing}' does not exist; its messages wait" in caplog.text)
        assert not any(receipt.delivered for receipt in waiting)
        mock_kafka.topic_error(missing, 0)
        assert all(reading.arrives(receipt) for receipt in waiting)
        assert producer.statistics().resets == 0
    assert [message.value() for message in reading.messages(mock_kafka.url, missing)] == [
        orjson.dumps({"place": "missing", "n": n}) for n in range(3)
    ]


def test_a_topic_that_is_deleted_in_mid_stream_is_named_long_before_the_messages_time_is_up(
    mock_kafka: MockKafka, unique_name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standpipe.producers.kafka.SILENCE", 0.3)
    mock_kafka.create_topic(unique_name)
    with (
        caplog.at_level(logging.WARNING, "standpipe.producers.kafka"),
        reading.producer(mock_kafka.url, unique_name, send_timeout=300) as producer,
    ):
        assert reading.arrives(producer.produce(False, {"n": 0}))
        mock_kafka.topic_error(unique_name, UNKNOWN_TOPIC)
        mock_kafka.answer_with([UNKNOWN_TOPIC] * 20)
        receipt = producer.produce(False, {"n": 1})
        reading.wait_until(lambda: f"the topic '{unique_name}' does not exist; its messages wait" in caplog.text)
        assert "nothing was confirmed for 0.3 s, and 1 message(s) wait: the brokers' logs say why" in caplog.text
        mock_kafka.topic_error(unique_name, 0)
        assert reading.arrives(receipt)


@pytest.mark.usefixtures("one_request_at_a_time")
def test_a_topic_that_brokers_forget_while_messages_flow_is_waited_for(mock_kafka: MockKafka, unique_name: str) -> None:
    """They do while it is deleted and made again."""
    mock_kafka.create_topic(unique_name, partitions=1)
    with reading.producer(mock_kafka.url, unique_name, linger=0.02, options={"retry.backoff.ms": 5, "retry.backoff.max.ms": 5}) as producer:
        assert reading.arrives(producer.produce(False, {"n": 0}, key="k"))
        mock_kafka.answer_with([UNKNOWN_TOPIC] * 3)
        receipts = [producer.produce(False, {"n": n}, key="k") for n in range(1, 50)]
        assert all(reading.arrives(receipt) for receipt in receipts)
    numbers = [orjson.loads(message.value() or b"")["n"] for message in reading.messages(mock_kafka.url, unique_name)]
    assert list(dict.fromkeys(numbers)) == list(range(50))


@pytest.mark.usefixtures("one_request_at_a_time")
def test_without_permission_the_messages_wait_in_order(mock_kafka: MockKafka, unique_name: str) -> None:
    """The pause of a minute ends with the shutdown, which tries once more."""
    mock_kafka.create_topic(unique_name, partitions=1)
    with reading.producer(mock_kafka.url, unique_name) as producer:
        assert reading.arrives(producer.produce(False, {"n": 0}, key="k"))
        mock_kafka.answer_with([NO_PERMISSION] * 5)
        receipts = [producer.produce(False, {"n": n}, key="k") for n in range(1, 5)]
        # That the client is of no use any more may be known before why.
        said = "the user may not do this; allow it to write to the topic"
        reading.wait_until(lambda: said in str(producer.statistics().last_error))
        assert not any(receipt.done() for receipt in receipts)
        mock_kafka.clear()
    assert all(receipt.delivered for receipt in receipts)
    numbers = [orjson.loads(message.value() or b"")["n"] for message in reading.messages(mock_kafka.url, unique_name)]
    assert list(dict.fromkeys(numbers)) == list(range(5))


def test_any_text_can_be_a_key_or_a_header(kafka_server: Address, kafka_name: str) -> None:
    with reading.producer(kafka_server.url, kafka_name) as producer:
        receipt = producer.produce(False, {"n": 1}, key="ключ\r\n", headers={"a\r\n": "ü"})
        assert reading.arrives(receipt)
    (message,) = reading.messages(kafka_server.url, kafka_name)
    assert message.key() == "ключ\r\n".encode()
    assert reading.headers(message)["a\r\n"] == "ü"


FORKING = """
import os, sys
from tests.integration.kafka import reading

producer = reading.producer(sys.argv[1], sys.argv[2])
assert reading.arrives(producer.produce(False, {"from": "parent"}))
pending = [producer.produce(False, {"from": "parent"}) for _ in range(100)]
child = os.fork()
if child == 0:
    if sys.argv[3] == "sends":
        assert reading.arrives(producer.produce(False, {"from": "child"}))
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert all(reading.arrives(receipt) for receipt in pending)
"""


@pytest.mark.parametrize("child", ["sends", "does nothing"])
def test_a_child_process_has_a_client_of_its_own(kafka_server: Address, kafka_name: str, child: str) -> None:
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-c", FORKING, kafka_server.url, kafka_name, child],
        check=True,
        timeout=30,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    expected = [b'{"from":"parent"}'] * 101 + [b'{"from":"child"}'] * (child == "sends")
    assert sorted(bytes(message.value() or b"") for message in reading.messages(kafka_server.url, kafka_name)) == sorted(expected)
