"""Dead letters that would end with the process, written to a file for people."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import orjson

from standpipe.delivery.dead_letters import DeadLetter

FILE_NAME = "dead-letters.jsonl"


def keep_dead_letters(letters: Iterable[DeadLetter], folder: Path) -> Path:
    """Append `letters` to the file in `folder`, one JSON object a line, readable by its owner alone; returns its path.

    On the disk when this returns. Raises OSError when they cannot be written.
    """
    path = folder / FILE_NAME
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with open(descriptor, "ab") as file:
        file.writelines(orjson.dumps(_entry(letter), default=str) + b"\n" for letter in letters)
        file.flush()
        os.fsync(descriptor)
    return path


def _entry(letter: DeadLetter) -> dict[str, object]:
    return {
        "id": letter.id,
        "producer": letter.producer,
        "destination": letter.destination,
        "reason": letter.reason.value,
        "error": letter.error,
        "attempts": letter.attempts,
        "accepted_at": letter.accepted_at,
        "last_attempt_at": letter.last_attempt_at,
        "is_error": letter.is_error,
        "key": letter.key,
        "headers": dict(letter.headers) if letter.headers is not None else None,
        "message": orjson.Fragment(letter.payload),
    }
