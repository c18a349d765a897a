"""Other clients that people send HTTP requests with. Runs in the environment of the rivals; imports nothing of Standpipe."""

from __future__ import annotations

import asyncio
import importlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.http_server import running
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.watch import Watch

WARM_UP = 100

HTTPX_TASKS = 4
"""More make httpx slower: its pool looks at every request and connection for each of them. A message then takes 1.6 ms of processor
time with 4 tasks, 2.5 with 16, 5.9 with 64."""

HEADERS = {"Content-Type": "application/json"}


def httpx_async(params: Params) -> Measurement:
    """httpx: one asynchronous client, as many tasks as it does well with."""
    with running() as url:
        return asyncio.run(_httpx(url, params["few_messages"], min(HTTPX_TASKS, params["concurrency"])))


async def _httpx(url: str, messages: int, concurrency: int) -> Measurement:
    httpx: Any = importlib.import_module("httpx")
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

        async def send(numbers: Any) -> None:
            for number in numbers:
                response = await client.post(url, content=orjson.dumps(MESSAGE), headers={**HEADERS, "Idempotency-Key": f'"{number:032x}"'})
                response.raise_for_status()

        async def send_all(count: int) -> None:
            numbers = iter(range(count))
            await asyncio.gather(*(send(numbers) for _ in range(concurrency)))

        await send_all(WARM_UP)
        watch = Watch()
        await send_all(messages)
        return watch.measured(messages)


def requests_threads(params: Params) -> Measurement:
    """requests: `concurrency` threads with a session each."""
    requests: Any = importlib.import_module("requests")
    local = threading.local()

    def send(number: int) -> None:
        session = getattr(local, "session", None)
        if session is None:
            session = local.session = requests.Session()
            session.trust_env = False
        response = session.post(url, data=orjson.dumps(MESSAGE), headers={**HEADERS, "Idempotency-Key": f'"{number:032x}"'})
        response.raise_for_status()

    messages = params["few_messages"]
    with running() as url, ThreadPoolExecutor(params["concurrency"]) as pool:
        list(pool.map(send, range(WARM_UP)))
        watch = Watch()
        list(pool.map(send, range(messages)))
        return watch.measured(messages)
