"""Other ways in which people publish to JetStream. Runs in the environment of the rivals; imports nothing of Standpipe."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.nats_server import URL, stream
from benchmarks.sides.watch import Watch

WARM_UP = 100
TASKS = 64
"""Publishes awaited at once: more gain nothing, as each is a task and a timer of its own."""


def faststream_nats(params: Params) -> Measurement:
    """FastStream: publishes to a stream, `TASKS` of them awaited at once."""
    with stream(params["few_messages"] + WARM_UP) as name:
        return asyncio.run(_faststream(name, params["few_messages"]))


async def _faststream(name: str, messages: int) -> Measurement:
    faststream: Any = importlib.import_module("faststream.nats")
    async with faststream.NatsBroker(URL, logger=None) as broker:

        async def take(numbers: Any) -> None:
            for number in numbers:
                headers = {"Nats-Msg-Id": f"{number:032x}"}
                await broker.publish(orjson.dumps(MESSAGE), name, headers=headers, stream=name, timeout=10.0)

        async def send_all(numbers: range) -> None:
            each = iter(numbers)
            await asyncio.gather(*(take(each) for _ in range(TASKS)))

        await send_all(range(WARM_UP))
        watch = Watch()
        await send_all(range(WARM_UP, WARM_UP + messages))
        return watch.measured(messages)
