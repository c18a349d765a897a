"""Messages published to RabbitMQ, thousands on their way at once; done when all are confirmed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import orjson
import pika

from benchmarks.case import Measurement, Params
from benchmarks.sides.delivery import MEMORY, deliver, spool
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.rabbitmq_broker import URL, reach
from benchmarks.sides.watch import Watch
from standpipe.producers.rabbitmq import RabbitmqProducer
from standpipe.producers.rabbitmq_config import RabbitmqProducerConfig

WARM_UP = 500


@contextmanager
def queue(count: int) -> Iterator[str]:
    """The name of a new quorum queue, in which at the end at least `count` messages must be."""
    reach()
    name = f"bench_{uuid4().hex[:10]}"
    with closing(pika.BlockingConnection(pika.URLParameters(URL))) as connection:
        connection.channel().queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    try:
        yield name
    finally:
        with closing(pika.BlockingConnection(pika.URLParameters(URL))) as connection:
            channel = connection.channel()
            found = channel.queue_declare(name, passive=True).method.message_count
            channel.queue_delete(name)
    if found < count:
        raise RuntimeError(f"{found} of {count} messages are in the queue")


def pika_select(params: Params) -> Measurement:
    """pika at its best: SelectConnection, asynchronous confirms, the window filled up from the callback of each."""
    with queue(params["messages"] + WARM_UP) as name:
        return _Pika(name, params["messages"], params["window"]).run()


class _Pika:
    def __init__(self, queue: str, messages: int, window: int) -> None:
        self._queue, self._messages, self._window = queue, messages, window
        self._sent = self._confirmed = 0
        self._until = WARM_UP
        self._singles: set[int] = set()
        self._watch: Watch | None = None
        self._found: Measurement = {}
        self._connection = pika.SelectConnection(
            pika.URLParameters(URL), on_open_callback=self._on_open, on_close_callback=lambda connection, _: connection.ioloop.stop()
        )

    def run(self) -> Measurement:
        loop = self._connection.ioloop
        loop.start()
        loop.close()
        return self._found

    def _on_open(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_return_callback(lambda *_: connection_failed("a message was returned"))
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._fill())

    def _fill(self) -> None:
        publish, queue = self._channel.basic_publish, self._queue
        while self._sent < self._until and self._sent - self._confirmed < self._window:
            self._sent += 1
            properties = pika.BasicProperties(content_type="application/json", delivery_mode=2, message_id=f"{self._sent:032x}")
            publish("", queue, orjson.dumps(MESSAGE), properties, True)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        if not isinstance(method, pika.spec.Basic.Ack):
            connection_failed("a message was refused")
        if method.multiple:
            self._singles = {tag for tag in self._singles if tag > method.delivery_tag}
            self._confirmed = method.delivery_tag + len(self._singles)
        else:
            self._singles.add(method.delivery_tag)
            self._confirmed += 1
        if self._confirmed < self._until:
            self._fill()
        elif self._watch is None:
            self._until += self._messages
            self._watch = Watch()
            self._fill()
        else:
            self._found = self._watch.measured(self._messages)
            self._connection.close()


def connection_failed(why: str) -> None:
    """The measurement means nothing."""
    raise RuntimeError(why)


def standpipe(params: Params) -> Measurement:
    """`produce`, with the queue in memory."""
    return _standpipe(params, MEMORY)


def standpipe_spool(params: Params) -> Measurement:
    """`produce`, with a `written` spool."""
    return _standpipe(params, spool(params))


def _standpipe(params: Params, kind: dict[str, Any]) -> Measurement:
    with queue(params["messages"] + WARM_UP) as name:
        given = {"name": "bench", "url": URL, "routing_key": name, "max_in_flight": params["window"], "queue": kind}
        return deliver(RabbitmqProducer(RabbitmqProducerConfig.model_validate(given)), params["messages"], WARM_UP)
