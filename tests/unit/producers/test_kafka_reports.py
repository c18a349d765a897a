"""Reports are told in time what has arrived, also when the rest of the batch has not: by a client that does what the test says."""

from __future__ import annotations

from typing import Any

import pytest

from standpipe.delivery.report import Report
from standpipe.producers import kafka
from standpipe.producers.kafka import KafkaProducer
from standpipe.producers.kafka_config import KafkaProducerConfig
from standpipe.producers.kafka_window import Callback, Window
from tests.unit.producers.batches import batch_of, given


class Client:
    """Keeps what it is given; `arriving` arrive at the next poll. What it has it does not hand back."""

    def __init__(self) -> None:
        self.arriving: list[int] = []

    def __len__(self) -> int:
        return 1

    def purge(self) -> None:
        """Nothing is handed back."""

    def poll(self, seconds: float) -> int:
        heard, self.arriving = self.arriving, []
        for position in heard:
            self.callbacks[position](None, None)
        return len(heard)

    callbacks: list[Callback]


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> KafkaProducer:
    monkeypatch.setattr(kafka, "HAND_BACK", 0.01)
    config = KafkaProducerConfig.model_validate({"type": "kafka", "name": "events", "servers": "127.0.0.1:1", "topic": "orders"})
    return KafkaProducer(config)


def connected(producer: KafkaProducer) -> tuple[Client, Report]:
    """Two messages are with the client."""
    producer._open()
    client: Any = Client()
    producer._client = client
    producer._window = Window(producer._failure, details=False)
    report = Report(batch_of(given({"n": 0}, {"n": 1})), 0.0, lambda report: None)
    client.callbacks = producer._window.take(report, ["orders"] * 2)
    return client, report


def test_what_arrives_while_the_rest_does_not_is_told_when_nothing_more_comes(producer: KafkaProducer) -> None:
    client, report = connected(producer)
    client.arriving = [1]
    producer._poll(0.0)
    producer._poll(0.0)
    assert report.arrived() == [1]


def test_what_arrives_is_told_in_time_also_while_other_messages_keep_arriving(
    producer: KafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, report = connected(producer)
    monkeypatch.setattr(producer, "_tell_at", 0.0)
    client.arriving = [1]
    producer._poll(0.0)
    assert report.arrived() == [1]


def test_what_has_arrived_before_a_client_ends_that_hands_nothing_back_is_told(producer: KafkaProducer) -> None:
    client, report = connected(producer)
    client.callbacks[1](None, None)
    producer._close()
    assert report.arrived() == [1]
    assert not report.complete
