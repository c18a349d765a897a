"""One segment: a file of records, written front to back, removed as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from standpipe.spool.files import PAGE_BYTES, MappedFile
from standpipe.spool.format import HEADER_BYTES, Damage, End, Record, scan

SUFFIX: Final = ".seg"
CORRUPT_SUFFIX: Final = ".corrupt"
TEMPORARY_SUFFIX: Final = ".tmp"

READY_BYTES: Final = 2**16
"""So much is made ready at once: 200 messages, and the disk writes zeros as long as it takes for one or two of its own blocks."""


def segment_name(number: int) -> str:
    """The file name of a segment: sorts in the order of writing."""
    return f"{number:016x}{SUFFIX}"


def segment_number(name: str) -> int | None:
    """The number in a file name, or None if it is not one of a segment."""
    stem = name.removesuffix(SUFFIX)
    if len(stem) != 16 or stem + SUFFIX != name or stem.strip("0123456789abcdef"):
        return None
    return int(stem, 16)


def number_used(name: str) -> int | None:
    """The segment number in the name of a segment, or of what was set aside or left over of one; it is not given out again."""
    return segment_number(name[: 16 + len(SUFFIX)])


class Segment:
    """A segment that is being written or has been.

    `stop` is the number after its last message, as far as it is known: what stands behind it in the file is not believed.
    `skipped`: so many numbers before `first` belong to no message. `adjacent`: the next segment was made right after this one.
    """

    __slots__ = (
        "_ready",
        "_used_before",
        "adjacent",
        "buffer",
        "file",
        "first",
        "loaded",
        "name",
        "number",
        "prefix",
        "sealed",
        "size",
        "skipped",
        "stop",
        "used",
    )

    def __init__(self, number: int, first: int, prefix: str, size: int, skipped: int = 0) -> None:
        self.number = number
        self.name = segment_name(number)
        self.first = first
        self.prefix = prefix
        self.skipped = skipped
        self.stop = first
        self.size = size
        self.used = HEADER_BYTES  # while it is written: where the next record goes
        self._used_before = HEADER_BYTES
        self._ready = 0
        self.sealed = True
        self.adjacent = True
        self.file: MappedFile | None = None  # while it is written, and until it has been synced
        self.buffer = memoryview(b"")
        self.loaded = False  # whether `buffer` holds its bytes

    def items(self, offset: int, merge: range | None = None) -> Iterator[tuple[int, Record | Damage | End]]:
        """What stands in it from `offset` on, each with the offset behind it, as `scan` finds it. It must be loaded."""
        return scan(self.buffer, offset, len(self.buffer) if self.sealed else self.used, self.first, merge)

    def make_ready(self) -> None:
        """Before a sync of few records: touch the pages that come next, so that it makes them ready for the syncs that follow.

        The first sync of a page that was only allocated has to commit that to the file system's journal as well, which takes as
        long again as the sync itself (measured: 230 us instead of 135). For a run of pages it is one commit. They hold zeros, and
        go on holding zeros.
        """
        used, self._used_before, few = self.used, self.used, self.used - self._used_before <= READY_BYTES // 4
        start = -(-used // PAGE_BYTES) * PAGE_BYTES
        if few and start >= self._ready:
            self._ready = stop = min(start + READY_BYTES, len(self.buffer))
            self.buffer[start:stop:PAGE_BYTES] = bytes(len(range(start, stop, PAGE_BYTES)))

    def load(self, data: bytes) -> None:
        """Hold the bytes of the file, for reading."""
        self.buffer = memoryview(data)
        self.loaded = True

    def unload(self) -> None:
        """Let go of the bytes that `load` was given; what is being written stays."""
        if self.loaded:
            self.buffer = memoryview(b"")
            self.loaded = False

    def shut(self, size: int | None = None) -> None:
        """Let go of the bytes, and of the file; `size` cuts it off there."""
        self.buffer = memoryview(b"")
        self.loaded = False
        file, self.file = self.file, None
        if file is not None:
            with suppress(OSError):  # what has to be on the disk was synced; closing has nothing to add to that
                file.close(size)
