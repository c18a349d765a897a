from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from standpipe.app.configuration import read_plan
from standpipe.app.ledger import Ledger, LedgerRow
from standpipe.cli import demo_setup
from standpipe.cli.demo_count import Count, count_independently
from standpipe.cli.demo_setup import FILES, Scene, count_lines, set_the_scene
from standpipe.cli.exit_codes import CommandFailed


@pytest.fixture
def own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_setup, "MACHINE_LOG", Path("/nowhere/dpkg.log"))


@pytest.mark.usefixtures("own_log")
def test_where_the_machine_has_no_log_the_demo_brings_its_own(tmp_path: Path) -> None:
    scene = set_the_scene(tmp_path / "demo", 9)
    assert not scene.log_is_the_machines
    assert scene.log.read_bytes() == (FILES / "dpkg.log").read_bytes()
    assert scene.log_lines == count_lines(FILES / "dpkg.log") > 300


def test_an_empty_or_huge_log_of_the_machine_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "dpkg.log"
    log.write_text("")
    monkeypatch.setattr(demo_setup, "MACHINE_LOG", log)
    assert not set_the_scene(tmp_path / "a", 9).log_is_the_machines
    log.write_text("2026-01-01 00:00:00 startup archives unpack\n")
    assert set_the_scene(tmp_path / "b", 9).log_is_the_machines
    monkeypatch.setattr(demo_setup, "MACHINE_LOG_MAX", 10)
    assert not set_the_scene(tmp_path / "c", 9).log_is_the_machines


@pytest.mark.usefixtures("own_log")
def test_the_configuration_left_behind_needs_no_environment(tmp_path: Path) -> None:
    scene = set_the_scene(tmp_path / "a [strange] folder", 9)
    assert "${env" not in scene.configuration.read_text(encoding="utf-8")
    plan = read_plan(scene.configuration, {})
    alerts = plan.producers["alerts"][1].model_dump()
    assert (alerts["path"], alerts["down_after"], alerts["down_for"]) == (scene.alerts, 3.0, 3.0)
    assert plan.agents["visits"][1].model_dump()["count"] == scene.made_up_lines == 2700


def test_the_configuration_of_the_example_is_valid_as_it_stands() -> None:
    assert len(read_plan(FILES / "standpipe.yaml", {}).pipelines) == 2


def test_without_its_files_the_demo_says_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_setup, "FILES", tmp_path)
    with pytest.raises(CommandFailed, match="get the source of standpipe and call `make demo` in it"):
        set_the_scene(None, 9)


@pytest.mark.parametrize(("text", "lines"), [(b"", 0), (b"a\n", 1), (b"a\nb", 2), (b"\n\n", 2), (b"x" * 3_000_000 + b"\ny", 2)])
def test_lines_are_counted_also_without_an_end(text: bytes, lines: int, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(text)
    assert count_lines(path) == lines


@pytest.mark.parametrize(
    ("archived", "alerts", "delivered", "agrees"),
    [(8, 2, (8, 2), True), (8, 1, (8, 2), False), (8, 2, (7, 3), False), (9, 2, (9, 2), False), (8, 1, (8, 1), False)],
)
def test_the_counts_agree_only_if_every_line_is_found_once_and_the_ledger_says_so(
    archived: int, alerts: int, delivered: tuple[int, int], agrees: bool
) -> None:
    ledger = dict(zip(("archive", "alerts"), delivered, strict=True))
    assert Count(4, 6, archived, alerts, ledger_read=10, ledger_delivered=ledger).agrees is agrees


def test_rows_and_lines_are_counted_in_the_files(tmp_path: Path) -> None:
    log = tmp_path / "dpkg.log"
    log.write_text("a\nb\n")
    scene = Scene(tmp_path, log, True, log_lines=2, seconds=1)
    with closing(sqlite3.connect(scene.archive)) as database:
        database.execute("create table messages (id)")
        database.execute("insert into messages values (1), (2), (3)")
        database.commit()
    scene.alerts.write_text("{}\n")
    ledger = Ledger((LedgerRow("archive", 3, 3, 0, 0, 0), LedgerRow("alerts", 1, 1, 0, 0, 0)))
    count = count_independently(scene, ledger)
    assert (count.archived, count.alerts, count.log_lines) == (3, 1, 2)
    assert not count.agrees, "nothing was read, says the ledger"
