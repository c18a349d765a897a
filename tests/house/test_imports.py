"""The house's rooms know each other only in the direction that the contracts in pyproject.toml allow."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from tests.house.source import ROOT


def test_rooms_know_only_the_rooms_they_may() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_everything_the_top_package_promises_is_there() -> None:
    standpipe = importlib.import_module("standpipe")
    missing = [name for name in standpipe.__all__ if not hasattr(standpipe, name)]
    assert missing == []
    assert len(set(standpipe.__all__)) == len(standpipe.__all__)
