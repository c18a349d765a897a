"""The package of `standpipe new producer` works as it stands: its tests pass, among them one of every promise, and installed it is a type
like any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.process import STANDPIPE, environment


@pytest.fixture
def package(tmp_path: Path) -> Path:
    subprocess.run([*STANDPIPE, "new", "producer", "pager-2go"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    return tmp_path / "standpipe-pager-2go"


def _run(*command: str, folder: Path, **changes: str) -> str:
    result = subprocess.run(
        command, cwd=folder, env=environment(**changes), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=110
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_its_own_tests_pass(package: Path) -> None:
    assert "27 passed, 1 skipped" in _run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", folder=package)


def test_its_types_and_style_are_right(package: Path) -> None:
    _run(sys.executable, "-m", "mypy", "--strict", "--cache-dir", "/dev/null", "src", folder=package)
    _run(
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "E,F,I,B,UP",
        "--line-length",
        "140",
        "src",
        "tests",
        folder=package,
    )


def test_installed_it_is_listed_checked_and_used(package: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    _run(sys.executable, "-m", "pip", "install", *options, "--target", str(site), ".", folder=package)
    listed = _run(*STANDPIPE, "list", "producers", folder=tmp_path, PYTHONPATH=str(site))
    assert "pager-2go  installed  posts each message as JSON to a URL\n" in listed
    (tmp_path / "standpipe.yaml").write_text("producers: [{type: pager-2go, name: pager, url: 'http://127.0.0.1:9/'}]\n")
    assert "valid: 1 producer" in _run(*STANDPIPE, "check", folder=tmp_path, PYTHONPATH=str(site))
