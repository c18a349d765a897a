"""The tables of the `sqlite` producer: made on demand, checked when they exist.

The table has a rowid besides its primary key, on purpose: rows stay in the order of arrival (`ORDER BY rowid`), pages fill
up whatever the ids look like, and large payloads do not slow down looking for an id. Without it the file is a tenth smaller
and writing no faster.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from standpipe.core.errors import ConfigurationError
from standpipe.producers.database_columns import ColumnConfig, quoted

COLUMNS = {
    "id": "TEXT PRIMARY KEY NOT NULL",
    "time": "REAL NOT NULL",
    "is_error": "INTEGER NOT NULL",
    "key": "TEXT",
    "payload": "TEXT NOT NULL",
}
"""What every table has: the message id, when it was accepted (seconds since 1970), the flag, the key, the message as JSON."""

GENERATED_SINCE = (3, 31, 0)
"""The SQLite that brought generated columns."""


def prepare(db: sqlite3.Connection, table: str, columns: Mapping[str, ColumnConfig]) -> None:
    """Make `table` with its generated columns and indexes, or what is missing of it. Call it within a transaction.

    Raises ConfigurationError if there is a table of that name which messages cannot be written to.
    """
    if columns and sqlite3.sqlite_version_info < GENERATED_SINCE:
        raise ConfigurationError(
            f"columns need SQLite 3.31 or newer, this is {sqlite3.sqlite_version}; leave `columns` out, or update SQLite"
        )
    found = db.execute("SELECT type, sql FROM sqlite_master WHERE name = ? COLLATE NOCASE", (table,)).fetchone()
    if found is None:
        parts = [f"{quoted(name)} {kind}" for name, kind in COLUMNS.items()]
        parts += [column.definition(name) for name, column in columns.items()]
        db.execute(f"CREATE TABLE {quoted(table)} ({', '.join(parts)})")
    else:
        kind, sql = found
        if kind != "table":
            raise _unusable(table, f"it is a {kind}, not a table")
        _check(db, table)
        _add_columns(db, table, columns, sql)
    for name, column in columns.items():
        if column.index:
            db.execute(f"CREATE INDEX IF NOT EXISTS {quoted(f'{table}_{name}')} ON {quoted(table)} ({quoted(name)})")


def insertion(table: str) -> str:
    """The statement that writes a message once, however often it is tried."""
    names = ", ".join(quoted(name) for name in COLUMNS)
    return f"INSERT INTO {quoted(table)} ({names}) VALUES (?, ?, ?, ?, ?) ON CONFLICT(id) DO NOTHING"


def _check(db: sqlite3.Connection, table: str) -> None:
    """Whether an existing table can take messages."""
    present = {}
    for _, name, _, not_null, default, key_position, hidden in db.execute(f"PRAGMA table_xinfo({quoted(table)})"):
        present[name.lower()] = (key_position, hidden)
        if not_null and default is None and not hidden and not key_position and name.lower() not in COLUMNS:
            raise _unusable(table, f"its column {name!r} must have a value and has no default")
    for name in COLUMNS:
        if name not in present:
            raise _unusable(table, f"it has no column {name!r}")
        if present[name][1]:
            raise _unusable(table, f"its column {name!r} is computed")
    if [name for name, (key_position, _) in present.items() if key_position] != ["id"]:
        raise _unusable(table, "its primary key is not the column 'id'")


def _add_columns(db: sqlite3.Connection, table: str, columns: Mapping[str, ColumnConfig], sql: str) -> None:
    """Add the generated columns that are missing. SQLite keeps their definitions word for word, which shows whether one that
    exists is the one that is wanted."""
    present = {row[1].lower() for row in db.execute(f"PRAGMA table_xinfo({quoted(table)})")}
    for name, column in columns.items():
        if name.lower() not in present:
            db.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN {column.definition(name)}")
        elif column.definition(name) not in sql:
            raise _unusable(table, f"its column {name!r} is not {column.definition(name)}; name the column otherwise", remedy="")


def _unusable(table: str, why: str, remedy: str = "; name another table, or rename this one") -> ConfigurationError:
    return ConfigurationError(f"messages cannot be written to the table {table!r}: {why}{remedy}")
