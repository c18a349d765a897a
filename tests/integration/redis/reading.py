"""An independent reader of what the producer wrote, and producers to be tested."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis

from standpipe.producers.redis import RedisProducer
from standpipe.producers.redis_config import RedisProducerConfig
from tests.servers.oracle import Found

WITHIN = 10.0
"""Seconds for anything that must happen."""

Entry = tuple[str, dict[bytes, bytes]]


def producer(url: str, stream: str, **settings: Any) -> RedisProducer:
    """A producer that keeps its dead letters in memory."""
    given = {"name": "tested", "url": url, "stream": stream, "dead_letters": {"type": "memory"}}
    return RedisProducer(RedisProducerConfig.model_validate(given | settings))


@contextlib.contextmanager
def raw(url: str, **options: Any) -> Iterator[Any]:
    """A client of its own, as redis-py makes it."""
    with contextlib.closing(redis.Redis.from_url(url, socket_timeout=WITHIN, **options)) as client:
        yield client


def entries(url: str, stream: str) -> list[Entry]:
    """All entries of a stream, in its order."""
    with raw(url) as client:
        return [(id.decode(), fields) for id, fields in client.xrange(stream)]


def found(url: str, stream: str) -> Iterator[Found]:
    """The messages of a stream, byte by byte as they are there."""
    for _, fields in entries(url, stream):
        key = fields.get(b"message-key")
        yield Found(
            fields[b"message-id"].decode(),
            fields[b"payload"],
            key=None if key is None else key.decode(),
            is_error=fields.get(b"is_error") == b"true",
        )


def reached(condition: Callable[[], bool], within: float = WITHIN) -> None:
    """Wait for it."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it has not happened"
        threading.Event().wait(0.01)
