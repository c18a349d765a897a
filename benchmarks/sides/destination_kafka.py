"""Messages to a Kafka topic, by the raw client at its best and by Standpipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.case import Measurement, Params
from benchmarks.sides.delivery import MEMORY, deliver, spool
from benchmarks.sides.kafka_server import TOPIC, find, running
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.watch import Watch
from standpipe.producers.kafka import KafkaProducer
from standpipe.producers.kafka_config import KafkaProducerConfig

WARM_UP = 2000
MANY = 1000
WINDOW = 10_000


def broker(params: Params) -> Measurement:
    """Where the broker's program is, for rivals, whose environment does not have it."""
    Path(params["folder"], "broker").write_text(find(), "utf-8")
    return {}


def raw(params: Params) -> Measurement:
    """`Producer.produce`, which is called and polled by one thread, as its authors advise."""
    with running(find()) as address:
        settings: dict[str, Any] = {"bootstrap.servers": address, "enable.idempotence": True, "queue.buffering.max.messages": WINDOW}
        client = Producer({**settings, "log_level": 0})
        _raw(client, WARM_UP)
        watch = Watch()
        _raw(client, params["messages"])
        return watch.measured(params["messages"])


def _raw(client: Producer, messages: int) -> None:
    delivered = 0

    def confirmed(error: KafkaError | None, _: Message) -> None:
        nonlocal delivered
        if error is None:
            delivered += 1

    produce, dumps, prefix = client.produce, orjson.dumps, uuid4().hex[:20]
    for number in range(messages):
        while True:
            try:
                produce(TOPIC, dumps(MESSAGE), on_delivery=confirmed, headers={"message-id": f"{prefix}-{number}"})
                break
            except BufferError:
                client.poll(0.1)
        if not number % MANY:
            client.poll(0)
    client.flush()
    if delivered != messages:
        raise RuntimeError(f"{delivered} of {messages} were delivered")


def standpipe(params: Params) -> Measurement:
    """`produce`, with the queue in memory."""
    return _standpipe(params, MEMORY)


def standpipe_many(params: Params) -> Measurement:
    """`produce_many`, with the queue in memory."""
    return _standpipe(params, MEMORY, together=MANY)


def standpipe_spool(params: Params) -> Measurement:
    """`produce`, with a `written` spool."""
    return _standpipe(params, spool(params))


def standpipe_spool_many(params: Params) -> Measurement:
    """`produce_many`, with a `written` spool."""
    return _standpipe(params, spool(params), together=MANY)


def _standpipe(params: Params, queue: dict[str, Any], together: int = 1) -> Measurement:
    with running(find()) as address:
        given = {"name": "bench", "servers": address, "topic": TOPIC, "max_in_flight": WINDOW, "queue": queue}
        return deliver(KafkaProducer(KafkaProducerConfig.model_validate(given)), params["messages"], WARM_UP, together)
