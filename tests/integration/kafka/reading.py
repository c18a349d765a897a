"""Kafka read back by a raw consumer, and producers that retry quickly."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from standpipe.delivery.receipt import Receipt, State
from standpipe.producers.kafka import KafkaProducer
from standpipe.producers.kafka_config import KafkaProducerConfig
from tests.servers.oracle import Found
from tests.servers.scenario import QUICK

WITHIN = 10.0
QUIET: dict[str, Any] = {"enable.auto.commit": False, "auto.offset.reset": "earliest", "log_level": 0, "fetch.wait.max.ms": 10}
SOON: dict[str, Any] = {"reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 100}
"""librdkafka's own pauses before it connects again, as short as ours in `QUICK`; even a first connection has one, of 50 ms."""
REST = 0.1
"""Seconds after which the rest of a batch, which came with its beginning, has been handed out."""


def config(servers: str, topic: str, **settings: Any) -> KafkaProducerConfig:
    """Settings that an outage of a second does not stretch to a minute."""
    options = {**SOON, **settings.pop("options", {})}
    return KafkaProducerConfig.model_validate(
        {**QUICK, "name": "events", "servers": servers, "topic": topic, "options": options, **settings}
    )


def producer(servers: str, topic: str, **settings: Any) -> KafkaProducer:
    """A producer with such settings, not started."""
    return KafkaProducer(config(servers, topic, **settings))


def messages(servers: str, topic: str, **options: Any) -> list[Message]:
    """All messages of a topic, partition by partition, in the order of each; none if there is no such topic."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "reader", "enable.partition.eof": True, **QUIET, **options})
    with contextlib.closing(consumer):
        found = consumer.list_topics(topic, timeout=WITHIN).topics[topic]
        if found.error is not None:
            return []
        consumer.assign([TopicPartition(topic, partition, 0) for partition in found.partitions])
        return sorted(_until_nothing_comes(consumer, len(found.partitions)), key=lambda message: message.partition() or 0)


def _until_nothing_comes(consumer: Consumer, partitions: int) -> Iterator[Message]:
    """Tansu says that the last batch of a partition ends where it begins: so read on after all have ended until nothing comes."""
    ended: set[int | None] = set()
    while True:
        message = consumer.poll(REST if len(ended) == partitions else WITHIN)
        if message is None:
            if len(ended) == partitions:
                return
            raise TimeoutError(f"only {len(ended)} of {partitions} partitions have an end")
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition())
        else:
            raise KafkaException(error)


def headers(message: Message) -> dict[str, str]:
    """The headers of a message as text."""
    pairs: Any = message.headers() or []
    return {name: value.decode() for name, value in pairs}


def found(message: Message) -> Found:
    """A message for the oracle."""
    carried, key = headers(message), message.key()
    return Found(carried["message-id"], bytes(message.value() or b""), _text(key), carried.get("is_error") == "true")


def _text(key: Any) -> str | None:
    return None if key is None else key.decode() if isinstance(key, bytes) else str(key)


def wait_until(condition: Callable[[], bool], seconds: float = WITHIN) -> None:
    """Returns as soon as `condition` holds; fails after so many seconds."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.005)


def arrives(receipt: Receipt, seconds: float = 20.0) -> bool:
    """Whether all messages of a receipt are delivered in time."""
    return receipt.wait(seconds) is State.DELIVERED
