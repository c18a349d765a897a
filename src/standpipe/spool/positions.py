"""Which messages are settled and which were on their way: a snapshot, and a journal of what happened since.

The snapshot is one small checksummed file, replaced atomically. Between two of them facts are appended to a journal, one
write per batch: a write survives the process, and a power cut that takes the last of them makes some messages arrive twice,
never one be missed. Facts only add up, so that replaying any of them twice, or in another order, changes nothing; losing the
snapshot, the journal or both is a normal start.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

import orjson

from standpipe.spool.errors import SpoolTooNew
from standpipe.spool.files import AppendFile, FileSystem
from standpipe.spool.format import NUMBER_MAX
from standpipe.spool.intervals import Intervals

SNAPSHOT: Final = "positions"
JOURNAL: Final = "positions.log"
VERSION: Final = 1

JOURNAL_MAX: Final = 2**20
"""Bytes of journal after which a new snapshot is made; replaying a mebibyte takes some 30 ms."""

_ENTRY = struct.Struct("<IIQQ")  # crc of the rest, kind, first, count
SETTLED: Final = 1
TAKEN: Final = 2


class Positions:
    """`settled`, and `taken` (sent at least once). Guarded by the spool's lock."""

    def __init__(self, files: FileSystem) -> None:
        self.settled = Intervals()
        self.taken = Intervals()
        self.whole = False  # after `load`: nothing was missing or damaged, so that what is gone must be noted as settled
        self._files = files
        self._journal: AppendFile | None = None
        self._journal_bytes = 0
        self._stale = False  # the journal may end within an entry, which would hide what comes after: a new snapshot first
        self._waiting: list[bytes] = []
        self.failures = 0

    def load(self, report: Callable[[str], None]) -> None:
        """Read what there is; what is damaged counts as missing and is reported. Raises SpoolTooNew. Changes no file."""
        names = self._files.names()
        told: list[str] = []
        if SNAPSHOT in names:
            self._load_snapshot(self._files.read(SNAPSHOT), told.append)
        if JOURNAL in names:
            self._replay(self._files.read(JOURNAL), told.append)
        self.whole = SNAPSHOT in names and not told
        for problem in told:
            report(problem)

    def _load_snapshot(self, data: bytes, report: Callable[[str], None]) -> None:
        head, _, body = data.partition(b"\n")
        version, _, crc = head.partition(b" ")
        try:
            if crc != _checksum(version, body):
                raise ValueError("checksum")
            if int(version) > VERSION:
                raise SpoolTooNew(f"the positions are of version {int(version)}, this Standpipe knows {VERSION}; nothing was touched")
            content = orjson.loads(body)
            for name, target in (("settled", self.settled), ("taken", self.taken)):
                for start, stop in content[name]:
                    self._add(target, start, stop)
        except (ValueError, TypeError, LookupError):
            report("the position file is damaged; messages that were delivered may be delivered again")

    def _replay(self, data: bytes, report: Callable[[str], None]) -> None:
        self._stale = len(data) % _ENTRY.size > 0
        for at in range(0, len(data) - _ENTRY.size + 1, _ENTRY.size):
            crc, kind, first, count = _ENTRY.unpack_from(data, at)
            if zlib.crc32(data[at + 4 : at + _ENTRY.size]) != crc or kind not in (SETTLED, TAKEN) or first + count > NUMBER_MAX:
                self._stale = True
                if any(data[at:]):  # zeros are what a power cut leaves of a write that the disk never got
                    report(f"the position journal is damaged from byte {at} on; messages that were delivered may be delivered again")
                return
            self._add(self.settled if kind == SETTLED else self.taken, first, first + count)

    @staticmethod
    def _add(target: Intervals, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= NUMBER_MAX:
            raise ValueError(f"{start} to {stop}")
        target.add(start, stop)

    def note(self, kind: int, first: int, count: int) -> None:
        """Add a fact; it is written by the next `write`."""
        (self.settled if kind == SETTLED else self.taken).add(first, first + count)
        entry = struct.pack("<IQQ", kind, first, count)
        self._waiting.append(struct.pack("<I", zlib.crc32(entry)) + entry)

    def dropped(self, before: int, skipped: int) -> int:
        """So many numbers before `before` were given to messages that were dropped at once. How many were not known to be."""
        first = max(0, before - skipped)
        unknown = before - first - self.settled.count(first, before) if skipped else 0
        if unknown:
            self.note(SETTLED, first, before - first)
        return unknown

    def write(self) -> None:
        """Append the facts to the journal. A disk that refuses them costs nothing but duplicates after a crash; it is counted."""
        if not self._waiting and not self._stale:
            return
        try:
            if self._stale or self._journal_bytes > JOURNAL_MAX:
                self.snapshot()
                return
            if self._journal is None:
                self._journal = self._files.appending(JOURNAL)
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._journal.append(data)
            self._journal_bytes += len(data)
        except OSError:
            self.failures += 1
            self._stale = True
            self._waiting.clear()  # the snapshot has them all

    def snapshot(self, below: int | None = None) -> None:
        """Write everything anew and begin an empty journal. Raises OSError; then the old files are still right."""
        if below is not None:
            self.settled.forget_below(below)
            self.taken.forget_below(below)
        body = orjson.dumps({"settled": list(self.settled), "taken": list(self.taken)})
        version = b"%d" % VERSION
        self._stale = True
        self._files.replace(SNAPSHOT, version + b" " + _checksum(version, body) + b"\n" + body)
        self._waiting.clear()
        self.close()
        self._files.remove(JOURNAL)
        self._stale = False
        self._journal_bytes = 0

    def close(self) -> None:
        """Release the journal."""
        journal, self._journal = self._journal, None
        if journal is not None:
            with suppress(OSError):  # what it did not take costs duplicates after a crash, as ever
                journal.close()


def intact_entries(journal: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, first number and count of every intact entry, also behind damage: none depends on another."""
    for at in range(0, len(journal) - _ENTRY.size + 1, _ENTRY.size):
        crc, kind, first, count = _ENTRY.unpack_from(journal, at)
        if zlib.crc32(journal[at + 4 : at + _ENTRY.size]) == crc and kind in (SETTLED, TAKEN) and first + count <= NUMBER_MAX:
            yield kind, first, count


def _checksum(version: bytes, body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body, zlib.crc32(version))
