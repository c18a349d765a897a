"""Messages published to a JetStream stream on disk, with their ids; every acknowledgement is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from nats.aio.client import Client
from nats.js.client import JetStreamContext

from benchmarks.case import Measurement, Params
from benchmarks.sides.delivery import MEMORY, deliver, spool
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.nats_server import URL, stream
from benchmarks.sides.watch import Watch
from standpipe.producers.nats import NatsProducer
from standpipe.producers.nats_config import NatsProducerConfig

WARM_UP = 500

SendAll = Callable[[JetStreamContext, str, range], Awaitable[None]]


def publish_async(params: Params) -> Measurement:
    """nats-py at its best: `publish_async`, so many on their way at once, all acknowledgements looked at in the end."""
    return _raw(params["messages"], params["window"], _windowed)


def publish_awaited(params: Params) -> Measurement:
    """nats-py as most people use it: `await js.publish`, one after the other."""
    return _raw(params["few_messages"], params["window"], _one_by_one)


def _raw(messages: int, window: int, send: SendAll) -> Measurement:
    with stream(messages + WARM_UP) as name:
        return asyncio.run(_timed(name, messages, window, send))


async def _timed(name: str, messages: int, window: int, send: SendAll) -> Measurement:
    client = Client()
    await client.connect(URL)
    try:
        context = client.jetstream(publish_async_max_pending=window)
        await send(context, name, range(WARM_UP))
        watch = Watch()
        await send(context, name, range(WARM_UP, WARM_UP + messages))
        return watch.measured(messages)
    finally:
        await client.close()


async def _windowed(context: JetStreamContext, name: str, numbers: range) -> None:
    futures = []
    for number in numbers:
        headers = {"Nats-Msg-Id": f"{number:032x}"}
        futures.append(await context.publish_async(name, orjson.dumps(MESSAGE), headers=headers))
    await context.publish_async_completed()
    for future in futures:
        if future.result().stream != name:
            raise RuntimeError("another stream has answered")


async def _one_by_one(context: JetStreamContext, name: str, numbers: range) -> None:
    for number in numbers:
        await context.publish(name, orjson.dumps(MESSAGE), headers={"Nats-Msg-Id": f"{number:032x}"})


def standpipe(params: Params) -> Measurement:
    """`produce`, with the queue in memory."""
    return _standpipe(params, MEMORY)


def standpipe_spool(params: Params) -> Measurement:
    """`produce`, with a `written` spool."""
    return _standpipe(params, spool(params))


def _standpipe(params: Params, queue: dict[str, Any]) -> Measurement:
    messages, window = params["messages"], params["window"]
    with stream(messages + WARM_UP) as name:
        batch = {"max_messages": max(1, window // 4)}
        given = {"name": "bench", "url": URL, "subject": name, "max_pending": window, "batch": batch, "queue": queue}
        return deliver(NatsProducer(NatsProducerConfig.model_validate(given)), messages, WARM_UP)
