"""Other clients that people send messages to Kafka with. Runs in the environment of the rivals; imports nothing of Standpipe."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from typing import Any

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.kafka_server import TOPIC, running
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.watch import Watch

WARM_UP = 100
WINDOW = 1000


def _broker(params: Params) -> str:
    return Path(params["folder"], "broker").read_text("utf-8")


def aiokafka_window(params: Params) -> Measurement:
    """aiokafka: `send`, so many futures awaited together; not idempotent, because its way of asking is not understood by Tansu."""
    with running(_broker(params)) as address:
        return asyncio.run(_aiokafka(address, params["few_messages"]))


async def _aiokafka(address: str, messages: int) -> Measurement:
    aiokafka: Any = importlib.import_module("aiokafka")
    client = aiokafka.AIOKafkaProducer(bootstrap_servers=address, acks="all", linger_ms=5)
    await client.start()
    try:

        async def send(count: int) -> None:
            for first in range(0, count, WINDOW):
                numbers = range(first, min(count, first + WINDOW))
                headers = [[("message-id", b"0123456789abcdef0123-%d" % number)] for number in numbers]
                await asyncio.gather(*[await client.send(TOPIC, orjson.dumps(MESSAGE), headers=header) for header in headers])

        return await _measure(send, messages)
    finally:
        await client.stop()


def faststream_confluent(params: Params) -> Measurement:
    """FastStream with confluent-kafka: `publish`, so many tasks at once."""
    with running(_broker(params)) as address:
        return asyncio.run(_faststream(address, params["few_messages"]))


async def _faststream(address: str, messages: int) -> Measurement:
    module: Any = importlib.import_module("faststream.confluent")
    async with module.KafkaBroker(address, enable_idempotence=True, logger=None) as client:

        async def send(count: int) -> None:
            for first in range(0, count, WINDOW):
                numbers = range(first, min(count, first + WINDOW))
                sends = [client.publish(MESSAGE, TOPIC, headers={"message-id": f"0123456789abcdef0123-{number}"}) for number in numbers]
                await asyncio.gather(*sends)

        return await _measure(send, messages)


async def _measure(send: Any, messages: int) -> Measurement:
    await send(WARM_UP)
    watch = Watch()
    await send(messages)
    return watch.measured(messages)
