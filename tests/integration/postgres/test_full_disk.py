"""Disks of the server that are full, really: a small tmpfs. Messages wait, other destinations are unharmed, and nothing is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from standpipe.delivery.statistics import ProducerStatistics
from standpipe.producers.config import AnyQueueConfig
from standpipe.producers.postgres import PostgresProducer
from standpipe.producers.postgres_errors import DISK_FULL_SECONDS, ERRORS
from tests.integration.conftest import MakeServer
from tests.integration.postgres.database import execute, found, producer
from tests.integration.spool.disks import need_root, small_disk
from tests.servers.postgres import PostgresServer
from tests.servers.scenario import QUICK, deliver_through_trouble
from tests.servers.server import Address
from tests.servers.waiting import until

WITHIN = 20.0
CHUNK = bytes(2**16)
JOURNAL_FILES = 10
"""More than have room; each has 16 MiB."""


@pytest.fixture(autouse=True)
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants to wait so long."""
    rows = (dataclasses.replace(row, seconds=0.2) if row.seconds == DISK_FULL_SECONDS else row for row in ERRORS.rows)
    monkeypatch.setattr(ERRORS, "rows", tuple(rows))


@pytest.fixture
def server(own_server: MakeServer) -> PostgresServer:
    """One that runs as `postgres`, with its data in a folder in which root can mount something."""
    need_root()
    return own_server(PostgresServer)


@contextlib.contextmanager
def disk_of(server: PostgresServer, size: str) -> Iterator[Path]:
    """A disk that only this server uses; it stops before the disk goes."""
    assert server.outside is not None
    with small_disk(server.outside, f"size={size}") as disk:
        try:
            yield disk
        finally:
            server.stop()


def fill(disk: Path) -> Path:
    """Leave no byte; returns the file that has to go."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(CHUNK)
    return filler


class Story:
    """A producer whose server has a full disk in mid-stream, and another destination at that time."""

    def __init__(self, url: str, table: str, elsewhere: str) -> None:
        self._url, self._table, self._elsewhere = url, table, elsewhere
        self._made: PostgresProducer | None = None

    def tell(self, folder: Path, fill_disk: Callable[[], object], words: str, make_room: Callable[[], object]) -> None:
        """Everything arrives once and in order; `words` are what the producer says of the full disk."""

        def trouble() -> None:
            fill_disk()
            until(lambda: words in str(self._statistics().last_error))
            self._deliver_elsewhere()
            now = self._statistics()
            assert now.pending > 0
            assert (now.dead_lettered, now.dropped) == (0, 0)
            make_room()

        deliver_through_trouble(self._make, trouble, lambda: found(self._url, self._table), folder=folder).check()

    def _make(self, queue: AnyQueueConfig) -> PostgresProducer:
        self._made = producer(self._url, self._table, queue=queue, **QUICK)
        return self._made

    def _statistics(self) -> ProducerStatistics:
        assert self._made is not None
        return self._made.statistics()

    def _deliver_elsewhere(self) -> None:
        with producer(self._elsewhere, self._table, **QUICK) as other:
            receipt = other.produce(False, {"n": 1})
            receipt.wait(WITHIN)
            assert receipt.delivered


def test_table_without_room_is_waited_for(server: PostgresServer, unique_name: str, tmp_path: Path) -> None:
    elsewhere = server.url.removesuffix("standpipe") + "postgres"  # another database of the same server, on the large disk
    with disk_of(server, "2M") as disk:
        space = disk / "space"
        space.mkdir()
        shutil.chown(space, "postgres", "postgres")
        execute(server.url, f"CREATE TABLESPACE small LOCATION '{space}'")
        execute(server.url, "ALTER DATABASE standpipe SET default_tablespace = small")
        story = Story(server.url, unique_name, elsewhere)
        story.tell(tmp_path, lambda: fill(disk), "the server's disk is full", lambda: (disk / "filler").unlink())
    assert "No space left on device" in server.log


def test_server_that_dies_of_its_full_disk_is_waited_for(
    server: PostgresServer, postgres_server: Address, postgres_name: str, tmp_path: Path
) -> None:
    server.stop()
    with disk_of(server, "80M") as disk:
        move_journal(server, disk)
        server.start()

        def fill_journal() -> None:
            """The journal is what a server cannot do without: it ends, and cannot start."""
            fill(disk)
            with contextlib.suppress(psycopg.Error):
                for _ in range(JOURNAL_FILES):
                    execute(server.url, "SELECT pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")
            until(lambda: not server.running)

        def make_room() -> None:
            (disk / "filler").unlink()
            server.start()

        Story(server.url, postgres_name, postgres_server.url).tell(tmp_path, fill_journal, "the server cannot be reached", make_room)
    assert "PANIC" in server.log
    assert "No space left on device" in server.log


def move_journal(server: PostgresServer, disk: Path) -> None:
    """To a disk of its own, as large servers have it."""
    assert server.outside is not None
    journal = server.outside / "data" / "pg_wal"
    shutil.move(journal, disk / "pg_wal")
    journal.symlink_to(disk / "pg_wal")
    for path in (disk / "pg_wal").rglob("*"):
        shutil.chown(path, "postgres", "postgres")
    shutil.chown(disk / "pg_wal", "postgres", "postgres")
