"""An independent reader of RabbitMQ, and producers for its tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import pika

from standpipe.producers.rabbitmq import RabbitmqProducer
from standpipe.producers.rabbitmq_config import RabbitmqProducerConfig
from tests.servers.oracle import Found
from tests.servers.scenario import QUICK

MANY = 200
"""Messages that are not read one by one."""


def producer(url: str, name: str, **settings: Any) -> RabbitmqProducer:
    """One that declares a quorum queue `name`, unless told otherwise."""
    fields = {"name": name, "url": url, "routing_key": name, "declare": {"queues": [{"name": name}]}, **QUICK, **settings}
    return RabbitmqProducer(RabbitmqProducerConfig.model_validate({key: value for key, value in fields.items() if value is not None}))


@contextmanager
def channel_to(url: str) -> Iterator[Any]:
    """A raw channel."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        yield connection.channel()


def read(url: str, queue: str) -> list[tuple[Any, Any, bytes]]:
    """Everything in a queue, in order: method, properties, body."""
    messages: list[tuple[Any, Any, bytes]] = []
    with channel_to(url) as channel:
        count = channel.queue_declare(queue, passive=True).method.message_count
        if count > MANY:  # one by one would take long
            for message in islice(channel.consume(queue), count):
                messages.append(message)
                channel.basic_ack(message[0].delivery_tag)
            channel.cancel()  # which gives back what has come meanwhile
        while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
            messages.append(message)
    return messages


def found_in(url: str, queue: str) -> list[Found]:
    """Everything in a queue as the oracle wants it."""
    return [_found(properties, body) for _, properties, body in read(url, queue)]


def _found(properties: Any, body: bytes) -> Found:
    headers = properties.headers or {}
    return Found(properties.message_id, body, headers.get("message-key"), headers.get("is_error") == "true")


def count_in(url: str, queue: str) -> int:
    """How many messages are in a queue."""
    with channel_to(url) as channel:
        count: int = channel.queue_declare(queue, passive=True).method.message_count
        return count
