"""The mock cluster fails as it is told."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, Producer

from tests.servers.kafka import MockKafka

REQUEST_TIMED_OUT = 7
MESSAGE_TOO_LARGE = 10


def send(cluster: MockKafka, count: int = 1, *, timeout_ms: int = 5000, idempotent: bool = False) -> list[KafkaError | None]:
    outcomes: list[KafkaError | None] = []
    options: dict[str, Any] = {"bootstrap.servers": cluster.url, "message.timeout.ms": timeout_ms, "log_level": 0, "linger.ms": 0}
    producer = Producer({**options, "enable.idempotence": idempotent, "retry.backoff.ms": 10, "reconnect.backoff.ms": 10})
    for number in range(count):
        producer.produce("place", str(number), on_delivery=lambda error, _: outcomes.append(error))
    producer.flush(10)
    return outcomes


def test_messages_are_taken(mock_kafka: MockKafka) -> None:
    mock_kafka.create_topic("place", partitions=2)
    assert send(mock_kafka, 3, idempotent=True) == [None, None, None]


def test_errors_are_answered_in_turn(mock_kafka: MockKafka) -> None:
    mock_kafka.create_topic("place", partitions=1)
    mock_kafka.answer_with([REQUEST_TIMED_OUT, REQUEST_TIMED_OUT])
    assert send(mock_kafka) == [None]
    mock_kafka.answer_with([MESSAGE_TOO_LARGE])
    (outcome,) = send(mock_kafka)
    assert outcome is not None
    assert outcome.code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_a_broker_that_is_down_takes_nothing_and_comes_back(mock_kafka: MockKafka) -> None:
    mock_kafka.create_topic("place")
    mock_kafka.down()
    (outcome,) = send(mock_kafka, timeout_ms=500)
    assert outcome is not None
    assert outcome.code() == KafkaError._MSG_TIMED_OUT
    mock_kafka.up()
    assert send(mock_kafka) == [None]
