"""What the broker is asked before the first message: that exchanges and queues are there, or to declare them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from standpipe.producers.rabbitmq_config import QueueDeclaration, RabbitmqProducerConfig

Done = Callable[[Any], None]


def steps_of(config: RabbitmqProducerConfig) -> Iterator[Callable[[Any, Done], Any]]:
    """Each is called with the channel and a callback for the answer; one that fails closes the channel, with a reason that names
    what it is about. Looking needs no permission (RabbitMQ, access control)."""
    declare = config.declare
    exchanges = [name for name in dict.fromkeys(config.exchanges) if name]
    for name in exchanges:
        if declare is not None and declare.exchange_type is not None:
            yield partial(_declare_exchange, name, declare.exchange_type, dict(declare.exchange_arguments))
        else:
            yield partial(_look_for_exchange, name)
    queues = [] if declare is None else declare.queues
    for queue in queues:
        yield partial(_declare_queue, queue)
        exchange = config.exchange if queue.exchange is None else queue.exchange
        for key in queue.binding_keys:
            yield partial(_bind, queue.name, exchange, key)
    if config.unroutable != "discard":
        declared = {queue.name for queue in queues}
        yield from (partial(_look_for_queue, name) for name in config.fixed_queues if name not in declared)


def _declare_exchange(name: str, kind: str, arguments: dict[str, Any], channel: Any, done: Done) -> None:
    channel.exchange_declare(name, kind, durable=True, arguments=arguments, callback=done)


def _look_for_exchange(name: str, channel: Any, done: Done) -> None:
    channel.exchange_declare(name, passive=True, callback=done)


def _declare_queue(queue: QueueDeclaration, channel: Any, done: Done) -> None:
    channel.queue_declare(queue.name, durable=True, arguments=queue.all_arguments(), callback=done)


def _look_for_queue(name: str, channel: Any, done: Done) -> None:
    channel.queue_declare(name, passive=True, callback=done)


def _bind(queue: str, exchange: str, key: str, channel: Any, done: Done) -> None:
    channel.queue_bind(queue, exchange, key, callback=done)
