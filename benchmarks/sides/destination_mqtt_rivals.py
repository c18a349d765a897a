"""What people use otherwise. Runs in the environment of the rivals; imports nothing of Standpipe."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.mqtt_server import place, topic
from benchmarks.sides.watch import Watch

WARM_UP = 100
WINDOW = 20


def aiomqtt_window(params: Params) -> Measurement:
    """aiomqtt: `publish` with QoS 1, which waits for the acknowledgement; so many tasks at once."""
    return asyncio.run(_aiomqtt(params["few_messages"]))


async def _aiomqtt(messages: int) -> Measurement:
    aiomqtt: Any = importlib.import_module("aiomqtt")
    types: Any = importlib.import_module("paho.mqtt.packettypes")
    properties: Any = importlib.import_module("paho.mqtt.properties")
    host, port = place()
    name = topic()

    async with aiomqtt.Client(host, port, protocol=aiomqtt.ProtocolVersion.V5, max_inflight_messages=WINDOW) as client:

        async def work(numbers: Any) -> None:
            for number in numbers:
                made = properties.Properties(types.PacketTypes.PUBLISH)
                made.UserProperty = ("message-id", f"0123456789abcdef0123-{number}")
                await client.publish(name, orjson.dumps(MESSAGE), 1, properties=made)

        async def send(count: int) -> None:
            numbers = iter(range(count))
            await asyncio.gather(*[work(numbers) for _ in range(WINDOW)])

        await send(WARM_UP)
        watch = Watch()
        await send(messages)
    return watch.measured(messages)
