"""What people write otherwise. Runs in the environment of the rivals; imports nothing of Standpipe."""

from __future__ import annotations

import importlib
from typing import Any

import orjson
import psycopg

from benchmarks.case import Measurement, Params
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.postgres_server import URL, check, table
from benchmarks.sides.watch import Watch


def row_by_row(params: Params) -> Measurement:
    """psycopg: one INSERT for each message, prepared; a commit for as many as are in a batch of the others."""
    messages, size = params["few_messages"], params["batch"]
    with table() as name, psycopg.connect(URL) as connection:
        statement = f'INSERT INTO "{name}" (id, time, is_error, payload) VALUES (%s, now(), false, %s::jsonb) ON CONFLICT (id) DO NOTHING'

        def send_all(first: int, count: int) -> None:
            for number in range(first, first + count):
                connection.execute(statement.encode(), [f"{number:032x}", orjson.dumps(MESSAGE).decode()], prepare=True)
                if number % size == size - 1:
                    connection.commit()
            connection.commit()

        send_all(0, size)
        watch = Watch()
        send_all(size, messages)
        found = watch.measured(messages)
        check(name, size + messages)
    return found


def sqlalchemy_core(params: Params) -> Measurement:
    """SQLAlchemy core: `insert` with a list of rows, which it writes in its own way of batches; a transaction for each."""
    sqlalchemy: Any = importlib.import_module("sqlalchemy")
    dialect: Any = importlib.import_module("sqlalchemy.dialects.postgresql")
    messages, size = params["few_messages"], params["batch"]
    engine = sqlalchemy.create_engine(URL.replace("postgresql://", "postgresql+psycopg://"))
    with table() as name:
        columns = [
            sqlalchemy.Column("id", sqlalchemy.Text),
            sqlalchemy.Column("is_error", sqlalchemy.Boolean),
            sqlalchemy.Column("payload", dialect.JSONB),
        ]
        statement = dialect.insert(sqlalchemy.Table(name, sqlalchemy.MetaData(), *columns)).on_conflict_do_nothing(index_elements=["id"])

        def send_all(first: int, end: int) -> None:
            for start in range(first, end, size):
                numbers = range(start, min(end, start + size))
                with engine.begin() as connection:
                    connection.execute(statement, [{"id": f"{number:032x}", "is_error": False, "payload": MESSAGE} for number in numbers])

        send_all(0, size)
        watch = Watch()
        send_all(size, size + messages)
        found = watch.measured(messages)
        engine.dispose()
        check(name, size + messages)
    return found
