"""The Redis that is measured: the one at the default address. Imports nothing of Standpipe."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

from benchmarks.case import Missing

URL = "redis://127.0.0.1:6379/0"


@contextmanager
def stream(count: int) -> Iterator[str]:
    """The name of a new stream, in which at the end `count` messages must be."""
    redis: Any = importlib.import_module("redis")
    name = f"bench_{uuid4().hex[:10]}"
    with closing(redis.Redis.from_url(URL)) as client:
        try:
            client.ping()
        except redis.ConnectionError as error:
            raise Missing("no Redis answers at 127.0.0.1:6379") from error
        try:
            yield name
            found = client.xlen(name)
        finally:
            client.delete(name)
    if found != count:
        raise RuntimeError(f"{found} of {count} messages are in the stream")
