"""Damage in the first segment of a spool, at a place that is known."""

from __future__ import annotations

from standpipe.spool.format import HEAD_BYTES, HEADER_BYTES, PREAMBLE_BYTES, Record, scan
from standpipe.testing.crashing_files import CrashingFileSystem

SEGMENT = "0000000000000000.seg"
IN_THE_PAYLOAD = PREAMBLE_BYTES + HEAD_BYTES + 6
"""In a record without keys, headers and ids."""


def records(data: bytes) -> list[tuple[int, Record]]:
    """Where each intact record begins."""
    found, start = [], HEADER_BYTES
    for stop, item in scan(memoryview(data), HEADER_BYTES, len(data), 0):
        if isinstance(item, Record):
            found.append((start, item))
        start = stop
    return found


def damage(files: CrashingFileSystem, number: int, offset: int = IN_THE_PAYLOAD, bit: int = 0) -> CrashingFileSystem:
    """The process is killed, and a bit of the record with this first number flips."""
    later = files.kill()
    (start,) = (at for at, record in records(later.read(SEGMENT)) if record.first == number)
    later.flip(SEGMENT, (start + offset) * 8 + bit)
    return later
