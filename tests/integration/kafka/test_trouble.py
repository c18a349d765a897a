"""Nothing that was acknowledged is lost, repeated without need or out of order, whatever happens to the broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from confluent_kafka import Producer

from standpipe.producers.config import AnyQueueConfig
from standpipe.producers.kafka import KafkaProducer
from standpipe.producers.kafka_client import client_properties
from tests.integration.kafka import reading
from tests.servers.kafka import MockKafka, TansuServer
from tests.servers.oracle import Found
from tests.servers.scenario import deliver_through_trouble

Queue = Literal["memory", "spool"]

OUT_OF_ORDER = 45
TOO_LARGE = 10
NOT_LEADER = 6
TIMED_OUT = 7
NO_PERMISSION = 29
CLOSE = -195
"""Not one of Kafka's numbers: the mock cluster closes the connection."""


TIMEOUT, LONGER = 0.8, 1.5
"""Of `send_timeout`, and of a broker that hangs longer."""
PATIENT = 10.0
"""Of `send_timeout`, where nothing may come twice: longer than any trouble lasts."""


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def hang_longer_than_the_timeout(server: TansuServer) -> None:
    server.freeze()
    pause(LONGER)
    server.thaw()


def hang_shortly(server: TansuServer) -> None:
    server.freeze()
    pause(0.8)
    server.thaw()


@pytest.mark.parametrize(
    ("trouble", "duplicates", "queue", "settings"),
    [
        (hang_longer_than_the_timeout, 300, "memory", {"send_timeout": TIMEOUT}),
        (hang_longer_than_the_timeout, 300, "spool", {"send_timeout": TIMEOUT}),
        (hang_shortly, 0, "memory", {"send_timeout": PATIENT}),
    ],
)
def test_a_broker_that_hangs_costs_nothing(
    own_kafka: TansuServer,
    unique_name: str,
    tmp_path: Path,
    queue: Queue,
    trouble: Callable[[TansuServer], None],
    duplicates: int,
    settings: dict[str, Any],
) -> None:
    def make(queue_config: AnyQueueConfig) -> KafkaProducer:
        return reading.producer(own_kafka.url, unique_name, queue=queue_config, **settings)

    def read_back() -> Iterator[Found]:
        return map(reading.found, reading.messages(own_kafka.url, unique_name))

    oracle = deliver_through_trouble(make, lambda: trouble(own_kafka), read_back, folder=tmp_path, queue=queue)
    oracle.check(duplicates=duplicates)


def test_a_successor_on_the_same_spool_delivers_what_is_left(own_kafka: TansuServer, unique_name: str, tmp_path: Path) -> None:
    def make(queue_config: AnyQueueConfig) -> KafkaProducer:
        return reading.producer(own_kafka.url, unique_name, queue=queue_config, send_timeout=TIMEOUT)

    def read_back() -> Iterator[Found]:
        return map(reading.found, reading.messages(own_kafka.url, unique_name))

    oracle = deliver_through_trouble(
        make, lambda: hang_longer_than_the_timeout(own_kafka), read_back, folder=tmp_path, queue="spool", successor=True
    )
    oracle.check(duplicates=300)


def break_off_and_come_back(cluster: MockKafka) -> None:
    cluster.down()
    pause(0.5)
    cluster.up()


def lose_the_numbering(cluster: MockKafka) -> None:
    cluster.answer_with([OUT_OF_ORDER])
    pause(0.3)
    cluster.answer_with([OUT_OF_ORDER, OUT_OF_ORDER])
    pause(0.3)


def move_the_leader(cluster: MockKafka) -> None:
    cluster.answer_with([NOT_LEADER, NOT_LEADER, TIMED_OUT])
    pause(0.3)


def refuse_requests_as_too_large(cluster: MockKafka) -> None:
    cluster.answer_with([TOO_LARGE])
    pause(0.3)


def close_connections(cluster: MockKafka) -> None:
    for _ in range(3):
        cluster.answer_with([CLOSE])
        pause(0.2)


@pytest.mark.usefixtures("one_request_at_a_time")
@pytest.mark.parametrize(
    ("trouble", "duplicates", "queue"),
    [
        (break_off_and_come_back, 100, "spool"),
        (lose_the_numbering, 100, "memory"),
        (move_the_leader, 0, "memory"),
        (refuse_requests_as_too_large, 100, "spool"),
        (close_connections, 100, "memory"),
    ],
)
def test_a_cluster_in_trouble_costs_nothing(
    mock_kafka: MockKafka, unique_name: str, tmp_path: Path, queue: Queue, trouble: Callable[[MockKafka], None], duplicates: int
) -> None:
    mock_kafka.create_topic(unique_name, partitions=3)

    def make(queue_config: AnyQueueConfig) -> KafkaProducer:
        options = {"retry.backoff.ms": 5, "retry.backoff.max.ms": 5}
        return reading.producer(mock_kafka.url, unique_name, queue=queue_config, linger=0.05, send_timeout=PATIENT, options=options)

    def read_back() -> Iterator[Found]:
        return map(reading.found, reading.messages(mock_kafka.url, unique_name))

    oracle = deliver_through_trouble(make, lambda: trouble(mock_kafka), read_back, folder=tmp_path, queue=queue, messages=200)
    oracle.check(duplicates=duplicates)


def test_what_a_killed_broker_had_acknowledged_was_there(own_kafka: TansuServer, unique_name: str) -> None:
    """Tansu keeps nothing over a restart: so what arrives is read before the kill, and what comes after it is delivered anew."""
    with reading.producer(own_kafka.url, unique_name) as producer:
        before = producer.produce_many(False, [{"n": n} for n in range(100)], key="k")
        assert reading.arrives(before)
        assert [message.value() for message in reading.messages(own_kafka.url, unique_name)] == [b'{"n":%d}' % n for n in range(100)]
        own_kafka.kill()
        during = producer.produce_many(False, [{"n": n} for n in range(100, 200)], key="k")
        own_kafka.start()
        assert reading.arrives(during)
        after = producer.produce_many(False, [{"n": n} for n in range(200, 300)], key="k")
        assert reading.arrives(after)
    assert [message.value() for message in reading.messages(own_kafka.url, unique_name)] == [b'{"n":%d}' % n for n in range(100, 300)]


def test_a_client_that_nobody_polls_sends_nothing_after_a_message_that_failed(mock_kafka: MockKafka, unique_name: str) -> None:
    """The worker may be busy elsewhere when a message fails; those after it must not overtake it meanwhile. Only what was on its
    way already arrives here: unlike a broker, the mock cluster takes it."""
    mock_kafka.create_topic(unique_name, partitions=1)
    client = Producer(client_properties(reading.config(mock_kafka.url, unique_name, linger=0), 1_000_000, alone=True) | {"log_level": 0})
    client.list_topics(unique_name, 10)
    mock_kafka.delay(0.05)
    mock_kafka.answer_with([NO_PERMISSION])
    for number in range(20):
        client.produce(unique_name, str(number), "k")
    pause(1.5)
    client.purge()
    mock_kafka.delay(0)
    arrived = {int(message.value() or b"") for message in reading.messages(mock_kafka.url, unique_name)}
    assert arrived <= {1, 2, 3, 4}
