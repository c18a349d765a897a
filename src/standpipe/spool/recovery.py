"""What is found in the folder of a spool: which files are segments, what is damaged, and where that is kept.

Looking changes nothing, so that a spool of a newer version is refused untouched; only then is the folder tidied.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from standpipe.spool.errors import SpoolTooNew
from standpipe.spool.files import FileSystem
from standpipe.spool.format import HEADER_BYTES, NUMBER_MAX, PREAMBLE_BYTES, VERSION, Damage, End, Header, Record, decode_header, scan
from standpipe.spool.positions import SETTLED, SNAPSHOT, Positions
from standpipe.spool.segment import CORRUPT_SUFFIX, TEMPORARY_SUFFIX, Segment, number_used, segment_number
from standpipe.spool.tail import is_unfinished, numbers_behind

_log = logging.getLogger("standpipe.spool")


@dataclass
class Recovery:
    """What opening a spool found, and what reading it found later.

    `backlog` messages wait, `in_flight` of which may have been sent before. `torn_bytes` are what a crash left of records that
    nobody was promised. `damaged_bytes` were set aside in `*.corrupt`; of `corrupt` messages it is known that they were there, and
    what they say may be wrong; `lost` messages cannot be read any more. `problems` are sentences for people.
    """

    segments: int = 0
    backlog: int = 0
    in_flight: int = 0
    torn_bytes: int = 0
    damaged_bytes: int = 0
    corrupt: int = 0
    lost: int = 0
    problems: list[str] = field(default_factory=list)


class Finder:
    """Looks through the folder of a spool, keeps damaged bytes and tells about them. Guarded by the spool's lock."""

    def __init__(self, files: FileSystem, name: str) -> None:
        self.found = Recovery()
        self.next_segment = 0
        self._files = files
        self._name = name
        self._names: list[str] = []
        self._headless: list[str] = []
        self._unused: list[str] = []
        self._foreign: list[str] = []
        self._told: dict[tuple[int, int], bool] = {}  # the places of damage, and whether the bytes are kept

    def report(self, problem: str) -> None:
        """Tell people, now and in the list of problems."""
        self.found.problems.append(problem)
        _log.warning("%s: %s", self._name, problem)

    # --- looking ------------------------------------------------------------------------------------------------------

    def look(self) -> list[Segment]:
        """The segments with a readable header. Changes nothing. Raises SpoolTooNew, OSError."""
        self._names = self._files.names()
        self.next_segment = max((number + 1 for name in self._names if (number := number_used(name)) is not None), default=0)
        segments = []
        for name in self._names:
            number = segment_number(name)
            if number is not None and (segment := self._look_at(name, number)) is not None:
                segments.append(segment)
        return segments

    def _look_at(self, name: str, number: int) -> Segment | None:
        header = decode_header(self._files.head(name, HEADER_BYTES))
        if header is None:
            self._headless.append(name)
            return None
        if header.version > VERSION:
            raise SpoolTooNew(f"{self._name}: {name} is of version {header.version}, this Standpipe knows {VERSION}; nothing was touched")
        if header.segment != number:
            self._foreign.append(f"{name} says that it is segment {header.segment:x}; it is left alone and not read")
            return None
        if never_used(self._files, name):
            self._unused.append(name)
            return None
        return Segment(number, header.first, header.prefix, self._files.size(name), min(header.skipped, header.first))

    def tidy(self) -> list[Segment]:
        """Remove what a crash left half made; returns segments whose header was damaged and whose messages can be read."""
        for problem in self._foreign:
            self.report(problem)
        for name in self._names:
            stem = name.removesuffix(TEMPORARY_SUFFIX)
            if stem != name and (stem == SNAPSHOT or number_used(name) is not None):
                self._files.remove(name)
        for name in self._unused:
            self._files.remove(name)
        segments = [self._without_header(name) for name in self._headless]
        return [segment for segment in segments if segment is not None]

    def _without_header(self, name: str) -> Segment | None:
        data = self._files.read(name)
        number = segment_number(name)
        if number is None or not data.strip(b"\0"):  # made, and never written before the crash
            self._files.remove(name)
            return None
        header = reconstructed(number, data)
        if header is not None:
            self.report(f"{name} has no readable header: its messages are delivered under new ids")
            return Segment(number, header.first, header.prefix, len(data))
        self.found.damaged_bytes += len(data)
        self.report(f"{name} has no readable header and no intact record ({len(data)} bytes): set aside as {name}{CORRUPT_SUFFIX}")
        if self.set_aside(name + CORRUPT_SUFFIX, data):
            self._files.remove(name)
        return None

    @staticmethod
    def _last_number(item: Record | Damage | End, stop: int) -> int:
        if isinstance(item, Damage):
            return stop
        return item.stop if isinstance(item, End) else item.first + item.count

    def find_ends(self, segments: list[Segment]) -> None:
        """Where the numbers of each segment end: where the next begins; the last one is read to its end.

        Segments written again after a failed sync begin within an older one, or before it: then the older one ends there.
        """
        if not segments:
            return
        following = segments[-1]
        following.load(self._files.read(following.name))
        for _, item in following.items(HEADER_BYTES, range(NUMBER_MAX)):
            following.stop = self._last_number(item, following.stop)
            if isinstance(item, Damage):
                self.damaged(following, item)
        following.unload()
        limit = following.stop
        for segment in reversed(segments[:-1]):
            limit = min(limit, following.first - following.skipped)
            segment.stop = max(segment.first, limit)
            segment.adjacent = following.number == segment.number + 1
            following = segment

    def find_next(self, segments: list[Segment], positions: Positions) -> int:
        """The number for the next message. What is noted and in no segment is told and settled."""
        for segment in segments:
            positions.dropped(segment.first, segment.skipped)
        noted = max((stop for known in (positions.settled, positions.taken) for _, stop in known), default=0)
        stop = max((segment.stop for segment in segments), default=0)
        # Numbers that were ever noted must not be given out again: they would count as settled.
        following = max(noted, stop)
        lowest = segments[0].first if segments else following
        if not positions.whole:  # what is not there any more was settled, as far as anybody can tell
            for start, last in ((0, lowest), *self._removed(segments)):
                if start < last:
                    positions.note(SETTLED, start, last - start)
        gone = sum(last - first for first, last in positions.settled.gaps(0, lowest))
        gone += sum(last - first for first, last in positions.settled.gaps(max(stop, lowest), following))
        if gone:
            self.gone(gone)
        if stop < following:
            positions.note(SETTLED, stop, following - stop)
        return following

    def _removed(self, segments: list[Segment]) -> Iterator[tuple[int, int]]:
        """Which numbers were in segments between these that are not there any more."""
        for segment in segments:
            if not segment.adjacent:
                segment.load(self._files.read(segment.name))
                yield numbers_behind(segment)
                segment.unload()

    def bring_to_disk(self, segments: list[Segment]) -> None:
        """What a process that was killed has written may be with the operating system only: a power cut must not take it now.

        Raises OSError.
        """
        for segment in segments:
            try:
                self._files.sync(segment.name)
            except OSError as error:
                self.report(f"{segment.name} could not be brought to the disk ({error}); a power cut may take messages of it")
                raise

    def count_backlog(self, segments: list[Segment], positions: Positions) -> None:
        """What waits."""
        self.found.segments = len(segments)
        for segment in segments:
            for start, stop in positions.settled.gaps(segment.first, segment.stop):
                self.found.backlog += stop - start
                self.found.in_flight += positions.taken.count(start, stop)

    # --- damage -------------------------------------------------------------------------------------------------------

    def damaged(self, segment: Segment, damage: Damage) -> bool:
        """Keep a copy of damaged bytes and say so, once. False if they could not be kept."""
        where = (segment.number, damage.start)
        if where in self._told:
            return self._told[where]
        data = bytes(segment.buffer[damage.start : damage.stop]).rstrip(b"\0")
        if damage.torn_tail:
            self.found.torn_bytes += len(data)
            self.report(f"{segment.name} ends in the middle of a record ({len(data)} bytes from offset {damage.start} on): cut off")
        else:
            self.found.damaged_bytes += len(data)
            self.report(f"{segment.name} is damaged at offset {damage.start} ({len(data)} bytes): set aside, what follows is intact")
        unfinished = is_unfinished(segment.buffer, damage)  # then there is nothing to look at: nobody was promised that message
        self._told[where] = kept = unfinished or self.set_aside(f"{segment.name}.{damage.start:08x}{CORRUPT_SUFFIX}", data)
        return kept

    def set_aside(self, name: str, data: bytes) -> bool:
        """Keep `data` for people to look at, durably. False if the disk refuses."""
        try:
            if data:
                keep_aside(self._files, name, data)
        except OSError as error:
            self.report(f"damaged bytes could not be kept as {name} ({error}); they stay in their segment")
            return False
        return True

    def corrupt(self, count: int, segment: Segment) -> None:
        """`count` messages of a segment are known, but what they say is damaged."""
        self.found.corrupt += count
        self.report(f"{count} message(s) in {segment.name} are damaged: they are put aside as dead letters, to be mended or purged")

    def lost(self, count: int, segment: Segment) -> None:
        """`count` messages of a segment cannot be read."""
        self.found.lost += count
        self.report(f"{count} message(s) cannot be read any more: they should be in {segment.name}")

    def gone(self, count: int) -> None:
        """`count` messages are in no segment, and not known to be settled."""
        self.report(
            f"{count} message(s) were accepted, are not noted as settled, and no segment has them: a power cut or somebody "
            "removed them, or the disk refused the positions"
        )


def keep_aside(files: FileSystem, name: str, data: bytes) -> str:
    """Keep damaged bytes durably in `name`, or beside it if that holds others (of damage at the same place before a repair).
    Returns the name; does nothing when they are there already. Raises OSError."""
    names = files.names()
    if name in names and files.read(name) != data:
        name = f"{name.removesuffix(CORRUPT_SUFFIX)}.{blake2b(data, digest_size=8).hexdigest()}{CORRUPT_SUFFIX}"
    if name not in names:
        files.replace(name, data)
    return name


def reconstructed(number: int, data: bytes) -> Header | None:
    """A header for a segment that has lost its own. The ids cannot be known; they are the same at every start, at least."""
    for behind, item in scan(memoryview(data), HEADER_BYTES, len(data), 0):
        if isinstance(item, Record):
            return Header(
                VERSION, number, item.first - min(item.skipped, item.first), blake2b(data[HEADER_BYTES:behind], digest_size=10).hexdigest()
            )
    return None


def never_used(files: FileSystem, name: str) -> bool:
    """Whether a segment has a header and nothing else: the process ended then, or making it failed and it could not be removed.

    In that case what followed was written to the segment before, which must not be taken to end where this one begins.
    """
    start = files.head(name, HEADER_BYTES + PREAMBLE_BYTES)
    return not start[HEADER_BYTES:].strip(b"\0") and not files.read(name)[HEADER_BYTES:].strip(b"\0")
