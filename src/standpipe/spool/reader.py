"""Reading the log front to back: what is there, and what should be there and is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from standpipe.spool.files import FileSystem
from standpipe.spool.format import HEADER_BYTES, Damage, End, Record
from standpipe.spool.positions import SETTLED, Positions
from standpipe.spool.recovery import Finder
from standpipe.spool.salvage import NOTHING, Wreck, salvaged
from standpipe.spool.segment import Segment
from standpipe.spool.tail import end_of


class Reader:
    """Where reading goes on. Guarded by the spool's lock.

    `cursor`: a segment's number, the offset in it, the number of the message that comes next. `absent`: numbers that turned
    out to stand for no message that can be read, since somebody asked last. `salvages`: damaged records of which it is certain
    which messages they were are put into `damaged`, with their id prefix, and are not settled; else they count as lost.
    """

    def __init__(self, files: FileSystem, positions: Positions, finder: Finder, salvages: bool = False) -> None:
        self.cursor: tuple[int, int, int] = (0, HEADER_BYTES, 0)
        self.absent = 0
        self.damaged: list[tuple[Record, str]] = []
        self._salvages = salvages
        self._files = files
        self._positions = positions
        self._finder = finder

    def read(
        self, segments: list[Segment], current: Segment | None, max_bytes: int, below: int, merge: bool = False
    ) -> tuple[list[tuple[Record, str]], list[Segment]]:
        """The next records below number `below` that have unsettled messages, and the segments that have been read to their end.
        `merge` as for `Spool.read`.

        Raises OSError, but not after something was found: the cursor is behind it, and it would not be found again.
        """
        found: list[tuple[Record, str]] = []
        finished: list[Segment] = []
        size = 0
        for segment in self.unread(segments):
            try:
                self._open(segment)
            except OSError:
                if found or finished:
                    break
                raise
            for record in self._walk(segment, below, merge):
                if not self._positions.settled.covers(record.first, record.first + record.count):
                    found.append((record, segment.prefix))
                    size += len(record.payload)
                    if size >= max_bytes:
                        return found, finished
            if segment is current or segment.stop > below:
                break
            self.cursor = (segment.number + 1, HEADER_BYTES, self.cursor[2])
            segment.unload()  # before the next is loaded: one in memory is enough
            finished.append(segment)
        return found, finished

    def unread(self, segments: list[Segment]) -> list[Segment]:
        """Those that have not been read to their end."""
        return [segment for segment in segments if segment.number >= self.cursor[0]]

    def bytes_left(self, segments: Iterable[Segment]) -> int:
        """How many bytes of these have not been read."""
        at, offset, _ = self.cursor
        left = (segment.size - (offset if segment.number == at else HEADER_BYTES) for segment in segments if segment.number >= at)
        return sum(size for size in left if size > 0)

    def _walk(self, segment: Segment, below: int, merge: bool) -> Iterator[Record]:
        """The records of a segment, which is open, from the cursor on, which moves along."""
        number, offset, expected = self.cursor
        if offset == HEADER_BYTES:  # its header says so; the numbers between were given to messages that were dropped at once
            expected = max(expected, segment.first)
        kept, wreck = True, NOTHING
        last: Record | Damage | End | None = None
        whole = range(expected, min(below, segment.stop) if segment.sealed else below)  # no part of a merged record is to be left out
        for behind, item in segment.items(offset, whole if merge else None):
            if expected >= below or (isinstance(item, Record) and item.first >= below):
                return
            last = item
            if isinstance(item, Damage):
                kept = (expected >= segment.stop or self._finder.damaged(segment, item)) and kept
                wreck = salvaged(segment.buffer, item, expected) if self._salvages else NOTHING
            elif isinstance(item, Record) and segment.sealed and item.first >= segment.stop:
                if wreck.stop <= segment.stop:
                    expected = self._salvage(segment, wreck, expected, item.first - item.skipped)
                break  # written again to another segment
            elif isinstance(item, Record) and item.first >= expected:
                expected = self._salvage(segment, wreck, expected, item.first - item.skipped)
                self._missing(segment, expected, item.first - item.skipped, kept)
                self.absent += self._positions.dropped(item.first, item.skipped)
                expected = item.first + item.count
                self.cursor = (number, behind, expected)
                yield item
        if segment.stop <= below:  # also while it is written: a failed sync may have taken what was written last
            end = end_of(segment, last, expected)
            expected = self._salvage(segment, wreck, expected, end) if isinstance(last, End) else expected
            self._missing(segment, expected, end, kept)
            self.cursor = (number, self.cursor[1], max(expected, end))
            self._gone(end, segment.stop)

    def _open(self, segment: Segment) -> None:
        if self.cursor[0] != segment.number:
            self.cursor = (segment.number, HEADER_BYTES, max(segment.first, self.cursor[2]))
        if not segment.loaded and segment.file is None:
            try:
                segment.load(self._files.read(segment.name))
            except FileNotFoundError:  # somebody removed it: what was in it is missing, what follows is not
                segment.load(b"")

    def _salvage(self, segment: Segment, wreck: Wreck, expected: int, stop: int) -> int:
        """Put aside the messages `expected` to `stop` if it is they that are damaged; the number from where on others are missing."""
        if wreck.stop != stop or not wreck.records or wreck.records[0].first - wreck.records[0].skipped != expected:
            return expected
        count = 0
        for record in wreck.records:
            self.absent += self._positions.dropped(record.first, record.skipped)
            unsettled = self._unsettled(record.first, record.first + record.count)
            if unsettled:
                self.damaged.append((record, segment.prefix))
                count += unsettled
        if count:
            self._finder.corrupt(count, segment)
        return stop

    def _missing(self, segment: Segment, start: int, stop: int, kept: bool) -> None:
        """The messages `start` to `stop` are not in their segment. It stays if its damaged bytes could not be kept elsewhere."""
        count = self._unsettled(start, stop)
        if count:
            self.absent += count
            self._finder.lost(count, segment)
            if kept:
                self._positions.note(SETTLED, start, stop - start)

    def _gone(self, start: int, stop: int) -> None:
        """The messages `start` to `stop` were in segments that are not there any more."""
        count = self._unsettled(start, stop)
        if count:
            self.absent += count
            self._finder.gone(count)
            self._positions.note(SETTLED, start, stop - start)

    def _unsettled(self, start: int, stop: int) -> int:
        return stop - start - self._positions.settled.count(start, stop) if start < stop else 0
