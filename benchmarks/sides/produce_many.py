"""`produce_many`, and what it saves: the same messages one by one."""

from __future__ import annotations

import queue
from collections.abc import Callable
from itertools import repeat

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.bursts import time_bursts
from benchmarks.sides.destinations import Gated, config
from benchmarks.sides.message import MESSAGE


def rate(params: Params, burst: Callable[[], None], drain: Callable[[], None]) -> Measurement:
    """Messages per second, where a burst is `calls` times `messages` of them."""
    messages = params["calls"] * params["messages"]
    return {"rate": messages / time_bursts(burst, drain, params["bursts"])}


def several_messages(params: Params) -> list[dict[str, str | int | float | bool]]:
    """What one call hands over."""
    return [{**MESSAGE, "order_id": number} for number in range(params["messages"])]


def standpipe(params: Params) -> Measurement:
    """`produce_many`, the destination busy meanwhile."""
    several = several_messages(params)
    with Gated(config("produce-many")) as producer:
        produce_many = producer.produce_many

        def burst() -> None:
            for _ in repeat(None, params["calls"]):
                produce_many(False, several)

        try:
            return rate(params, burst, producer.drain)
        finally:
            producer.gate.set()


def queue_put(params: Params) -> Measurement:
    """`queue.Queue.put` of each message, not encoded, nobody taking meanwhile."""
    several = several_messages(params)
    waiting: queue.Queue[object] = queue.Queue()

    def burst() -> None:
        put = waiting.put
        for _ in repeat(None, params["calls"]):
            for message in several:
                put(message)

    def drain() -> None:
        while not waiting.empty():
            waiting.get_nowait()

    return rate(params, burst, drain)


def only_encode(params: Params) -> Measurement:
    """`orjson.dumps` of each message and nothing else."""
    several = several_messages(params)

    def burst() -> None:
        dumps = orjson.dumps
        for _ in repeat(None, params["calls"]):
            for message in several:
                dumps(message)

    return rate(params, burst, lambda: None)
