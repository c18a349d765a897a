"""Other clients that people add to Redis streams with. Runs in the environment of the rivals; imports nothing of Standpipe."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.redis_server import URL, stream
from benchmarks.sides.watch import Watch

WARM_UP = 100


def faststream_redis(params: Params) -> Measurement:
    """FastStream: `window` publishes to a stream awaited at once; it has no batches for streams."""
    with stream(params["few_messages"] + WARM_UP) as name:
        return asyncio.run(_faststream(name, params["few_messages"], params["window"]))


async def _faststream(name: str, messages: int, window: int) -> Measurement:
    faststream: Any = importlib.import_module("faststream.redis")
    async with faststream.RedisBroker(URL, logger=None) as broker:

        async def take(numbers: Any) -> None:
            for number in numbers:
                await broker.publish(orjson.dumps(MESSAGE), stream=name, correlation_id=f"{number:032x}")

        async def send_all(count: int) -> None:
            numbers = iter(range(count))
            await asyncio.gather(*(take(numbers) for _ in range(window)))

        await send_all(WARM_UP)
        watch = Watch()
        await send_all(messages)
        return watch.measured(messages)
