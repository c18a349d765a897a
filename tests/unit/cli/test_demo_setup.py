from __future__ import annotations

from pathlib import Path

import pytest

from standpipe.app.configuration import read_plan
from standpipe.cli import demo_setup
from standpipe.cli.demo_setup import FILES, count_lines, set_the_scene
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
    assert (alerts["path"], alerts["down_while"]) == (scene.alerts, scene.outage)
    assert plan.agents["visits"][1].model_dump()["paths"] == [str(scene.visits)]
    assert {config.queue.type for _, config in plan.producers.values()} == {"spool"}


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
