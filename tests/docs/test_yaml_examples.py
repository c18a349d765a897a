"""Every YAML example is a configuration that `standpipe check` accepts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from standpipe.app.configuration import read_plan
from tests.docs.pages import Block, blocks, write_titled

examples = [block for block in blocks() if block.language == "yaml"]


@pytest.mark.parametrize("example", examples, ids=str)
def test_yaml_example_is_valid(example: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    write_titled(example.page, tmp_path)
    file = tmp_path / "example.yaml"
    file.write_text(example.text, "utf-8")
    plan = read_plan(file, _environment(example.text))
    assert plan.producers
    assert plan.warnings == []


def _environment(text: str) -> dict[str, str]:
    """The variables that the example expects to be set."""
    return dict.fromkeys(re.findall(r"\$\{env:([A-Za-z_0-9]+)\}", text), "1")


def test_there_are_yaml_examples() -> None:
    assert len(examples) >= 5
