"""The verbs that only tell something: list, schema, version."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest

from standpipe.core import plugins
from tests.unit.cli.conftest import Call


def test_every_type_is_listed_with_a_line_of_its_own(call: Call) -> None:
    result = call("list")
    blocks = {block.split("\n")[0]: block.split("\n")[1:] for block in result.out.strip().split("\n\n")}
    names = {kind: [line.split()[0] for line in lines] for kind, lines in blocks.items()}
    assert names["producers"][:4] == ["file", "sqlite", "console", "null"]
    assert names["agents"][:3] == ["tail", "stdin", "generator"]
    assert names["steps"] == ["parse", "set", "rename", "drop_fields", "keep_fields", "filter"]
    assert all(len(line.split("  ", 2)) > 2 for lines in blocks.values() for line in lines)
    assert (result.code, result.err) == (0, "")


def test_one_kind_can_be_listed_alone_and_as_json(call: Call) -> None:
    assert call("list", "agents").out.startswith("agents\n  tail ")
    found = json.loads(call("list", "producers", "--json").out)
    assert list(found) == ["producers"]
    assert found["producers"][0]["type"] == "file"
    assert found["producers"][0]["from"] == "built in"
    assert found["producers"][0]["class"] == "standpipe.producers.file:FileProducer"


def test_an_installed_type_that_cannot_be_used_says_why(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    point = EntryPoint("pager", "no_such_module:Pager", "standpipe.producers")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == point.group else [])
    line = next(line for line in call("list", "producers").out.split("\n") if line.startswith("  pager"))
    assert "installed" in line
    assert "cannot be used here: producer type 'pager': cannot import 'no_such_module'" in line


def test_the_schema_is_printed_or_written(call: Call, tmp_path: Path) -> None:
    printed = json.loads(call("schema").out)
    assert {"producers", "agents", "pipelines", "state_dir"} <= set(printed["properties"])
    assert call("schema", "-o", "standpipe.schema.json") == (0, "", "wrote standpipe.schema.json\n")
    assert json.loads((tmp_path / "standpipe.schema.json").read_text()) == printed


def test_the_version_is_told_by_verb_and_by_option(call: Call) -> None:
    result = call("version")
    assert result.out.startswith("standpipe ")
    assert platform.python_version() in result.out
    assert call("--version") == result
    assert json.loads(call("version", "--json").out)["python"] == ".".join(map(str, sys.version_info[:3]))
