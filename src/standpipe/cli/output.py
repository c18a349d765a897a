"""Writing for people and for programs: to pipes, to terminals of any encoding, and to nobody at all.

Standard output belongs to data and results that were asked for, standard error to everything said on the way.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def prepare_streams() -> None:
    """Make the standard streams safe to use, also when they are closed or cannot show every character."""
    for descriptor, wrong_way in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # Otherwise a file opened later would take its place, and be read as input or get what is written to the terminal.
            # It is opened the wrong way round: using it must fail, as it would have.
            os.open(os.devnull, wrong_way)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """One or more lines on standard error, control characters escaped; never fails, because nobody could be told."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """A result, on standard output."""
    print(text)


def show_json(value: Any, *, indent: bool = True) -> None:
    """A result for programs, as JSON on standard output."""
    import orjson

    show(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 if indent else None).decode())


def printable(text: str) -> str:
    """`text` with its control characters escaped, lines kept: no file name and no message can steer a terminal."""
    return "\n".join(line if line.isprintable() else "".join(map(_shown, line)) for line in text.split("\n"))


def _shown(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, text_columns: int = 1) -> list[str]:
    """Lines of aligned columns: the first `text_columns` to the left, numbers (with thousands separated) to the right."""
    cells = [list(header), *([f"{cell:,}" if isinstance(cell, int) else printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["  ".join(_padded(cell, widths[i], i < text_columns) for i, cell in enumerate(row)).rstrip() for row in cells]


def _padded(cell: str, width: int, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)


def program() -> str:
    """How this program can be called again: by its name where the shell finds it, else by its path."""
    called = os.path.abspath(sys.argv[0])
    found = shutil.which("standpipe")
    by_path = os.path.basename(called) == "standpipe" and (found is None or not os.path.samefile(found, called))
    return called if by_path and os.path.exists(called) else "standpipe"


def number_of(count: int, noun: str) -> str:
    """`1 message`, `2,000 messages`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
