"""Verbs called as the shell calls them, in an empty folder, with what they wrote and their exit status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from standpipe.cli.main import main


class Result(NamedTuple):
    """How a call ended."""

    code: int
    out: str
    err: str


Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        capfd.readouterr()
        code = main(arguments)
        captured = capfd.readouterr()
        return Result(int(code), captured.out, captured.err)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a configuration, as standpipe.yaml."""

    def write(text: str) -> Path:
        path = tmp_path / "standpipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
