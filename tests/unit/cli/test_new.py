from __future__ import annotations

import ast
import tomllib
from pathlib import Path

from standpipe.cli.scaffold import producer_package
from tests.unit.cli.conftest import Call


def test_the_package_is_written_whole_and_named_consistently(call: Call, tmp_path: Path) -> None:
    result = call("new", "producer", "pager-2go")
    folder = tmp_path / "standpipe-pager-2go"
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert written == sorted(producer_package("pager-2go"))
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    module, _, name = project["project"]["entry-points"]["standpipe.producers"]["pager-2go"].partition(":")
    source = (folder / "src" / module / "__init__.py").read_text()
    assert name in {node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    assert result.err.endswith("next:\n  cd standpipe-pager-2go && python -m pip install -e '.[test]' && python -m pytest\n")
    assert result.code == 0


def test_no_mark_is_left_in_any_file() -> None:
    for path, text in producer_package("pager").items():
        for mark in ("@type@", "@project@", "@module@", "@class@"):
            assert mark not in path + text


def test_the_folder_can_be_chosen(call: Call, tmp_path: Path) -> None:
    assert call("new", "producer", "pager", "--directory", "deep/in/here").code == 0
    assert (tmp_path / "deep" / "in" / "here" / "pyproject.toml").is_file()
