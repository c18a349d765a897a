"""Every Python example runs: the blocks of a page one after the other, as one program, in a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks, blocks_of, pages_with, write_titled

ILLUSTRATIONS_MAX = 3
"""Python blocks of hand-written pages that do not run; each says why."""


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_examples_of_the_page_run(page: str, tmp_path: Path) -> None:
    write_titled(page, tmp_path)
    program = tmp_path / "examples_of_the_page.py"
    program.write_text(_at_their_lines(blocks_of(page, "python")), "utf-8")
    command = [sys.executable, "-W", "error", str(program)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, f"{page} (line numbers are those of the page):\n{ran.stdout}{ran.stderr}"


def test_nearly_every_python_example_runs() -> None:
    illustrations = [str(block) for block in blocks() if block.language == "python" and not block.runs and "/reference/" not in block.page]
    assert len(illustrations) <= ILLUSTRATIONS_MAX, illustrations


def _at_their_lines(of_the_page: list[Block]) -> str:
    """One program in which every line stands where it stands in the page."""
    text = ""
    for block in of_the_page:
        text += "\n" * (block.line - 1 - text.count("\n")) + block.text
    return text
