"""The database file of a store of dead letters: made whole or not at all, opened when needed, never across a fork."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from standpipe.core.errors import StandpipeError
from standpipe.spool.dead_letter_table import APPLICATION_ID, VERSION, make_table

BUSY_TIMEOUT: Final = 10.0
"""Seconds to wait for another process that is writing; its transactions take milliseconds."""

STALE_SECONDS: Final = 3600.0
"""Age from which a half-made database of a killed process is swept up; making one takes milliseconds."""

_MAGIC: Final = b"SQLite format 3\0"


class DeadLetterError(StandpipeError):
    """the dead letters cannot be read or written"""


class DeadLettersTooNew(DeadLetterError):
    """the dead letters were written by a newer version of Standpipe

    Nothing was touched. Use the newer version.
    """


class Database:
    """The connection to one file, used by one thread at a time. Opened for each use; from the first use that asks to `keep` it
    until `close` it stays open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._using = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._closed = False
        _databases.add(self)

    def exists(self) -> bool:
        """Whether there is a file."""
        return self.path.exists()

    def check(self) -> None:
        """Raise DeadLetterError or OSError if the file that there is cannot be used, or none could be made."""
        with self.reading() as db:
            if db is not None:
                return
        folder = next(parent for parent in self.path.parents if os.path.lexists(parent))
        if not folder.is_dir():
            raise DeadLetterError(f"{self.path} cannot be made: {folder} is no folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise DeadLetterError(f"{self.path} cannot be made: {folder} is not writable")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """The connection, or None where there is no file. Raises DeadLetterError, OSError."""
        with self._using:
            if not self.exists():
                yield None
                return
            with self._connection(keep=False) as db:
                yield db

    @contextlib.contextmanager
    def writing(self, *, keep: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection within a transaction that is on the disk when the block is left; the file is made if there is none.

        Raises DeadLetterError, OSError: then nothing was written.
        """
        with self._using:
            if not self.exists():
                _make(self.path)
            with self._connection(keep) as db, _transaction(db):
                yield db

    def close(self) -> None:
        """Release the file. Later uses open it for as long as they take."""
        with self._using:
            self._closed = True
            self._disconnect()

    @contextlib.contextmanager
    def _connection(self, keep: bool) -> Iterator[sqlite3.Connection]:
        if self._db is not None and _identity(self.path) != self._identity:
            self._disconnect()  # into a deleted file one can write for ever, and all is lost
        db = self._db if self._db is not None else self._open()
        if keep and not self._closed:
            self._db = db
        try:
            yield db
        except BaseException as error:  # the connection may be beyond repair: the next use begins with a new one
            self._db = None
            db.close()
            if isinstance(error, sqlite3.Error):
                raise _translated(error, self.path) from error
            raise
        if self._db is not db:
            db.close()

    def _open(self) -> sqlite3.Connection:
        _check_header(self.path)
        try:
            db = _connected(self.path)
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error
        self._identity = _identity(self.path)
        return db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, on the disk when it is over."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _connected(path: Path) -> sqlite3.Connection:
    # Used by one thread at a time, under `_using`.
    db = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns, also in WAL mode
        db.execute("PRAGMA fullfsync = 1")  # macOS: past the drive's cache
        db.execute("PRAGMA temp_store = MEMORY")  # what each statement may have to undo: in a file it takes as long as the rest
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise _too_new(path, version)
    except BaseException:
        db.close()
        raise
    return db


def _check_header(path: Path) -> None:
    """Before SQLite touches the file: it is ours, and not newer than we are."""
    with open(path, "rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(_MAGIC):
        raise _damaged(path, "it does not begin as an SQLite database")
    if int.from_bytes(header[68:72]) != APPLICATION_ID:
        raise DeadLetterError(f"{path} is a database of another program; move it away, Standpipe makes its own there")
    version = int.from_bytes(header[60:64])
    if version > VERSION:
        raise _too_new(path, version)


def _too_new(path: Path, version: int) -> DeadLettersTooNew:
    return DeadLettersTooNew(
        f"{path} was written by a newer version of Standpipe (layout {version}, this one knows up to {VERSION}); nothing was touched, "
        "use the newer version"
    )


def _damaged(path: Path, why: object) -> DeadLetterError:
    return DeadLetterError(
        f"the database of dead letters {path} is damaged ({why}); move it away to begin a new one, `sqlite3 FILE .recover` saves what "
        "can be read"
    )


def _translated(error: sqlite3.Error, path: Path) -> DeadLetterError:
    code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged(path, error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DeadLetterError(f"another program has locked {path} for more than {BUSY_TIMEOUT:g} s; end it, it may be an open `sqlite3`")
    if code == sqlite3.SQLITE_FULL:
        return DeadLetterError(f"there is no room on the disk for {path}; make some, or purge dead letters")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return DeadLetterError(f"{path} cannot be opened for writing ({error}); it belongs to the user who runs the producer")
    return DeadLetterError(f"{path} cannot be used: {error}")


def _make(path: Path) -> None:
    """A new database, complete or not at all: made under another name, then given its own. Whoever is second uses the first's."""
    _make_folder(path.parent)
    _sweep_up(path)
    descriptor, made = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)  # 0600, and so is its log
    try:
        with contextlib.closing(sqlite3.connect(made, isolation_level=None)) as db:
            make_table(db)
        os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
    except sqlite3.Error as error:
        raise _translated(error, path) from error
    finally:
        os.close(descriptor)
        os.unlink(made)
    _sync_folder(path.parent)


def _sweep_up(path: Path) -> None:
    for left in path.parent.glob(f".{path.name}.*.tmp*"):
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - STALE_SECONDS:
                left.unlink()


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- fork -------------------------------------------------------------------------------------------------------------

# SQLite keeps account of its file locks per process and does not notice a fork: with a connection open, the child would
# believe to hold locks that only the parent has. So connections are closed before a fork, waiting for a call that is under
# way, and opened again by both when they are needed.

_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_forking = threading.RLock()
_held: list[Database] = []


def _before_fork() -> None:
    _forking.acquire()
    for database in list(_databases):
        database._using.acquire()
        _held.append(database)
        database._disconnect()


def _after_fork() -> None:
    while _held:
        _held.pop()._using.release()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
