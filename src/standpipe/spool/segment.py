"""One segment: a file of records, written front to back, removed as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from standpipe.spool.files import MappedFile
from standpipe.spool.format import HEADER_BYTES, Damage, Header, Record, scan

SUFFIX: Final = ".seg"
CORRUPT_SUFFIX: Final = ".corrupt"


def segment_name(number: int) -> str:
    """The file name of a segment: sorts in the order of writing."""
    return f"{number:016x}{SUFFIX}"


def segment_number(name: str) -> int | None:
    """The number in a file name, or None if it is not one of a segment."""
    stem = name.removesuffix(SUFFIX)
    if len(stem) != 16 or stem + SUFFIX != name or stem != stem.lower():
        return None
    try:
        return int(stem, 16)
    except ValueError:
        return None


class Segment:
    """A segment that is being written or has been. `stop`: the number after its last message, as far as it is known."""

    __slots__ = ("buffer", "file", "first", "name", "number", "prefix", "sealed", "size", "stop", "used")

    def __init__(self, header: Header, name: str) -> None:
        self.number = header.segment
        self.first = header.first
        self.prefix = header.prefix
        self.name = name
        self.stop = header.first
        self.used = HEADER_BYTES
        self.size = 0  # of the file while it is written
        self.sealed = True
        self.file: MappedFile | None = None
        self.buffer = memoryview(b"")  # the file's, while it is written

    def records(self, offset: int, expected: int, damaged: Callable[[Damage], None]) -> Iterator[tuple[int, Record]]:
        """The intact records from `offset` on, each with the offset behind it. The file must be open."""
        if self.file is None:
            raise ValueError(f"segment {self.name} is not open")
        stop = self.used if not self.sealed else len(self.file.buffer)
        return scan(self.file.buffer, offset, stop, expected, damaged)
