"""`type: sqlite`: a table of messages in an SQLite database, each message once.

A batch is one transaction. A message that is sent again, after a crash or a lost answer, is recognised by its id and not
written twice.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from standpipe.core.clock import Clock
from standpipe.core.errors import ConfigurationError, Disconnected, NotSent, Reject, StandpipeError
from standpipe.core.finding import Finding, Severity
from standpipe.core.outcome import Outcome
from standpipe.core.units import Duration
from standpipe.delivery.batch import Batch
from standpipe.delivery.dead_letters import DeadLetters
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.database_columns import ColumnConfig, check_identifier, columns_from
from standpipe.producers.database_table import COLUMNS, insertion, prepare
from standpipe.producers.disk_findings import disk_findings

FOLDER_MODE, FILE_MODE = 0o750, 0o640
"""Permissions of what is made (less what the umask takes away): messages are for their owner and group."""

Row = tuple[str, float, bool, str | None, str]


class SqliteProducerConfig(BaseProducerConfig):
    """Which database and table, and how safely."""

    type: str = Field(default="sqlite", description="`sqlite`")
    path: str = Field(min_length=1, description="the database file; it and its folder are made if there are none; `~` is the home folder")
    table: str = Field(default="messages", description="table for messages; made if there is none")
    error_table: str | None = Field(default=None, description="table for error messages; none: the same table")
    columns: dict[str, ColumnConfig] = Field(
        default_factory=dict,
        description="columns computed from the message: a list of fields, a mapping from columns to paths such as `user: user.id`, or with "
        "`path`, `type` and `index` for each",
    )
    synchronous: Literal["full", "normal", "off"] = Field(
        default="full",
        description="`full`: delivered messages survive a power cut; `normal`: the last ones may be lost then, the database stays whole; "
        "`off`: a power cut may damage the database",
    )
    busy_timeout: Duration = Field(
        default=5.0,
        le=3600,
        description="how long to wait for another program that has locked the database, before the batch is tried again",
    )

    @field_validator("path")
    @classmethod
    def _is_a_file(cls, value: str) -> str:
        if "\x00" in value or value.startswith((":memory:", "file:")) or value.endswith("/"):
            raise ValueError(f"{value!r} is not the path of a database file; write for example data/messages.db")
        return value

    @field_validator("table", "error_table")
    @classmethod
    def _is_a_table_name(cls, value: str | None) -> str | None:
        return None if value is None else check_identifier(value, "table")

    @field_validator("columns", mode="before")
    @classmethod
    def _columns_in_short(cls, value: object) -> object:
        return columns_from(value)

    @field_validator("columns")
    @classmethod
    def _are_column_names(cls, value: dict[str, ColumnConfig]) -> dict[str, ColumnConfig]:
        seen = set(COLUMNS) | {"rowid", "oid", "_rowid_"}
        for name in value:
            if check_identifier(name, "column").lower() in seen:
                raise ValueError(f"{name!r} is the name of another column; write another one, such as {name}_: {value[name].path}")
            seen.add(name.lower())
        return value

    @model_validator(mode="after")
    def _two_tables_differ(self) -> SqliteProducerConfig:
        if self.error_table is not None and self.error_table.lower() == self.table.lower():
            raise ValueError("table and error_table are the same; leave error_table out: the column is_error tells the messages apart")
        return self


class SqliteProducer(BaseProducer):
    """Writes messages into tables of an SQLite database (WAL), one transaction per batch, each message once."""

    config_model: ClassVar[type[BaseProducerConfig]] = SqliteProducerConfig
    atomic_batches: ClassVar[bool] = True

    config: SqliteProducerConfig

    def __init__(
        self,
        config: SqliteProducerConfig,
        *,
        dead_letters: DeadLetters | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        """As every producer."""
        if not isinstance(config, SqliteProducerConfig):
            raise TypeError(f"SqliteProducer needs a SqliteProducerConfig, not {type(config).__name__}")
        self._path = os.path.abspath(os.path.expanduser(config.path))
        self._tables = (config.table, config.error_table or config.table)
        self._database: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._using = threading.Lock()
        super().__init__(config, dead_letters=dead_letters, clock=clock, jitter=jitter)
        _producers.add(self)

    @property
    def destination(self) -> str:
        """The file and its tables."""
        config = self.config
        return f"sqlite:{config.path}, table {config.table}" + (f", errors: {config.error_table}" if config.error_table else "")

    def examine(self) -> list[Finding]:
        """The folder of the database, and what a power cut takes."""
        found = list(disk_findings(Path(self._path).parent, "database", None))
        synchronous = self.config.synchronous
        if synchronous == "full":
            found.append(Finding(Severity.INFO, "synchronous is full", "what counts as delivered survives a power cut", ""))
        else:
            lost = "loses the last transactions, which count as delivered" if synchronous == "normal" else "may damage the whole database"
            severity = Severity.WARNING if synchronous == "normal" else Severity.CRITICAL
            found.append(Finding(severity, f"synchronous is {synchronous}", f"a power cut {lost}", "synchronous: full"))
        return found

    def _connect(self) -> None:
        with self._using:
            self._disconnect()
            self._open()

    def _send_batch(self, batch: Batch) -> list[Outcome]:
        with self._using:
            try:
                if self._database is None:  # a fork has closed it
                    self._open()
                self._write(self._still_there(), batch)
            except sqlite3.Error as error:
                raise _translated(error, self._path) from error
        return batch.delivered()

    def _close(self) -> None:
        with self._using:
            self._disconnect()

    # --- the connection, guarded by `_using` --------------------------------------------------------------------------

    def _open(self) -> None:
        _check_place(self._path)
        config = self.config
        # Used by one thread at a time: the worker, and the thread that forks, which closes it.
        db = sqlite3.connect(self._path, timeout=config.busy_timeout, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {config.synchronous.upper()}")
            db.execute("BEGIN IMMEDIATE")
            for table in dict.fromkeys(self._tables):
                prepare(db, table, config.columns)
            db.execute("COMMIT")
            found = os.stat(self._path)
        except sqlite3.Error as error:
            db.close()
            raise _translated(error, self._path) from error
        except BaseException:
            db.close()
            raise
        self._database, self._identity = db, (found.st_dev, found.st_ino)

    def _still_there(self) -> sqlite3.Connection:
        """The open database, if its path still leads to it: into a deleted file one can write for ever, and all is lost."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            found = None
        if self._database is None or found is None or (found.st_dev, found.st_ino) != self._identity:
            raise Disconnected(f"the database {self._path!r} was deleted or replaced; opening the one that is there now", arrived=False)
        return self._database

    def _write(self, db: sqlite3.Connection, batch: Batch) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            for table, part in self._by_table(batch):
                db.executemany(insertion(table), _rows(part))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _by_table(self, batch: Batch) -> list[tuple[str, Batch]]:
        normal, error = self._tables
        if normal == error:
            return [(normal, batch)]
        return [(self._tables[flag], part) for flag, part in batch.split_by_error()]

    def _disconnect(self) -> None:
        if self._database is not None:
            db, self._database = self._database, None
            db.close()


def _rows(batch: Batch) -> Iterator[Row]:
    times = batch.times()
    payloads = batch.jsonl()[:-1].decode().split("\n")
    return zip(batch.ids(), times, batch.is_errors(), batch.keys(), payloads, strict=True)


def _check_place(path: str) -> None:
    """Make the folder and the file; refuse what SQLite would only call "unable to open database file"."""
    folder = os.path.dirname(path)
    os.makedirs(folder, FOLDER_MODE, exist_ok=True)
    if os.path.exists(path) and not os.path.isfile(path):
        raise ConfigurationError(f"{path!r} is not a regular file; name another path for the database")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            f"the folder {folder!r} cannot be written to, which SQLite needs; change its permissions, or name another path"
        )
    try:
        # Only if there is none: closing a descriptor of a database gives up the locks of every connection of this process.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    except FileExistsError:
        pass


def _translated(error: sqlite3.Error, path: str) -> StandpipeError:
    """What an error of SQLite says about the batch. None of them leaves a part of it behind: the transaction was rolled back,
    and a COMMIT whose answer got lost is recognised by the ids when it is repeated."""
    code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
    if isinstance(error, sqlite3.IntegrityError) or code in (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG):
        return Reject(f"the database refuses the message: {error}")  # a rule that the user put on the table, or SQLite's limits
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        why = "is damaged or no SQLite database"
        return Disconnected(f"{path!r} {why} ({error}); move it away to begin a new one, or restore it", arrived=False)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return NotSent(f"{path!r} is locked by another program ({error})")
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM):
        return NotSent(f"{path!r} cannot grow: {error}")
    # The connection may be beyond repair (I/O errors, a table dropped, read-only): a new one finds out what is wrong.
    return Disconnected(f"writing to {path!r} failed: {error}", arrived=False)


# --- fork -------------------------------------------------------------------------------------------------------------

# SQLite keeps account of its file locks per process and does not notice a fork: with a connection open, the child would
# believe to hold locks that only the parent has, and the parent could remove a log that the child is writing to. So the
# connections are closed before a fork, waiting for a batch that is being written, and opened again by both when needed.

_producers: weakref.WeakSet[SqliteProducer] = weakref.WeakSet()
_forking = threading.Lock()
_held: list[SqliteProducer] = []


def _before_fork() -> None:
    _forking.acquire()
    for producer in list(_producers):
        producer._using.acquire()
        _held.append(producer)
        producer._disconnect()


def _after_fork() -> None:
    while _held:
        _held.pop()._using.release()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
