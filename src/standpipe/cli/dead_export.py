"""Dead letters as JSON Lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from standpipe.cli.dead_stores import Part, oldest_first
from standpipe.cli.dead_text import entry
from standpipe.cli.exit_codes import CommandFailed, ExitCode


def export_letters(parts: Sequence[Part], limit: int | None, output: Path | None) -> int:
    """Write the letters to the new file `output`, readable by its owner alone, or to standard output; returns how many.

    A file is complete and on the disk when this returns, and not there when it raises.
    """
    if output is None:
        return _write(parts, limit, sys.stdout.buffer.write)
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise CommandFailed(f"{output} exists already and stays as it is; name another file", ExitCode.USAGE) from None
    try:
        with open(descriptor, "wb") as file:
            number = _write(parts, limit, file.write)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        output.unlink(missing_ok=True)
        raise
    return number


def _write(parts: Sequence[Part], limit: int | None, write: Callable[[bytes], object]) -> int:
    number = 0
    for _, letter in oldest_first(parts, limit):
        write(orjson.dumps(entry(letter), option=orjson.OPT_APPEND_NEWLINE))
        number += 1
    return number
