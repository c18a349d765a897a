"""Console examples name commands that exist; those marked `run` are run, and print what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.docs import ROOT
from scripts.reference_cli import program, verbs
from tests.docs.pages import Block, blocks, blocks_of, write_titled

consoles = [block for block in blocks() if block.language == "console"]
pages = list(dict.fromkeys(block.page for block in consoles if block.is_run_as_commands))


@pytest.mark.parametrize("page", pages)
def test_console_examples_of_the_page_print_what_it_says(page: str, tmp_path: Path) -> None:
    write_titled(page, tmp_path)
    for block in blocks_of(page, "console"):
        if block.is_run_as_commands:
            _run(block, tmp_path)


def _run(block: Block, folder: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",  # standard output and error in the order in which a terminal shows them
        "COLUMNS": "100",
    }
    steps = list(_steps(block))
    for number, (command, expected) in enumerate(steps, 1):
        ran = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert _fits(expected, ran.stdout), f"{block}: {command}\nprints\n{ran.stdout}\ninstead of\n{expected}"
        assert ran.returncode == (block.exit_code if number == len(steps) else 0), f"{block}: {command} ends with {ran.returncode}"


def _steps(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a block with what it prints."""
    for part in re.split(r"(?m)^\$ ", block.text)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def _fits(expected: str, printed: str) -> bool:
    """Whether `printed` is as expected, where `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in re.split(r"\.\.\.\n?", expected.strip()))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


@pytest.mark.parametrize(
    ("expected", "printed", "fits"),
    [("a\n...\nc", "a\nb\nc", True), ("a...", "abc", True), ("a", "b", False), ("...\nx", "y\nz", False), ("", "surprise", False)],
)
def test_output_is_compared(expected: str, printed: str, fits: bool) -> None:
    assert _fits(expected, printed) is fits


def _verb(words: list[str], groups: set[str]) -> str:
    """`standpipe run`, or in a group of verbs `standpipe dead list`."""
    return " ".join(words[: 3 if " ".join(words[:2]) in groups else 2])


def test_every_command_in_a_console_exists() -> None:
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    known = {name for name, _ in verbs(program())} | {f"make {verb}" for verb in made}
    groups = {name.rpartition(" ")[0] for name in known}
    commands = [command for block in consoles for command, _ in _steps(block)]
    words = [found[0].split() for command in commands for found in re.finditer(r"\b(?:standpipe|make) [a-z]+(?: [a-z]+)?\b", command)]
    named = {_verb(each, groups) for each in words}
    assert named - known == set()
    assert {"make demo", "make test", "standpipe run", "standpipe check", "standpipe dead replay", "standpipe spool verify"} <= named


def test_text_that_names_a_verb_names_one_that_exists() -> None:
    known = {name for name, _ in verbs(program())}
    groups = {name.rpartition(" ")[0] for name in known}
    text = "\n".join(page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.md")) + (ROOT / "README.md").read_text("utf-8")
    named = {_verb(found.split(), groups) for found in re.findall(r"`(standpipe [a-z][^`]*)`", text)}
    assert named - known - groups == set()
