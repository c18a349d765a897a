"""What became settled since the checkpoint was written: a small file beside it, one line per batch, written and not synced.

A checkpoint costs two syncs, so it is written now and then; a note costs one write, so there is one for every batch, and a
`kill -9` repeats a batch instead of everything since the last checkpoint. A power cut may take notes: then more is repeated.

The first line names the checkpoint that the notes continue, by its checksum: notes of an older one would set a position back.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from pathlib import Path
from typing import Any


class CheckpointNotes:
    """The notes in the file `path`. Used by one thread, the owner of the checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._continues: str | None = None  # the checksum of the checkpoint; None: nothing may be noted
        self._descriptor: int | None = None

    def load(self, checksum: str) -> list[dict[str, Any]]:
        """The notes that continue the checkpoint with this checksum, oldest first, up to the first that is not whole."""
        try:
            first, *lines = self.path.read_bytes().split(b"\n")[:-1]
        except (OSError, ValueError):
            return []
        if first != checksum.encode():
            return []
        found: list[dict[str, Any]] = []
        for line in lines:
            note = _parsed(line)
            if note is None:
                break
            found.append(note)
        return found

    def begin(self, checksum: str) -> None:
        """The checkpoint with this checksum was written: what follows continues it, what was noted before is in it."""
        self.close()
        self._continues = checksum
        with contextlib.suppress(OSError):  # if it stays, its first line says that it is not for this checkpoint
            self.path.unlink(missing_ok=True)

    def add(self, note: dict[str, Any]) -> None:
        """Write one note. A disk that refuses it costs nothing but repetitions after a crash: there are no more of them then
        until the next checkpoint, because half a note would hide those behind it."""
        if self._continues is None:
            return
        try:
            self._write(self._continues, json.dumps(note).encode())
        except OSError:
            self._continues = None
            self.close()

    def _write(self, continues: str, text: bytes) -> None:
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, 0o600)
            line = continues.encode() + b"\n" + line
        if os.write(self._descriptor, line) < len(line):
            raise OSError("half a note")

    def close(self) -> None:
        """Release the file. May be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _parsed(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        note = json.loads(text)
    except ValueError:
        return None
    return note if isinstance(note, dict) else None
