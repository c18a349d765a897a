"""An independent reader of what the producer wrote, and producers to be tested."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import sql

from standpipe.producers.postgres import PostgresProducer
from standpipe.producers.postgres_config import PostgresProducerConfig
from tests.servers.oracle import Found


def producer(url: str, table: str, **settings: Any) -> PostgresProducer:
    """A producer that makes its table; `json` keeps every byte of a message."""
    given = {"name": "tested", "url": url, "table": table, "create": True, "payload_type": "json", "dead_letters": {"type": "memory"}}
    return PostgresProducer(PostgresProducerConfig.model_validate(given | settings))


def execute(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Run a statement with a connection of its own, in which `TABLE` may be composed by the caller; returns the rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.SQL(statement), values or None)
        return cursor.fetchall() if cursor.description is not None else []


def rows(url: str, table: str, columns: str = "*", order: str = "arrival") -> list[tuple[Any, ...]]:
    """The rows of a table, in the order of arrival."""
    return execute(url, f'SELECT {columns} FROM "{table}" ORDER BY {order}')


def found(url: str, table: str) -> Iterator[Found]:
    """The messages in a table, byte by byte as they are there."""
    for id, payload, key, is_error in rows(url, table, "id, payload::text, key, is_error"):
        yield Found(id, payload.encode(), key, is_error)


def until(condition: Callable[[], object]) -> None:
    """Wait for it, at most ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.01)
