"""Other clients that people publish to RabbitMQ with. Runs in the environment of the rivals; imports nothing of Standpipe."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.rabbitmq_broker import URL, reach
from benchmarks.sides.watch import Watch

WARM_UP = 100
Publish = Callable[[int], Awaitable[object]]


def aio_pika_window(params: Params) -> Measurement:
    """aio-pika: one channel with confirms, `window` publishes awaited at once."""
    reach()
    return asyncio.run(_aio_pika(params["few_messages"], params["window"]))


async def _aio_pika(messages: int, window: int) -> Measurement:
    aio_pika: Any = importlib.import_module("aio_pika")
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        queue = await channel.declare_queue(_name("aio"), durable=True, arguments={"x-queue-type": "quorum"})

        async def publish(number: int) -> None:
            message = aio_pika.Message(orjson.dumps(MESSAGE), content_type="application/json", delivery_mode=2, message_id=f"{number:032x}")
            await channel.default_exchange.publish(message, queue.name, mandatory=True)

        try:
            return await _timed(publish, messages, window)
        finally:
            await queue.delete(if_unused=False, if_empty=False)


def kombu_confirms(params: Params) -> Measurement:
    """kombu: confirms awaited one by one, which is all that it offers."""
    reach()
    kombu: Any = importlib.import_module("kombu")
    messages = params["few_messages"]
    with kombu.Connection(URL, transport_options={"confirm_publish": True}) as connection:
        channel = connection.channel()
        queue = kombu.Queue(_name("kombu"), durable=True, queue_arguments={"x-queue-type": "quorum"}, channel=channel)
        queue.declare()
        producer = kombu.Producer(channel)

        def publish(number: int) -> None:
            producer.publish(
                orjson.dumps(MESSAGE),
                routing_key=queue.name,
                content_type="application/json",
                content_encoding="binary",
                delivery_mode=2,
                mandatory=True,
                message_id=f"{number:032x}",
            )

        try:
            for number in range(WARM_UP):
                publish(number)
            watch = Watch()
            for number in range(messages):
                publish(number)
            return watch.measured(messages)
        finally:
            queue.delete()


def faststream_rabbit(params: Params) -> Measurement:
    """FastStream: `window` publishes awaited at once."""
    reach()
    return asyncio.run(_faststream(params["few_messages"], params["window"]))


async def _faststream(messages: int, window: int) -> Measurement:
    rabbit: Any = importlib.import_module("faststream.rabbit")
    async with rabbit.RabbitBroker(URL, logger=None) as broker:
        queue = await broker.declare_queue(rabbit.RabbitQueue(_name("faststream"), durable=True, queue_type=rabbit.QueueType.QUORUM))

        async def publish(number: int) -> None:
            body = orjson.dumps(MESSAGE)
            await broker.publish(body, queue=queue.name, persist=True, mandatory=True, message_id=f"{number:032x}")

        try:
            return await _timed(publish, messages, window)
        finally:
            await queue.delete(if_unused=False, if_empty=False)


async def _timed(publish: Publish, messages: int, window: int) -> Measurement:
    async def take(numbers: Any) -> None:
        for number in numbers:
            await publish(number)

    async def send_all(count: int) -> None:
        numbers = iter(range(count))
        await asyncio.gather(*(take(numbers) for _ in range(min(window, count))))

    await send_all(WARM_UP)
    watch = Watch()
    await send_all(messages)
    return watch.measured(messages)


def _name(kind: str) -> str:
    return f"bench_{kind}_{perf_counter()}"
