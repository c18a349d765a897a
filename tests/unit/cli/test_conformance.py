from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call

MODULE = """
from standpipe import BaseProducer
from standpipe.testing import Arrival, Subject

ARRIVED = []


class Good(BaseProducer):
    def _connect(self):
        pass

    def _send(self, is_error, message):
        ARRIVED.append(Arrival(message, is_error))

    def _close(self):
        pass


class Mixes(Good):
    def _send(self, is_error, message):
        ARRIVED.append(Arrival(message, False))


class Readable(Subject):
    def read_back(self):
        return list(ARRIVED)
"""

CONFIG = """
producers:
  - {{type: "{module}:Good", name: good}}
  - {{type: "{module}:Mixes", name: mixes}}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"checked_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "standpipe.yaml").write_text(CONFIG.format(module=name))
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_producer_that_keeps_its_promises_exits_with_0(call: Call, module: str) -> None:
    result = call("conformance", f"{module}:Good", "--config", "standpipe.yaml", "--name", "good", "--quick", "--only", "bytes")
    assert result.code == 0, result.err
    lines = result.out.split("\n")
    assert lines[0].startswith("kept            bytes ")
    assert lines[2] == f"{module}:Good: 1 kept"


def test_a_broken_promise_is_shown_with_its_history_and_exits_with_1(call: Call, module: str) -> None:
    arguments = ["--config", "standpipe.yaml", "--name", "mixes", "--only", "errors-told-apart", "--seed", "3"]
    result = call("conformance", f"{module}:Readable", *arguments)
    assert result.code == 1
    assert "was produced with is_error=True and arrived as False\n" in result.out
    assert "_send returned" in result.out
    assert result.out.endswith(f"{module}:Mixes: 1 broken; for the same again: seed 3\n")
    told = json.loads(call("conformance", f"{module}:Readable", *arguments, "--json").out)
    assert (told["holds"], told["seed"], told["counts"]["broken"]) == (False, 3, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["Good"], 2, "2 producers fit (good, mixes); choose one with --name"),
        (["Good", "--name", "goood"], 2, "there is no producer named 'goood'; did you mean 'good'?"),
        (["Good", "--name", "good", "--only", "speed"], 2, "--only: there is no promise 'speed'; there are: nothing-early"),
        (["Nothing"], 78, "has no 'Nothing'"),
    ],
)
def test_what_cannot_be_checked_is_said(call: Call, module: str, arguments: list[str], code: int, said: str) -> None:
    result = call("conformance", f"{module}:{arguments[0]}", "--config", "standpipe.yaml", *arguments[1:])
    assert (result.code, said in result.err) == (code, True), result.err


def test_a_type_that_the_configuration_does_not_have_is_said(call: Call, module: str) -> None:
    result = call("conformance", "file", "--config", "standpipe.yaml")
    assert result.code == 2
    assert f"standpipe.yaml: no producer is a file; there are: {module}:Good, {module}:Mixes; add one with type: file" in result.err
