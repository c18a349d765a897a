from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.unit.cli.conftest import Call


def test_the_starter_file_is_valid_and_runs_as_it_stands(call: Call, tmp_path: Path) -> None:
    result = call("init")
    assert (result.code, result.out) == (0, "")
    assert result.err == "wrote standpipe.yaml; next:\n  standpipe check standpipe.yaml\n  standpipe run standpipe.yaml\n"
    assert call("check") == (0, "standpipe.yaml: valid: 2 producers, 1 agent, 1 pipeline\n", "")

    starter = tmp_path / "standpipe.yaml"
    starter.write_text(starter.read_text(encoding="utf-8").replace("rate: 200 ", "rate: 0 "), encoding="utf-8")  # as fast as it can
    assert call("run").code == 0
    with closing(sqlite3.connect(tmp_path / "standpipe-data" / "archive.db")) as database:
        archived = database.execute("select count(*) from messages where code < 500 and path is not null").fetchone()[0]
    errors = (tmp_path / "standpipe-data" / "errors.jsonl").read_text(encoding="utf-8").count("\n")
    assert archived + errors == 1000


def test_an_existing_file_is_replaced_only_by_force(call: Call, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("mine")
    assert call("init", "mine.yaml").code == 2
    assert mine.read_text() == "mine"
    assert call("init", "mine.yaml", "--force").code == 0
    assert call("check", "mine.yaml").code == 0


def test_a_folder_that_is_not_there_is_one_line(call: Call) -> None:
    assert call("init", "nowhere/standpipe.yaml") == (1, "", "standpipe: nowhere/standpipe.yaml: no such file or directory\n")
