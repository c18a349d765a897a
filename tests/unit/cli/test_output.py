from __future__ import annotations

from pathlib import Path

import pytest

from standpipe.cli.output import number_of, printable, program, table


def test_columns_are_aligned_and_thousands_separated() -> None:
    assert table(("producer", "accepted"), [("a", 1234567), ("a-long-name", 0)]) == [
        "producer      accepted",
        "a            1,234,567",
        "a-long-name          0",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain ü", "plain ü"), ("two\nlines", "two\nlines"), ("\x1b[31m", "\\x1b[31m"), ("a\rb\tc\x00", "a\\rb\\tc\\x00")],
)
def test_control_characters_are_escaped_and_lines_kept(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_one_is_singular() -> None:
    assert [number_of(count, "message") for count in (0, 1, 2000)] == ["0 messages", "1 message", "2,000 messages"]


def test_the_program_is_named_by_its_path_where_the_shell_would_not_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = tmp_path / "standpipe"
    called.write_text("#!/bin/sh\n")
    called.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(called), "demo"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == str(called)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == "standpipe"
    monkeypatch.setattr("sys.argv", ["/usr/lib/python3/pytest"])
    assert program() == "standpipe"
