"""The NATS server that is measured against, and a stream there for one side. Imports nothing of Standpipe."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from nats.aio.client import Client

from benchmarks.case import Missing

URL = os.environ.get("STANDPIPE_BENCH_NATS", "nats://127.0.0.1:4222")
"""Where it is: as `scripts/services` starts it, unless the environment says otherwise."""


@contextmanager
def stream(messages: int) -> Iterator[str]:
    """An empty stream on disk and its subject, which have one name; removed afterwards. Raises RuntimeError unless there are so many
    messages in it at the end, and Missing if there is no server."""
    name = f"bench_{uuid4().hex}"
    try:
        _ask(f"STREAM.CREATE.{name}", {"name": name, "subjects": [name], "storage": "file", "retention": "limits"})
    except (OSError, TimeoutError) as error:
        raise Missing(f"NATS with JetStream does not answer at {URL} ({type(error).__name__})") from error
    try:
        yield name
        found = _ask(f"STREAM.INFO.{name}", {})["state"]["messages"]
    finally:
        _ask(f"STREAM.DELETE.{name}", {})
    if found != messages:
        raise RuntimeError(f"{messages} messages were sent, and there are {found}")


def _ask(what: str, question: Mapping[str, Any]) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        client = Client()
        try:
            await client.connect(URL, allow_reconnect=False, error_cb=_raise)
            answer = await client.request(f"$JS.API.{what}", json.dumps(question).encode(), timeout=10)
            found: dict[str, Any] = json.loads(answer.data)
            if "error" in found:
                raise RuntimeError(f"{what}: {found['error']}")
            return found
        finally:
            if client._flush_queue is not None:
                await client.close()

    return asyncio.run(run())


async def _raise(error: Exception) -> None:
    raise error
