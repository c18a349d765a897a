"""What is sent is what a raw consumer reads: byte for byte, at the place and with the headers that the configuration says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from standpipe.core.errors import SendError
from standpipe.core.finding import Severity
from standpipe.delivery.receipt import State
from tests.integration.kafka import reading
from tests.servers.kafka import MockKafka, TansuServer
from tests.servers.server import Address

ODD: list[dict[str, Any]] = [
    {},
    {"text": "Grüße, 世界 \U0001f6b0\u0000\r\n"},
    {"nested": {"list": [1, 2.5, None, True, {"deep": []}]}, "big": 2**62},
    {"long": "x" * 200_000},
]


def test_normal_and_error_messages_arrive_as_they_were(kafka_server: Address, kafka_name: str) -> None:
    with reading.producer(kafka_server.url, kafka_name, error_topic=f"{kafka_name}.errors") as producer:
        normal = [producer.produce(False, message, key=f"k{n}", headers={"traceparent": f"00-{n}"}) for n, message in enumerate(ODD)]
        errors = [producer.produce(True, message) for message in ODD]
        assert producer.flush(10) == 0
    found = {reading.headers(message)["message-id"]: message for message in reading.messages(kafka_server.url, kafka_name)}
    for number, (receipt, content) in enumerate(zip(normal, ODD, strict=True)):
        message = found.pop(receipt.message_id)
        assert message.value() == orjson.dumps(content)
        assert message.key() == f"k{number}".encode()
        assert reading.headers(message) == {"message-id": receipt.message_id, "traceparent": f"00-{number}"}
        assert receipt.detail == {"topic": kafka_name, "partition": message.partition(), "offset": message.offset()}
    assert not found
    dead = {reading.headers(message)["message-id"]: message for message in reading.messages(kafka_server.url, f"{kafka_name}.errors")}
    assert [dead[receipt.message_id].value() for receipt in errors] == [orjson.dumps(content) for content in ODD]
    assert all(message.key() is None and reading.headers(message)["is_error"] == "true" for message in dead.values())


def test_messages_of_a_key_are_in_one_partition_in_order(kafka_server: Address, kafka_name: str) -> None:
    keys = [f"key-{n % 20}" for n in range(4000)]
    with reading.producer(kafka_server.url, kafka_name, compression="lz4", details=False) as producer:
        receipt = producer.produce_many(False, [{"n": n} for n in range(4000)], keys=keys)
        assert reading.arrives(receipt)
    assert receipt.detail is None
    places: dict[str, set[int | None]] = {}
    numbers: dict[str, list[int]] = {}
    for message in reading.messages(kafka_server.url, kafka_name):
        key = (message.key() or b"").decode()
        places.setdefault(key, set()).add(message.partition())
        numbers.setdefault(key, []).append(orjson.loads(message.value() or b"")["n"])
    assert all(len(place) == 1 for place in places.values())
    assert numbers == {key: list(range(number, 4000, 20)) for number, key in enumerate(dict.fromkeys(keys))}


def test_each_message_may_have_its_own_topic(kafka_server: Address, kafka_name: str) -> None:
    with reading.producer(kafka_server.url, f"{kafka_name}.{{region}}") as producer:
        good = [producer.produce(False, {"region": region}) for region in ("north", "south", "north")]
        bad = [producer.produce(False, message) for message in ({}, {"region": "../x"}, {"region": "a b"}, {"region": "a\r\nb"})]
        assert producer.flush(10) == 0
        reasons = [letter.error for letter in producer.dead_letters]
    assert all(receipt.delivered for receipt in good)
    assert all(receipt.state is State.DEAD_LETTERED for receipt in bad)
    assert len(reading.messages(kafka_server.url, f"{kafka_name}.north")) == 2
    assert len(reading.messages(kafka_server.url, f"{kafka_name}.south")) == 1
    assert "the field 'region' is missing" in str(reasons[0])
    assert all("topic" in str(reason) for reason in reasons)


def test_events_in_both_modes(kafka_server: Address, kafka_name: str) -> None:
    event = {"source": "/shop", "type": "com.example.order"}
    for mode in ("structured", "binary"):
        with reading.producer(kafka_server.url, f"{kafka_name}.{mode}", cloudevents={**event, "mode": mode}) as producer:
            assert reading.arrives(producer.produce(False, {"n": 1}, key="k"))
    (structured,) = reading.messages(kafka_server.url, f"{kafka_name}.structured")
    assert orjson.loads(structured.value() or b"")["data"] == {"n": 1}
    assert reading.headers(structured)["content-type"] == "application/cloudevents+json; charset=UTF-8"
    (binary,) = reading.messages(kafka_server.url, f"{kafka_name}.binary")
    assert binary.value() == b'{"n":1}'
    assert reading.headers(binary)["ce_partitionkey"] == "k"


def test_a_message_that_is_too_large_fails_alone(kafka_server: Address, kafka_name: str) -> None:
    with reading.producer(kafka_server.url, kafka_name, max_message_bytes="10kB") as producer:
        receipts = [producer.produce(False, {"x": "x" * size}, key="k") for size in (10, 20_000, 30)]
        assert producer.flush(10) == 0
        (letter,) = producer.dead_letters
    assert [receipt.delivered for receipt in receipts] == [True, False, True]
    assert "larger than max_message_bytes here or max.message.bytes of the topic" in str(letter.error)
    assert producer.statistics().resets == 0


def test_more_bytes_than_the_client_holds_wait_their_turn(kafka_server: Address, kafka_name: str) -> None:
    options = {"queue.buffering.max.kbytes": 100}
    with reading.producer(kafka_server.url, kafka_name, options=options) as producer:
        receipt = producer.produce_many(False, [{"n": n, "x": "x" * 2000} for n in range(500)], key="k")
        assert reading.arrives(receipt)
    numbers = [orjson.loads(message.value() or b"")["n"] for message in reading.messages(kafka_server.url, kafka_name)]
    assert numbers == list(range(500))
    assert producer.statistics().resets == 0


@pytest.mark.usefixtures("one_request_at_a_time")
def test_of_a_refused_request_only_the_message_at_fault_is_rejected(mock_kafka: MockKafka, unique_name: str) -> None:
    """The cluster refuses a request of twenty, and then, when they come one by one, the first of them."""
    mock_kafka.create_topic(unique_name, partitions=1)
    with reading.producer(mock_kafka.url, unique_name, linger=0.05) as producer:
        assert reading.arrives(producer.produce(False, {"n": -1}, key="k"))
        mock_kafka.answer_with([10])
        receipts = [producer.produce(False, {"n": n}, key="k") for n in range(20)]
        reading.wait_until(lambda: producer.statistics().connects == 2 or producer.statistics().pending == 0)
        assert producer.flush(10) == 0
        assert all(receipt.delivered for receipt in receipts)
        assert producer._isolating
        mock_kafka.answer_with([10])
        receipts = [producer.produce(False, {"n": n}, key="k") for n in range(20, 40)]
        assert producer.flush(10) == 0
        assert [receipt.state is State.DEAD_LETTERED for receipt in receipts] == [True] + [False] * 19
        assert reading.arrives(producer.produce_many(False, [{"n": n} for n in range(40, 2040)], key="k"))
        assert reading.arrives(producer.produce_many(False, [{"n": n} for n in range(2040, 2100)], key="k"))
        assert not producer._isolating
    numbers = [orjson.loads(message.value() or b"")["n"] for message in reading.messages(mock_kafka.url, unique_name)]
    firsts = list(dict.fromkeys(numbers))
    assert firsts == [n for n in range(-1, 2100) if n != 20]


def test_a_message_that_is_too_large_is_rejected_also_while_the_client_has_no_room(kafka_server: Address, kafka_name: str) -> None:
    options = {"queue.buffering.max.kbytes": 1}
    with reading.producer(kafka_server.url, kafka_name, max_message_bytes="10kB", options=options) as producer:
        receipt = producer.produce_many(False, [{"n": n, "x": "x" * (20_000 if n == 50 else 200)} for n in range(100)], key="k")
        assert receipt.wait(20) is not State.QUEUED
        now = producer.statistics()
        assert (now.delivered, now.dead_lettered, now.connects) == (99, 1, 1)
    numbers = [orjson.loads(message.value() or b"")["n"] for message in reading.messages(kafka_server.url, kafka_name)]
    assert numbers == [n for n in range(100) if n != 50]


def test_requests_become_smaller_for_a_topic_that_takes_no_large_ones(mock_kafka: MockKafka, unique_name: str) -> None:
    mock_kafka.create_topic(unique_name, partitions=1)
    with reading.producer(mock_kafka.url, unique_name, linger=0.05) as producer:
        assert reading.arrives(producer.produce(False, {"n": -1}))
        mock_kafka.answer_with([10])
        assert reading.arrives(producer.produce_many(False, [{"n": n} for n in range(3000)]))
        reading.wait_until(lambda: reading.arrives(producer.produce(False, {"n": 1})) and not producer._isolating)
        assert producer._batch_bytes == 500_000
    assert producer.statistics().dead_lettered == 0


def test_a_producer_can_be_examined(own_kafka: TansuServer, unique_name: str) -> None:
    producer = reading.producer(own_kafka.url, unique_name)
    missing = producer.examine()
    assert [finding.what for finding in missing if finding.severity is Severity.CRITICAL] == [
        f"the topic {unique_name} does not exist, or may not be seen"
    ]
    with producer:
        assert reading.arrives(producer.produce(False, {"n": 1}))
        found = producer.examine()
    assert f"the topic {unique_name} has one replica" in [finding.what for finding in found if finding.severity is Severity.CRITICAL]
    assert any(finding.what == "acks is all and idempotence is on" for finding in found)


def test_an_examination_says_why_no_broker_can_be_reached() -> None:
    """At once: not only after as much time as a broker would get."""
    producer = reading.producer("127.0.0.1:1", "orders", connect_timeout=600)
    with pytest.raises(SendError, match=r"no broker can be reached; check servers.*Connection refused"):
        producer.examine()
