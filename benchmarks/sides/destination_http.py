"""Messages as HTTP requests, one in each, so many at a time; every answer is awaited and looked at."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
from yarl import URL

from benchmarks.case import Measurement, Params
from benchmarks.sides.delivery import MEMORY, deliver, spool
from benchmarks.sides.http_server import running
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.watch import Watch
from standpipe.producers.http import HttpProducer
from standpipe.producers.http_config import HttpProducerConfig

WARM_UP = 500


def aiohttp_tasks(params: Params) -> Measurement:
    """aiohttp at its best: one session, `concurrency` tasks, nothing in it that costs time and is not needed."""
    with running() as url:
        return asyncio.run(_aiohttp(URL(url), params["messages"], params["concurrency"]))


async def _aiohttp(url: URL, messages: int, concurrency: int) -> Measurement:
    connector = aiohttp.TCPConnector(limit=concurrency)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def send(numbers: Any) -> None:
            for number in numbers:
                headers = {"Content-Type": "application/json", "Idempotency-Key": f'"{number:032x}"'}
                async with session.post(url, data=orjson.dumps(MESSAGE), headers=headers, allow_redirects=False) as response:
                    await response.read()
                    if response.status != 200:
                        raise RuntimeError(f"the server answered {response.status}")

        async def send_all(count: int) -> None:
            numbers = iter(range(count))
            await asyncio.gather(*(send(numbers) for _ in range(concurrency)))

        await send_all(WARM_UP)
        watch = Watch()
        await send_all(messages)
        return watch.measured(messages)


def standpipe(params: Params) -> Measurement:
    """`produce`, with the queue in memory."""
    return _standpipe(params, MEMORY)


def standpipe_spool(params: Params) -> Measurement:
    """`produce`, with a `written` spool."""
    return _standpipe(params, spool(params))


def standpipe_lines(params: Params) -> Measurement:
    """`produce`, many messages in a request, as JSON Lines."""
    return _standpipe(params, MEMORY, format="jsonl")


def _standpipe(params: Params, queue: dict[str, Any], **settings: Any) -> Measurement:
    with running() as url:
        given = {"name": "bench", "url": url, "concurrency": params["concurrency"], "queue": queue, **settings}
        return deliver(HttpProducer(HttpProducerConfig.model_validate(given)), params["messages"], WARM_UP)
