"""Dead letters that would end with the process, written to a file for people."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import orjson

from standpipe.cli.dead_text import entry
from standpipe.core.dead_letter import DeadLetter

FILE_NAME = "dead-letters.jsonl"


def keep_dead_letters(letters: Iterable[DeadLetter], folder: Path) -> Path:
    """Append `letters` to the file in `folder`, one JSON object a line, readable by its owner alone; returns its path.

    On the disk when this returns. Raises OSError when they cannot be written.
    """
    path = folder / FILE_NAME
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with open(descriptor, "ab") as file:
        file.writelines(orjson.dumps(entry(letter)) + b"\n" for letter in letters)
        file.flush()
        os.fsync(descriptor)
    return path
