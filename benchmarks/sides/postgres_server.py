"""The PostgreSQL server that is measured against, and a table there for one side. Imports nothing of Standpipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg

from benchmarks.case import Missing

URL = os.environ.get("STANDPIPE_BENCH_POSTGRES", "postgresql://standpipe:standpipe@127.0.0.1:5432/standpipe")
"""Where it is: as `scripts/services` starts it, unless the environment says otherwise."""

TABLE = (
    'CREATE TABLE "{}" (arrival bigint GENERATED ALWAYS AS IDENTITY, id text PRIMARY KEY, time timestamptz, is_error boolean, key text, '
    "headers jsonb, payload jsonb)"
)
"""The same for all sides: as Standpipe makes it."""


@contextmanager
def table() -> Iterator[str]:
    """The name of an empty table, which is removed afterwards. Raises Missing if there is no server."""
    name = f"bench_{uuid4().hex}"
    try:
        with psycopg.connect(URL, autocommit=True, connect_timeout=3) as connection:
            connection.execute(TABLE.format(name).encode())
            try:
                yield name
            finally:
                connection.execute(f'DROP TABLE "{name}"'.encode())
    except psycopg.OperationalError as error:
        raise Missing(f"PostgreSQL does not let us in at its default address ({str(error).splitlines()[0]})") from error


def check(name: str, messages: int) -> None:
    """Raises RuntimeError unless every message is there, once."""
    with psycopg.connect(URL, autocommit=True) as connection:
        row = connection.execute(f'SELECT count(*), count(DISTINCT id) FROM "{name}"'.encode()).fetchone()
    if row != (messages, messages):
        raise RuntimeError(f"{messages} messages were sent, and there are {row}")
