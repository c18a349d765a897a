"""What stands in `examples/` works as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.docs import ROOT
from standpipe.app.configuration import read_plan

EXAMPLES = ROOT / "examples"
programs = sorted(EXAMPLES.glob("*.py"))
configurations = sorted(EXAMPLES.rglob("*.yaml"))


@pytest.mark.parametrize("program", programs, ids=lambda path: path.name)
def test_example_program_runs(program: Path, tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-W", "error", str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("configuration", configurations, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_example_configuration_is_valid(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(configuration.parent))
    assert read_plan(configuration).pipelines


def test_every_example_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    names = {path.relative_to(EXAMPLES).parts[0] for path in (*programs, *configurations)}
    assert {name for name in names if f"]({name}" not in listed} == set()
