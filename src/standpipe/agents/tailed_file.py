"""One file being read: where it is, how far it was read, handed over and settled, and whether it is still the same file."""

from __future__ import annotations

import os
import stat

from standpipe.agents.lines import LineAssembler, LineRules, Lines
from standpipe.agents.positions import HEAD_BYTES, Entry, Identity, head_hash

_SEARCH_BYTES = 2**16  # read at once when looking backwards for the start of a line


class ContentReplaced(Exception):
    """the file was truncated or written anew; what was read before is no longer in it"""


class FileMoved(OSError):
    """the path leads to another file by now"""


class TailedFile:
    """A file by identity. Whatever path leads to it, `label` (the path it was found under) is what its lines are from.

    Three positions, in bytes: `read_offset` >= `delivered` (lines handed over) >= `acknowledged` (lines settled). `head` is
    the first min(`read_offset`, HEAD_BYTES) bytes *as they were read*, never read again, so that new content that was written
    between two reads cannot slip into it.
    """

    __slots__ = (
        "_assembler",
        "_rules",
        "acknowledged",
        "at_end",
        "changed_at",
        "descriptor",
        "head",
        "identity",
        "label",
        "location",
        "modified",
        "predecessors",
        "queued",
        "read_offset",
        "rotated",
        "size",
        "source",
        "sure_size",
        "vanished",
    )

    def __init__(self, label: str, location: str, identity: Identity, rules: LineRules, source: dict[str, str]) -> None:
        self.label = label
        self.location = location
        self.identity = identity
        self.source = source
        self.descriptor: int | None = None
        self.read_offset = 0
        self.acknowledged = 0
        self.head = b""
        self.size = 0
        self.sure_size = 0
        """the size as of a look after which the content was seen to be unchanged"""
        self.modified = 0
        self.changed_at = 0.0
        self.at_end = False
        self.queued = False
        self.rotated = False
        """no path leads here any more; read to the end, then forgotten"""
        self.vanished = False
        """it can no longer be opened at all"""
        self.predecessors: list[TailedFile] = []
        self._rules = rules
        self._assembler = LineAssembler(rules)

    @property
    def delivered(self) -> int:
        """The offset behind the last line handed over."""
        return self.read_offset - self._assembler.pending

    @property
    def pending(self) -> int:
        """Bytes read that belong to an unfinished last line."""
        return self._assembler.pending

    @property
    def unread(self) -> int:
        """Bytes known to be in the file and not handed over."""
        return max(0, self.size - self.delivered)

    def must_wait(self) -> bool:
        """True while a file that was at this path before still has lines to be read first."""
        if self.predecessors:
            self.predecessors = [file for file in self.predecessors if file.queued]
        return bool(self.predecessors)

    def is_same(self, head: bytes, size: int) -> bool:
        """Is a file of `size` bytes that begins with `head` (up to HEAD_BYTES) what was being read here?"""
        return size >= self.read_offset and head.startswith(self.head)

    def start(self, offset: int, head: bytes) -> None:
        """Read from `offset`; the open file begins with `head`. Everything before counts as settled."""
        continued = offset > 0 and self.descriptor is not None and os.pread(self.descriptor, 1, offset - 1) != b"\n"
        self._assembler = LineAssembler(self._rules, at_start=offset == 0, continued=continued)
        self.read_offset = self.acknowledged = offset
        self.head = head[: min(offset, HEAD_BYTES)]

    def observe(self, size: int, modified: int, now: float) -> bool:
        """Take note of what the file system says; True when it says something new."""
        if (size, modified) == (self.size, self.modified):
            return False
        self.size = size
        self.modified = modified
        self.changed_at = now
        return True

    def open(self) -> None:
        """Open the file at its location. Raises FileMoved when another file is there, OSError."""
        descriptor = open_regular(self.location)
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != self.identity:
            os.close(descriptor)
            raise FileMoved("another file is there now")
        self.descriptor = descriptor

    def close(self) -> None:
        """Give the file descriptor back; the positions and the unfinished line stay."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def read(self, chunk_bytes: int, now: float) -> Lines | None:
        """The lines that the next chunk of the open file completes; None when it completes none, or at the end (`at_end`).

        Raises ContentReplaced when this is no longer the content that was read before; the chunk is then not used.
        """
        if self.descriptor is None:
            raise FileMoved("the file is not open")
        chunk = os.pread(self.descriptor, chunk_bytes, self.read_offset)
        # Looked at after the chunk was read: if the beginning is still there now, it was when the chunk was read.
        if self.head and os.pread(self.descriptor, len(self.head), 0) != self.head:
            raise ContentReplaced
        self.sure_size = self.size
        if not chunk:
            if os.fstat(self.descriptor).st_size < self.read_offset:
                raise ContentReplaced
            self.at_end = True
            return None
        self.at_end = False
        self.changed_at = now
        if len(self.head) < HEAD_BYTES:
            self.head += chunk[: HEAD_BYTES - len(self.head)]
        self.read_offset += len(chunk)
        return self._assembler.feed(chunk)

    def finish(self, *, mark: bool = False) -> Lines | None:
        """The unfinished last line, if there is one; see `LineAssembler.finish`."""
        return self._assembler.finish(mark=mark)

    def restarted(self) -> TailedFile:
        """A successor that reads the same open file from its beginning; this one keeps only its positions."""
        new = TailedFile(self.label, self.location, self.identity, self._rules, self.source)
        new.descriptor, self.descriptor = self.descriptor, None
        new.rotated = self.rotated
        new.changed_at = self.changed_at
        return new

    def entry(self) -> Entry:
        """What the checkpoint keeps: the settled position, recognised by settled bytes only."""
        head = self.head[: min(self.acknowledged, HEAD_BYTES)]
        return Entry(self.label, self.identity, self.acknowledged, len(head), head_hash(head))


def open_regular(path: str) -> int:
    """A descriptor for reading a regular file; never waits (as opening a pipe would). Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileMoved("not a regular file")
    return descriptor


def last_line_start(descriptor: int, size: int, max_line_bytes: int) -> int:
    """Where to start at the end of a file: behind its last line end, so that a half-written last line is read whole.

    A last line without an end within `max_line_bytes` counts as over; its rest will be marked as continued.
    """
    position = size
    while position > 0 and size - position < max_line_bytes:
        length = min(_SEARCH_BYTES, position)
        position -= length
        newline = os.pread(descriptor, length, position).rfind(b"\n")
        if newline >= 0:
            return position + newline + 1
    return 0 if position == 0 else size
