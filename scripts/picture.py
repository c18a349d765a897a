"""Draws `docs/demo.svg`, the picture of the README: runs `standpipe demo` in a terminal of its own and takes what stands there at the end.

.venv/bin/python scripts/picture.py
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import NIGHT_OWLISH
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "demo.svg"
COLUMNS, ROWS = 88, 60
END = "Look at it"
"""The picture ends above this line: what follows names folders of the machine that drew it."""

_PIECE = re.compile(r"\x1b\[(?P<numbers>[0-9;?]*)(?P<letter>[A-Za-z])|(?P<control>[\r\n])|(?P<text>[^\x1b\r\n]+)|\x1b.?")

_REMOTE_FONT = re.compile(r"\s*@font-face \{.*?\n    \}", re.DOTALL)
"""A picture loads nothing from anywhere: where Fira Code is not installed another font of one width does."""


class Screen:
    """As much of a terminal as a program that redraws a few lines needs."""

    def __init__(self) -> None:
        self.lines: list[list[tuple[str, str]]] = [[]]
        self.row = self.column = 0
        self.style = ""

    def write(self, output: str) -> None:
        """Do what `output` says."""
        for piece in _PIECE.finditer(output):
            if piece["letter"]:
                self._command(piece["numbers"], piece["letter"])
            elif piece["control"] == "\r":
                self.column = 0
            elif piece["control"] == "\n":
                self._down()
            elif piece["text"]:
                self._put(piece["text"])

    def text(self) -> str:
        """What stands on the screen, with its colours."""
        return "\n".join("".join(_styled(line)) for line in self.lines)

    def _command(self, numbers: str, letter: str) -> None:
        number = int(numbers) if numbers.isdigit() else 1
        if letter == "m":
            self.style = "" if numbers in ("", "0") else f"{self.style}\x1b[{numbers}m"
        elif letter == "A":
            self.row = max(0, self.row - number)
        elif letter == "K":
            line = self.lines[self.row]
            del line[0 if numbers == "2" else self.column :]

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def _put(self, text: str) -> None:
        line = self.lines[self.row]
        line += [(" ", "")] * (self.column - len(line))
        line[self.column : self.column + len(text)] = [(character, self.style) for character in text]
        self.column += len(text)


def _styled(line: list[tuple[str, str]]) -> Iterator[str]:
    """The runs of one style in a line."""
    for style, run in groupby(line, key=itemgetter(1)):
        text = "".join(character for character, _ in run)
        yield f"{style}{text}\x1b[0m" if style else text


def captured(command: list[str]) -> str:
    """Everything that `command` writes to a terminal. Raises CalledProcessError when it fails."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    output = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        output += piece
    os.close(ours)
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return output.decode()


def draw(output: str) -> str:
    """The picture of a terminal after `output`."""
    screen = Screen()
    screen.write(output)
    shown = Text.from_ansi(screen.text())
    end = shown.plain.find(END)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    console.print(Text("$ make demo\n", style="bold"))
    console.print(shown[: end if end >= 0 else None], soft_wrap=True)
    picture = console.export_svg(title="make demo", theme=NIGHT_OWLISH, unique_id="demo")
    return _REMOTE_FONT.sub("", picture)


def main() -> int:
    """Run the demo and draw it."""
    picture = draw(captured([str(Path(sys.executable).with_name("standpipe")), "demo"]))
    PICTURE.write_text("\n".join(line.rstrip() for line in picture.split("\n")), "utf-8")
    print(f"{PICTURE.relative_to(ROOT)}: drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
