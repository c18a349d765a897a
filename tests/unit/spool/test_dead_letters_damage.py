"""Dead letters on disk: files that are damaged, newer, foreign, locked or half made."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

import standpipe.spool.dead_letter_database as database
from standpipe.spool.dead_letter_database import DeadLetterError, DeadLettersTooNew
from standpipe.spool.dead_letter_table import LetterFilter
from standpipe.spool.dead_letters import SqliteDeadLetters
from tests.unit.spool.letters import integrity, letter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders.sqlite"


def filled(path: Path, number: int = 3) -> SqliteDeadLetters:
    store = SqliteDeadLetters(path)
    store.add([letter(n, payload=b"x" * 3000) for n in range(number)])
    store.close()
    return store


def test_a_newer_version_is_refused_and_not_touched(path: Path) -> None:
    filled(path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.close()
    before = path.read_bytes()
    store = SqliteDeadLetters(path)
    said = r"newer version of Standpipe \(layout 2, this one knows up to 1\); nothing was touched"
    for use in (lambda: store.add([letter(9)]), lambda: store.purge(LetterFilter()), store.find, store.statistics, store.sweep):
        with pytest.raises(DeadLettersTooNew, match=said):
            use()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["orders.sqlite"]


def test_a_newer_version_that_was_killed_while_writing_is_not_touched_either(path: Path, tmp_path: Path) -> None:
    store = SqliteDeadLetters(path)
    store.add([letter(1)])
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.execute("PRAGMA wal_checkpoint").fetchall()
    store.add([letter(2)])
    left = tmp_path / "left"  # what a kill at this moment leaves: the last letter is in the log only
    left.mkdir()
    before = {file.name: file.read_bytes() for file in path.parent.glob("orders.sqlite*") if not file.name.endswith("-shm")}
    for name, content in before.items():
        (left / name).write_bytes(content)
    db.close()
    store.close()
    with pytest.raises(DeadLettersTooNew):
        SqliteDeadLetters(left / path.name).find()
    assert {file.name: file.read_bytes() for file in left.iterdir()} == before
    assert len(before) == 2


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0", os.urandom(5000)])
def test_what_is_no_database_is_refused_and_not_touched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DeadLetterError, match=r"is damaged .*; move it away to begin a new one"):
        SqliteDeadLetters(path).add([letter(1)])
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_not_touched(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE letters (id TEXT)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(DeadLetterError, match="is a database of another program; move it away"):
        SqliteDeadLetters(path).find()
    assert path.read_bytes() == before


def test_damage_in_the_middle_is_a_clear_error_and_a_new_file_helps(path: Path) -> None:
    store = filled(path, 200)
    content = bytearray(path.read_bytes())
    content[4096:-4096] = os.urandom(len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(DeadLetterError, match=r"is damaged .*`sqlite3 FILE \.recover` saves what can be read"):
        store.add([letter(1000)])
    path.rename(path.with_suffix(".damaged"))
    store.add([letter(1000)])
    assert [found.id for found in store] == ["m1000"]


def test_a_locked_database_is_waited_for_and_then_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    store = filled(path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(DeadLetterError, match="another program has locked"):
        store.add([letter(9)])
    assert len(store) == 3  # reading goes on meanwhile
    holder.execute("ROLLBACK")
    holder.close()
    store.add([letter(9)])
    assert len(store) == 4


def test_a_file_that_cannot_be_written_is_a_clear_error(path: Path) -> None:
    if os.geteuid() == 0:
        path.parent.joinpath("orders.sqlite").mkdir()
        with pytest.raises(IsADirectoryError):
            SqliteDeadLetters(path).add([letter(1)])
        return
    filled(path)
    path.chmod(0o400)
    with pytest.raises(DeadLetterError, match="cannot be opened for writing"):
        SqliteDeadLetters(path).add([letter(1)])


def test_a_full_disk_is_a_clear_error_and_nothing_that_was_there_is_lost(path: Path) -> None:
    store = SqliteDeadLetters(path)
    store.add([letter(1)])
    db = store._file._db
    assert db is not None
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(DeadLetterError, match="there is no room on the disk"):
        store.add([letter(2), letter(3, payload=b"x" * 100_000)])
    assert [found.id for found in store] == ["m1"]
    assert integrity(path) == "ok"


def test_two_that_make_the_file_at_the_same_time_use_the_same_one(path: Path) -> None:
    stores = [SqliteDeadLetters(path) for _ in range(8)]
    begin = threading.Barrier(8)

    def add(number: int) -> None:
        begin.wait()
        stores[number].add([letter(number)])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(SqliteDeadLetters(path)) == 8
    for store in stores:
        store.close()
    assert os.listdir(path.parent) == ["orders.sqlite"]


def test_a_half_made_file_of_a_killed_process_is_swept_up_in_time(path: Path) -> None:
    old, fresh = (path.parent / f".orders.sqlite.{name}.tmp" for name in ("old", "fresh"))
    other = path.parent / ".audit.sqlite.old.tmp"
    for file in (old, fresh, other):
        file.touch()
    past = time.time() - 2 * database.STALE_SECONDS
    os.utime(old, (past, past))
    os.utime(other, (past, past))
    filled(path)
    assert sorted(os.listdir(path.parent)) == [".audit.sqlite.old.tmp", ".orders.sqlite.fresh.tmp", "orders.sqlite"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_parent_and_forked_child_use_the_same_file_with_connections_of_their_own(path: Path) -> None:
    store = SqliteDeadLetters(path)
    store.add([letter(1)])
    child = os.fork()
    if child == 0:
        try:
            alone = store._file._db is None
            store.add([letter(2)])
            os._exit(0 if alone else 1)
        finally:
            os._exit(2)
    store.add([letter(3)])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(found.id for found in store) == ["m1", "m2", "m3"]
    store.close()
    assert integrity(path) == "ok"
