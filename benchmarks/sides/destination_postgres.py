"""Messages as rows of a table, in batches of one transaction each; with their ids, so that none can come twice.

One batch is sent before the clock starts: every side is connected then, and knows the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg

from benchmarks.case import Measurement, Params
from benchmarks.sides.delivery import MEMORY, deliver, spool
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.postgres_server import URL, check, table
from benchmarks.sides.watch import Watch
from standpipe.producers.postgres import PostgresProducer
from standpipe.producers.postgres_config import PostgresProducerConfig

Ids = list[str]


def unnest(params: Params) -> Measurement:
    """psycopg at its best with `unnest`: an array for each column that differs, a prepared statement, nothing else."""

    def send(connection: psycopg.Connection[Any], name: str, ids: Ids, payloads: list[str]) -> None:
        statement = (
            f'INSERT INTO "{name}" (id, time, is_error, key, headers, payload) SELECT r.id, now(), false, NULL, NULL, r.payload '
            "FROM unnest(%s::text[], %s::jsonb[]) AS r(id, payload) ON CONFLICT (id) DO NOTHING"
        )
        connection.execute(statement.encode(), [ids, payloads], prepare=True)

    return _raw(params, send)


def copy(params: Params) -> Measurement:
    """psycopg at its best with COPY: the rows of a batch joined to one text, all columns in it."""

    def send(connection: psycopg.Connection[Any], name: str, ids: Ids, payloads: list[str]) -> None:
        statement = f'COPY "{name}" (id, time, is_error, key, headers, payload) FROM STDIN'
        rest = f"\t{datetime.now(UTC).isoformat()}\tf\t\\N\t\\N\t"
        with connection.cursor() as cursor, cursor.copy(statement.encode()) as rows:
            rows.write("\n".join([f"{id}{rest}{payload}" for id, payload in zip(ids, payloads, strict=True)]) + "\n")

    return _raw(params, send)


def _raw(params: Params, send: Callable[[psycopg.Connection[Any], str, Ids, list[str]], None]) -> Measurement:
    messages, size = params["messages"], params["batch"]
    with table() as name, psycopg.connect(URL, autocommit=True) as connection:

        def send_all(first: int, count: int) -> None:
            for ids in _batches(first, first + count, size):
                send(connection, name, ids, [orjson.dumps(MESSAGE).decode() for _ in ids])

        send_all(0, size)
        watch = Watch()
        send_all(size, messages)
        found = watch.measured(messages)
        check(name, size + messages)
    return found


def _batches(first: int, end: int, size: int) -> Iterator[Ids]:
    for start in range(first, end, size):
        yield [f"{number:032x}" for number in range(start, min(end, start + size))]


def standpipe(params: Params) -> Measurement:
    """`produce`, with the queue in memory."""
    return _standpipe(params, MEMORY)


def standpipe_copy(params: Params) -> Measurement:
    """`produce`, with the queue in memory, and COPY."""
    return _standpipe(params, MEMORY, mode="copy")


def standpipe_copy_many(params: Params) -> Measurement:
    """`produce_many`, a hundred messages in each call, with the queue in memory, and COPY."""
    return _standpipe(params, MEMORY, together=100, mode="copy")


def standpipe_spool(params: Params) -> Measurement:
    """`produce`, with a `written` spool."""
    return _standpipe(params, spool(params))


def standpipe_spool_copy(params: Params) -> Measurement:
    """`produce`, with a `written` spool, and COPY."""
    return _standpipe(params, spool(params), mode="copy")


def _standpipe(params: Params, queue: dict[str, Any], together: int = 1, **settings: Any) -> Measurement:
    messages, size = params["messages"], params["batch"]
    with table() as name:
        given = {"name": "bench", "url": URL, "table": name, "batch": {"max_messages": size}, "queue": queue, **settings}
        found = deliver(PostgresProducer(PostgresProducerConfig.model_validate(given)), messages, warm_up=size, together=together)
        check(name, size + messages)
    return found
