"""PostgreSQL, batches of rows."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.cases.destination_rows import destination_rows

SIDES = {
    "standpipe": "Standpipe, memory",
    "standpipe_spool": "Standpipe, written spool",
    "unnest": "psycopg, unnest",
    "standpipe_copy": "Standpipe, memory, copy",
    "standpipe_copy_many": "Standpipe, produce_many, memory, copy",
    "standpipe_spool_copy": "Standpipe, written spool, copy",
    "copy": "psycopg, COPY",
    "row_by_row": "psycopg, row by row",
    "sqlalchemy_core": "SQLAlchemy core",
}

_ROWS = destination_rows(
    SIDES,
    ("Standpipe's share of unnest", "standpipe", "unnest", 0.8),
    ("with copy: share of COPY", "standpipe_copy", "copy", 0.8),
    ("with produce_many and copy: share of COPY", "standpipe_copy_many", "copy", 0.8),
    ("with a written spool: share of that in memory", "standpipe_spool", "standpipe", 0.7),
    ("with a written spool and copy: share of that in memory", "standpipe_spool_copy", "standpipe_copy", 0.7),
    ("psycopg, row by row: slower by", "standpipe", "row_by_row", 1),
    ("SQLAlchemy core: slower by", "standpipe", "sqlalchemy_core", 1),
)

DESTINATION_POSTGRES = Case(
    name="destination_postgres",
    title="PostgreSQL, batches of 1,000 rows",
    note="From the first message to the last commit, after one batch by which every client is connected, into a table with the id as its "
    "key, the message as JSONB, and a number by arrival. Every client encodes the message; every batch is a transaction that the server "
    "has on its disk.",
    sides=("standpipe", "unnest", "standpipe_copy", "copy", "standpipe_copy_many", "standpipe_spool", "standpipe_spool_copy"),
    rivals=("row_by_row", "sqlalchemy_core"),
    rows=_ROWS,
    sizes={
        "full": {"rounds": 5, "messages": 100_000, "few_messages": 20_000, "batch": 1000},
        "quick": {"rounds": 3, "messages": 30_000, "few_messages": 5000, "batch": 1000},
        "smoke": {"rounds": 1, "messages": 50, "few_messages": 10, "batch": 10},
    },
)
