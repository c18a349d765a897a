"""The documentation as data: its pages and the blocks of code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scripts.docs import ROOT, pages

_BLOCK = re.compile(r"^```(?P<language>[a-z]+)(?P<info>[^\n]*)\n(?P<text>.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r'\btitle="([^"]+)"')
_EXIT = re.compile(r"\bexit=(\d+)\b")
_NO_RUN = re.compile(r"\bno-run: \S.*")


@dataclass(frozen=True)
class Block:
    """One block of code: `text` begins in line `line` of `page`.

    After the language may stand: `title="name"`, the file that it is when the examples of the page run; `no-run: why` for an
    illustration; for a console `run`, and `exit=1` if it is to end so.
    """

    page: str
    line: int
    language: str
    info: str
    text: str

    @property
    def title(self) -> str | None:
        found = _TITLE.search(self.info)
        return found[1] if found else None

    @property
    def runs(self) -> bool:
        return _NO_RUN.search(self.info) is None

    @property
    def exit_code(self) -> int:
        found = _EXIT.search(self.info)
        return int(found[1]) if found else 0

    @property
    def is_run_as_commands(self) -> bool:
        return self.language == "console" and "run" in self.info.split()

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def blocks() -> tuple[Block, ...]:
    """Every block of every page but CONTRIBUTING, whose path through the code has a test of its own."""
    return tuple(block for page in pages() if page.name != "CONTRIBUTING.md" for block in _blocks(page))


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        yield Block(str(page.relative_to(ROOT)), line, found["language"], found["info"].strip(), found["text"])


def pages_with(*languages: str) -> list[str]:
    """The pages that have blocks in one of these languages which run."""
    return list(dict.fromkeys(block.page for block in blocks() if block.language in languages and block.runs))


def blocks_of(page: str, *languages: str) -> list[Block]:
    """The blocks of a page in these languages that run, in order."""
    return [block for block in blocks() if block.page == page and block.language in languages and block.runs]


def write_titled(page: str, folder: Path) -> None:
    """Make the files that a page shows."""
    for block in blocks():
        if block.page == page and block.title is not None:
            (folder / block.title).write_text(block.text, "utf-8")
