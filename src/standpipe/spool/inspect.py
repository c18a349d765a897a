"""Looking into a spool without disturbing it: what waits, what is damaged, whether all numbers are accounted for.

Nothing is written and no lock is taken, so that it can be done while the owner runs. The owner goes on meanwhile: segments
disappear (then their messages were settled), the last one grows, and the positions are replaced. So positions are read after
the segments, and what the owner may be writing at this moment is no damage.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Final

from standpipe.spool.errors import SpoolTooNew
from standpipe.spool.files import FileSystem, RealFileSystem
from standpipe.spool.format import HEADER_BYTES, HEADER_COPY_BYTES, NUMBER_MAX, VERSION, Damage, End, Record, decode_header
from standpipe.spool.inspection import Inspection, Kind, Problem, Waiting
from standpipe.spool.intervals import Intervals
from standpipe.spool.log import LOCK_NAME
from standpipe.spool.owner import owner_of
from standpipe.spool.positions import JOURNAL, SNAPSHOT, Positions
from standpipe.spool.recovery import never_used, reconstructed
from standpipe.spool.segment import CORRUPT_SUFFIX, TEMPORARY_SUFFIX, Segment, segment_name, segment_number
from standpipe.spool.tail import end_of

LOOKS: Final = 5
"""How often something is read again that its owner may just be writing: writing it takes microseconds, reading milliseconds."""


def inspect_spool(folder: Path) -> Inspection:
    """Read all of the spool in `folder`. Raises SpoolTooNew, and OSError when it cannot be read or does not exist."""
    survey = Survey.of(folder)
    for _ in survey.waiting():
        pass
    return survey.result()


def waiting_in(folder: Path) -> Iterator[Waiting]:
    """What waits in the spool in `folder`, oldest first. Raises SpoolTooNew, and OSError when it cannot be read."""
    return Survey.of(folder).waiting()


class Survey:
    """One walk through a spool: exhaust `waiting`, then ask for the `result`. `live`: its owner is at work meanwhile."""

    def __init__(self, files: FileSystem, *, live: bool = False) -> None:
        self.found = Inspection()
        self.positions = Positions(files)
        self.stored = Intervals()
        self.nothing = Intervals()  # given to messages that were dropped at once
        self.removed = Intervals()  # of segments between others that are not there any more
        self.knows_what_is_gone = False
        """whether the positions are whole, so that what was removed must be settled in them"""
        self._files = files
        self._live = live
        self._expected = 0
        self._gap = (0, 0)  # numbers that are not settled
        self._stop = 0  # the number after the last message, as far as segments tell
        self._homes: list[tuple[int, str]] = []  # where numbers begin, and in which file they should be

    @classmethod
    def of(cls, folder: Path) -> Survey:
        """For a folder on this machine."""
        owner = owner_of(folder)
        survey = cls(RealFileSystem(folder), live=owner is not None)
        survey.found.folder, survey.found.owner = folder, owner
        return survey

    def waiting(self) -> Iterator[Waiting]:
        """The records that have messages which are not settled, oldest first. Raises SpoolTooNew, OSError."""
        names = self._files.names()
        segments = self._segments(names)
        self._load_positions()
        self._look_at_others(names)
        for segment in segments:
            self._homes.append((segment.first, segment.name))
            yield from self._walk(segment, last=segment is segments[-1])
            segment.shut()
            self._stop = max(self._stop, segment.stop)
            self.found.segments += 1
            self.found.disk_bytes += segment.size
        if self._live:
            self._load_positions()

    @property
    def lowest(self) -> int:
        """The number of the first message that a segment may hold."""
        return self._homes[0][0] if self._homes else 0

    # --- segments -----------------------------------------------------------------------------------------------------

    def _segments(self, names: list[str]) -> list[Segment]:
        found = [self._segment(name, number) for name in names if (number := segment_number(name)) is not None]
        segments = [segment for segment in found if segment is not None]
        limit, following = None, None
        for segment in reversed(segments):  # one that was written again after a failed sync begins within an older one
            if following is not None:
                segment.adjacent = following.number == segment.number + 1
                begin = following.first - following.skipped
                limit = begin if limit is None else min(limit, begin)
                segment.stop = max(segment.first, limit)
            following = segment
        return segments

    def _segment(self, name: str, number: int) -> Segment | None:
        try:
            head, size = self._head(name), self._files.size(name)
            header = decode_header(head)
            if header is None:
                return self._headless(name, number, self._files.read(name))
            unused = never_used(self._files, name)
        except FileNotFoundError:
            return None
        if header.version > VERSION:
            raise SpoolTooNew(f"{name} is of version {header.version}, this Standpipe knows {VERSION}; use the newer one")
        if header.segment != number:
            self._tell("foreign", name, f"it says that it is {segment_name(header.segment)}, and is not read")
            return None
        if unused:
            return None
        if head[:HEADER_COPY_BYTES] != head[HEADER_COPY_BYTES:]:
            self._tell("header", name, "one copy of the header is damaged; the other one is used", 0, HEADER_COPY_BYTES)
        return Segment(number, header.first, header.prefix, size, min(header.skipped, header.first))

    def _head(self, name: str) -> bytes:
        head = self._files.head(name, HEADER_BYTES)
        for _ in range(LOOKS if self._live else 0):
            if decode_header(head) is not None and head[:HEADER_COPY_BYTES] == head[HEADER_COPY_BYTES:]:
                break
            head = self._files.head(name, HEADER_BYTES)
        return head

    def _headless(self, name: str, number: int, data: bytes) -> Segment | None:
        if self._live and decode_header(data[:HEADER_BYTES]) is not None:
            return None  # begun at this moment
        if not data.strip(b"\0"):
            if not self._live:
                self._tell("leftover", name, "a segment to which nothing was written before a crash; the next start removes it")
            return None
        header = reconstructed(number, data)
        if header is None:
            self.found.damaged_bytes += len(data)
            self._tell("damaged", name, f"no header and no intact record in {len(data):,} bytes", 0, len(data))
            return None
        self._tell("header", name, "both copies of the header are damaged; its messages are delivered under new ids", 0, HEADER_BYTES)
        return Segment(number, header.first, header.prefix, len(data))

    def _walk(self, segment: Segment, last: bool) -> Iterator[Waiting]:
        if not self._load(segment, last):
            return
        self._expected = run = max(self._expected, segment.first)  # records follow each other since the number `run`
        self.nothing.add(segment.first - segment.skipped, segment.first)
        limit = None if last else segment.stop
        found_last: Record | Damage | End | None = None
        for _, item in segment.items(HEADER_BYTES):
            found_last = item
            if isinstance(item, Damage):
                if limit is None or self._expected < limit:
                    self._damage(segment, item, being_written=self._live and last)
            elif isinstance(item, End):
                if limit is None:
                    self._stop = max(self._stop, item.stop)
            elif limit is not None and item.first >= limit:
                break  # written again to another segment
            elif item.first >= self._expected:
                if item.first > self._expected:
                    self.stored.add(run, self._expected)
                    run = item.first
                found = self._record(item, segment.prefix)
                if found is not None:
                    yield found
        self.stored.add(run, self._expected)
        self._stop = max(self._stop, self._expected)
        if not last:
            self.removed.add(end_of(segment, found_last, self._expected), segment.stop)

    def _load(self, segment: Segment, last: bool) -> bool:
        """Read it; False if it is gone, which its owner does when all of it is settled."""
        damage: list[Damage] | None = None
        for _ in range(LOOKS):
            try:
                segment.load(self._files.read(segment.name))
            except FileNotFoundError:
                return False
            if not (self._live and last):
                return True
            before, damage = damage, [item for _, item in segment.items(HEADER_BYTES) if isinstance(item, Damage)]
            if damage == before or not any(not item.torn_tail for item in damage):
                return True
        return True

    def _record(self, record: Record, prefix: str) -> Waiting | None:
        first = record.first
        stop = first + record.count
        if record.skipped:
            self.nothing.add(max(0, first - record.skipped), first)
        self._expected = stop
        self.found.records += 1
        parts = self._parts(first, stop)
        return self._waiting(record, prefix, parts) if parts else None

    def _parts(self, first: int, stop: int) -> Sequence[tuple[int, int]]:
        """Which of these numbers are not settled, counted from the first of them. Mostly all or none, which is quick to tell."""
        begin, end = self._gap
        if end < stop:
            begin, end = self._gap = next(self.positions.settled.gaps(first, NUMBER_MAX), (NUMBER_MAX, NUMBER_MAX))
        if stop <= begin:
            return ()
        if begin <= first and stop <= end:
            return ((0, stop - first),)
        return [(start - first, last - first) for start, last in self.positions.settled.gaps(first, stop)]

    def _waiting(self, record: Record, prefix: str, parts: Sequence[tuple[int, int]]) -> Waiting:
        waiting, found = Waiting(record, prefix, parts), self.found
        found.waiting_bytes += waiting.size
        found.oldest = record.time if found.oldest is None else min(found.oldest, record.time)
        return waiting

    def _damage(self, segment: Segment, damage: Damage, being_written: bool) -> None:
        size = len(bytes(segment.buffer[damage.start : damage.stop]).rstrip(b"\0"))
        if not damage.torn_tail:
            self.found.damaged_bytes += size
            self._tell("damaged", segment.name, f"{size:,} damaged bytes; what follows is intact", damage.start, size)
        elif not being_written:
            text = f"it ends within a record ({size:,} bytes) that was being written when the process was killed"
            self._tell("unfinished", segment.name, text, damage.start, size)

    # --- other files --------------------------------------------------------------------------------------------------

    def _load_positions(self) -> None:
        told: list[str] = []
        before = None
        for _ in range(LOOKS):
            told.clear()
            self.positions = Positions(self._files)
            try:
                before = self._snapshot()
                self.positions.load(told.append)
                if before == self._snapshot() and not (told and self._live):
                    break
            except FileNotFoundError:
                continue
        self.found.problems = [problem for problem in self.found.problems if problem.kind != "positions"]
        self.knows_what_is_gone = self.positions.whole
        for text in told:
            self._tell("positions", JOURNAL if "journal" in text else SNAPSHOT, text)

    def _snapshot(self) -> bytes | None:
        try:
            return self._files.read(SNAPSHOT)
        except FileNotFoundError:
            return None

    def _look_at_others(self, names: list[str]) -> None:
        for name in names:
            if name in (LOCK_NAME, SNAPSHOT, JOURNAL) or segment_number(name) is not None:
                continue
            if name.endswith(CORRUPT_SUFFIX):
                size = self._size(name)
                self.found.set_aside_bytes += size
                self._tell("set_aside", name, f"{size:,} damaged bytes that were set aside; look at them, then remove the file", None, size)
            elif not name.endswith(TEMPORARY_SUFFIX):
                self._tell("unknown", name, "this file is not the spool's; it is left alone")
            elif not self._live:
                self._tell("leftover", name, "a temporary file left over by a crash; the next start removes it")

    def _size(self, name: str) -> int:
        try:
            return self._files.size(name)
        except FileNotFoundError:
            return 0

    def _tell(self, kind: Kind, file: str, text: str, offset: int | None = None, size: int | None = None) -> None:
        self.found.problems.append(Problem(kind, file, text, offset, size))

    # --- the account --------------------------------------------------------------------------------------------------

    def result(self) -> Inspection:
        """What `waiting` found, when it is exhausted: every number is settled, waiting or missing."""
        found, settled = self.found, self.positions.settled
        noted = max((stop for known in (settled, self.positions.taken) for _, stop in known), default=0)
        # While the owner is at work, numbers beyond those that were read are messages that came meanwhile.
        found.numbers = self._stop if self._live and self._homes else max(noted, self._stop)
        done = self._done()
        for start, stop in self.stored:
            for begin, end in done.gaps(start, stop):
                found.waiting += end - begin
                found.in_flight += self.positions.taken.count(begin, end)
        found.settled = done.count(0, found.numbers)
        for start, stop in self.stored:
            done.add(start, stop)
        found.missing_numbers = list(done.gaps(0, found.numbers))
        found.missing = sum(stop - start for start, stop in found.missing_numbers)
        for start, stop in found.missing_numbers:
            self._tell("missing", self._home(start), _missing(start, stop, gone=start < self.lowest))
        return found

    def _done(self) -> Intervals:
        """What is settled, what was dropped at once, and what nothing is known of any more because the positions are gone."""
        done = Intervals()
        for known in (self.positions.settled, self.nothing):
            for start, stop in known:
                done.add(start, stop)
        if not self.knows_what_is_gone:
            done.add(0, self.lowest)
            for start, stop in self.removed:
                done.add(start, stop)
        return done

    def _home(self, number: int) -> str:
        at = bisect_right(self._homes, number, key=itemgetter(0)) - 1
        return self._homes[at][1] if at >= 0 else SNAPSHOT


def _missing(start: int, stop: int, gone: bool) -> str:
    one = stop - start == 1
    which = f"message number {start} is" if one else f"{stop - start:,} messages (numbers {start} to {stop - 1}) are"
    why = "; a power cut or a full disk took the note that they were settled, or somebody removed a file" if gone else ""
    return f"{which} neither stored nor settled{why.replace('they were', 'it was') if one else why}"
