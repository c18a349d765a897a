"""The server dies, hangs and restarts in mid-stream: nothing acknowledged is lost, nothing comes twice, order is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.integration.postgres.database import execute, found, producer
from tests.servers.postgres import PostgresServer
from tests.servers.scenario import QUICK, deliver_through_trouble, hang, kill


def end_sessions(server: PostgresServer) -> None:
    """What an administrator does, and a failover."""
    execute(server.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'standpipe/%%' AND %s", True)


TROUBLES: list[tuple[Callable[[PostgresServer], None], Literal["memory", "spool"], dict[str, Any]]] = [
    (kill, "memory", {}),
    (kill, "spool", {"mode": "copy"}),
    (PostgresServer.restart, "spool", {}),
    (PostgresServer.restart, "memory", {"mode": "copy"}),
    (hang, "memory", {}),
    (hang, "spool", {"mode": "copy"}),
    (end_sessions, "memory", {}),
]


@pytest.mark.parametrize(("trouble", "queue", "settings"), TROUBLES)
def test_nothing_is_lost_or_doubled(
    own_postgres: PostgresServer,
    unique_name: str,
    tmp_path: Path,
    trouble: Callable[[PostgresServer], None],
    queue: Literal["memory", "spool"],
    settings: dict[str, Any],
) -> None:
    oracle = deliver_through_trouble(
        lambda queue: producer(own_postgres.url, unique_name, queue=queue, pause=0.2, **QUICK, **settings),
        lambda: trouble(own_postgres),
        lambda: found(own_postgres.url, unique_name),
        folder=tmp_path,
        queue=queue,
    )
    oracle.check()


def test_a_successor_finishes_what_is_in_the_spool(own_postgres: PostgresServer, unique_name: str, tmp_path: Path) -> None:
    oracle = deliver_through_trouble(
        lambda queue: producer(own_postgres.url, unique_name, queue=queue, **QUICK),
        lambda: kill(own_postgres),
        lambda: found(own_postgres.url, unique_name),
        folder=tmp_path,
        queue="spool",
        successor=True,
    )
    oracle.check()


def test_a_table_that_is_dropped_in_mid_stream_is_made_again(own_postgres: PostgresServer, unique_name: str, tmp_path: Path) -> None:
    def drop() -> None:
        execute(own_postgres.url, f'ALTER TABLE "{unique_name}" RENAME TO "{unique_name}_old"')

    oracle = deliver_through_trouble(
        lambda queue: producer(own_postgres.url, unique_name, queue=queue, pause=0.1, **QUICK),
        drop,
        lambda: [*found(own_postgres.url, f"{unique_name}_old"), *found(own_postgres.url, unique_name)],
        folder=tmp_path,
    )
    oracle.check()
    assert list(found(own_postgres.url, unique_name)), "nothing was written after the table had gone"
