"""A broker that is there and takes nothing: its disk is full, its policy or its permissions are against it, the topic was deleted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka.admin import AdminClient

from standpipe.delivery.receipt import Receipt
from standpipe.producers.config import AnyQueueConfig
from standpipe.producers.kafka import KafkaProducer
from tests.integration.conftest import MakeServer
from tests.integration.kafka import reading
from tests.servers.kafka import TansuServer
from tests.servers.oracle import Found
from tests.servers.scenario import deliver_through_trouble

UNKNOWN_TOPIC, NO_PERMISSION, POLICY_VIOLATION, STORAGE_ERROR = 3, 29, 44, 56


@pytest.fixture
def broker(own_server: MakeServer, monkeypatch: pytest.MonkeyPatch) -> TansuServer:
    """It refuses when it is told to. What somebody has to mend is tried again soon."""
    monkeypatch.setattr("standpipe.producers.kafka_errors.PAUSE", 0.2)
    return own_server(TansuServer, fails=True)


def numbers(broker: TansuServer, topic: str) -> list[int]:
    return [orjson.loads(message.value() or b"")["n"] for message in reading.messages(broker.url, topic)]


@pytest.mark.parametrize(("error", "duplicates"), [(STORAGE_ERROR, 0), (UNKNOWN_TOPIC, 0), (POLICY_VIOLATION, 100), (NO_PERMISSION, 100)])
def test_a_broker_that_takes_nothing_for_a_while_costs_nothing(
    broker: TansuServer, unique_name: str, tmp_path: Path, error: int, duplicates: int
) -> None:
    """What a client cannot repeat ends it: then what was on its way beside it may come twice."""

    def make(queue_config: AnyQueueConfig) -> KafkaProducer:
        return reading.producer(broker.url, unique_name, queue=queue_config, send_timeout=10.0)

    def trouble() -> None:
        broker.front.produce_error = error
        reading.wait_until(lambda: broker.front.refused_requests > 2)
        broker.front.produce_error = 0

    def read_back() -> Iterator[Found]:
        return map(reading.found, reading.messages(broker.url, unique_name))

    oracle = deliver_through_trouble(make, trouble, read_back, folder=tmp_path, queue="spool", messages=150)
    oracle.check(duplicates=duplicates)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (STORAGE_ERROR, "no confirmation within 2 s"),
        (POLICY_VIOLATION, "Misconfigured: the broker refuses how we send; change acks, idempotence, compression"),
        (NO_PERMISSION, "Misconfigured: the user may not do this; allow it to write to the topic"),
    ],
)
def test_while_a_broker_takes_nothing_the_messages_wait_and_why_is_told(
    broker: TansuServer, unique_name: str, error: int, said: str
) -> None:
    with reading.producer(broker.url, unique_name, send_timeout=2.0) as producer:
        assert reading.arrives(producer.produce(False, {"n": 0}, key="k"))
        broker.front.produce_error = error
        receipts = [producer.produce(False, {"n": n}, key="k") for n in range(1, 30)]
        reading.wait_until(lambda: said in str(producer.statistics().last_error))
        assert not any(receipt.done() for receipt in receipts)
        assert numbers(broker, unique_name) == [0]
        broker.front.produce_error = 0
        assert all(reading.arrives(receipt) for receipt in receipts)
        assert producer.statistics().dead_lettered == 0
    assert numbers(broker, unique_name) == list(range(30))


def test_a_topic_that_is_deleted_and_made_again_has_all_that_was_not_acknowledged_before(broker: TansuServer, unique_name: str) -> None:
    """Tansu takes messages for a topic that it has not got any more, so the front refuses them, until the topic is there again."""
    with reading.producer(broker.url, unique_name, send_timeout=30.0) as producer:
        receipts = [producer.produce(False, {"n": n}, key="k") for n in range(100)]
        assert all(reading.arrives(receipt) for receipt in receipts)
        feed = threading.Thread(target=_produce, args=(producer, receipts, 200))
        feed.start()
        broker.front.produce_error = UNKNOWN_TOPIC
        reading.wait_until(lambda: broker.front.refused_requests > 2)
        acknowledged = sum(receipt.done() for receipt in receipts)
        admin = AdminClient({"bootstrap.servers": broker.url})
        admin.delete_topics([unique_name])[unique_name].result(reading.WITHIN)
        reading.wait_until(lambda: unique_name in admin.list_topics(timeout=reading.WITHIN).topics)
        broker.front.produce_error = 0
        feed.join()
        assert all(reading.arrives(receipt) for receipt in receipts)
        assert producer.statistics().dead_lettered == 0
    assert numbers(broker, unique_name) == list(range(acknowledged, 300))


def _produce(producer: KafkaProducer, receipts: list[Receipt], count: int) -> None:
    for _ in range(count):
        receipts.append(producer.produce(False, {"n": len(receipts)}, key="k"))
        threading.Event().wait(0.002)  # it only keeps the rate
