"""The spool: an append-only log of what was accepted, in segments, and what became of it.

The order of things that must hold: a record is in its segment before `append` returns, and on the disk before `commit` returns;
it is noted as settled only after that has become true elsewhere (delivered, or a dead letter stored); a segment is removed only
when every message in it is noted as settled. Positions may lag, never lead.

One lock, the owner's, guards everything; `commit` waits for the disk without it.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import threading
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Final, Literal

import orjson

from standpipe.spool.errors import SpoolError, SpoolFull, SpoolInUse, SpoolTooNew
from standpipe.spool.files import WRITE_BYTES, FileSystem
from standpipe.spool.format import (
    ALIGNMENT,
    CHECKED,
    END_BYTES,
    FLAG_END,
    FLAG_ERROR,
    HEAD_BYTES,
    HEADER_BYTES,
    PREAMBLE_BYTES,
    VERSION,
    Damage,
    Record,
    decode_header,
    encode_header,
    encode_record,
    joined,
)
from standpipe.spool.positions import SETTLED, TAKEN, Positions
from standpipe.spool.segment import CORRUPT_SUFFIX, Segment, segment_name, segment_number

_log = logging.getLogger("standpipe.spool")

Durability = Literal["written", "synced"]

SEGMENT_BYTES: Final = 16 * 2**20
"""Small enough that one slow message keeps little on the disk; large enough that making a segment (about 1 ms) does not matter."""

LOCK_NAME: Final = "lock"

Written = tuple[int, int, int, float, bytes, bytes]
"""The arguments of `encode_record` for a record that was written: first number, count, flags, time, meta, payload."""

_pack_checked = CHECKED.pack
_pack_crc = struct.Struct("<I").pack
_crc32 = zlib.crc32

ROOM_BEHIND: Final = ALIGNMENT + END_BYTES
"""Bytes that must stay free behind a record, for its padding and the mark at the end of a segment."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class Recovery:
    """What opening a spool found. `problems` are sentences for people; `damaged_bytes` were set aside in `*.corrupt`."""

    segments: int = 0
    backlog: int = 0
    in_flight: int = 0
    torn_bytes: int = 0
    damaged_bytes: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SpoolStatistics:
    """The spool now. `disk_bytes` is what its segments occupy, `syncs` how often it waited for the disk."""

    segments: int
    disk_bytes: int
    next_number: int
    syncs: int
    sync_failures: int
    position_failures: int
    damaged_bytes: int
    last_error: str | None


class Spool:
    """The log of one producer, owned by one process. `lock` guards it: hold it for every call but `commit` and `sync`."""

    def __init__(
        self, files: FileSystem, lock: threading.RLock, *, segment_bytes: int = SEGMENT_BYTES, careful: bool = True, name: str = "spool"
    ) -> None:
        self.recovery = Recovery()
        self._files = files
        self._lock = lock
        self._name = name
        self._segment_bytes = segment_bytes
        self._positions = Positions(files)
        self._segments: list[Segment] = []  # oldest first; the last may be the one that is being written
        self._current: Segment | None = None
        # Records since the last successful sync, for the case that the next one fails. Kept only where `commit` is promised
        # after every message; else they are read back from the mapped file, which costs nothing until it happens.
        self._careful = careful
        self._unsynced: list[Written] = []
        self._unsynced_segments: list[Segment] = []  # sealed since then
        self._suspect = False  # some of them are in a segment whose sync failed
        self._next = 0
        self._prefix = os.urandom(10).hex()
        self._durable = 0
        self._synced = threading.Condition()
        self._syncing = False
        self._syncs = 0
        self._sync_failures = 0
        self._last_error: str | None = None
        # Where reading goes on: the segment's number, the offset in it, the number that comes next.
        self._cursor: tuple[int, int, int] = (0, HEADER_BYTES, 0)
        self._reported: set[tuple[int, int]] = set()
        self._closed = False

    # --- opening ------------------------------------------------------------------------------------------------------

    def open(self) -> Recovery:
        """Become the owner and find out what is there. Raises SpoolInUse, SpoolTooNew, SpoolError; then nothing was changed."""
        try:
            self._files.prepare()
            holder = self._files.lock(LOCK_NAME)
        except OSError as error:
            raise SpoolError(f"{self._name}: the spool cannot be opened ({error})") from error
        if holder is not None:
            raise SpoolInUse(
                f"{self._name}: the spool is used by process {holder or 'unknown'}; stop it, or give this producer another path"
            )
        try:
            self._recover()
        except OSError as error:
            self._files.unlock()
            raise SpoolError(f"{self._name}: the spool cannot be read ({error})") from error
        except BaseException:
            self._files.unlock()
            raise
        return self.recovery

    def _recover(self) -> None:
        names = self._files.names()
        found = [self._look_at(name) for name in names if segment_number(name) is not None]
        self._positions.load(self._report)  # refuses newer versions before anything is touched
        for name in names:
            if name.endswith(".tmp"):
                self._files.remove(name)
        self._segments = sorted((segment for segment in found if segment is not None), key=lambda segment: segment.number)
        self._find_ends()
        settled_stop = max((stop for _, stop in self._positions.settled), default=0)
        taken_stop = max((stop for _, stop in self._positions.taken), default=0)
        # Numbers that were ever noted must not be given out again: they would count as settled.
        self._next = max(settled_stop, taken_stop, *(segment.stop for segment in self._segments), 0)
        self._durable = self._next
        if self._segments:
            self._cursor = (self._segments[0].number, HEADER_BYTES, self._segments[0].first)
        self._remove_settled()
        recovery = self.recovery
        recovery.segments = len(self._segments)
        for segment in self._segments:
            recovery.backlog += segment.stop - segment.first - self._positions.settled.count(segment.first, segment.stop)
            for start, stop in self._positions.settled.gaps(segment.first, segment.stop):
                recovery.in_flight += self._positions.taken.count(start, stop)

    def _look_at(self, name: str) -> Segment | None:
        """The segment in a file, by its header. A damaged header is reported, and the file kept: it is read from its first record."""
        file = self._files.map(name)
        try:
            header = decode_header(bytes(file.buffer[:HEADER_BYTES]))
            size = len(file.buffer)
        finally:
            file.close()
        if header is not None and header.version > VERSION:
            raise SpoolTooNew(f"{self._name}: {name} is of version {header.version}, this Standpipe knows {VERSION}; nothing was touched")
        if header is None:
            if size:
                self._report(f"{name} has no readable header ({size} bytes); it is set aside as {name}{CORRUPT_SUFFIX}")
                self.recovery.damaged_bytes += size
            self._set_aside_file(name)
            return None
        return Segment(header, name)

    def _find_ends(self) -> None:
        """Where the numbers of each segment end: where the next begins; the last one is read to its end."""
        for segment, following in zip(self._segments, self._segments[1:], strict=False):
            segment.stop = max(segment.first, following.first)
        if self._segments:
            last = self._segments[-1]
            self._opened(last)
            for _, record in last.records(HEADER_BYTES, last.first, lambda damage: self._damaged(last, damage)):
                last.stop = record.first + record.count

    def _opened(self, segment: Segment) -> Segment:
        if segment.file is None:
            segment.file = self._files.map(segment.name)
        return segment

    def _damaged(self, segment: Segment, damage: Damage) -> None:
        """Keep a copy of damaged bytes, once, and say so."""
        where = (segment.number, damage.start)
        if where in self._reported or segment.file is None:
            return
        self._reported.add(where)
        size = damage.stop - damage.start
        data = bytes(segment.file.buffer[damage.start : damage.stop]).rstrip(b"\0")
        if damage.torn_tail:
            self.recovery.torn_bytes += len(data)
            self._report(f"{segment.name} ends in the middle of a record ({len(data)} bytes from offset {damage.start} on): cut off")
        else:
            self.recovery.damaged_bytes += size
            self._report(f"{segment.name} is damaged at offset {damage.start} ({size} bytes): set aside, what follows is intact")
        self._set_aside(f"{segment.name}.{damage.start:08x}{CORRUPT_SUFFIX}", data)

    def _set_aside(self, name: str, data: bytes) -> None:
        try:
            if data and name not in self._files.names():
                self._files.replace(name, data)
        except OSError as error:
            self._report(f"damaged bytes could not be kept as {name} ({error})")

    def _set_aside_file(self, name: str) -> None:
        self._set_aside(name + CORRUPT_SUFFIX, self._files.read(name))
        self._files.remove(name)

    def _report(self, problem: str) -> None:
        self.recovery.problems.append(problem)
        _log.warning("%s: %s", self._name, problem)

    # --- writing ------------------------------------------------------------------------------------------------------

    @property
    def next_number(self) -> int:
        """The number that the next message gets."""
        return self._next

    @property
    def prefix(self) -> str:
        """How the ids of messages accepted by this owner begin."""
        return self._prefix

    def append(self, count: int, flags: int, time: float, meta: bytes, payload: bytes) -> int:
        """Write one record; returns the number of its first message. Raises SpoolFull or SpoolError; then nothing was written."""
        number = self._next
        size = PREAMBLE_BYTES + HEAD_BYTES + len(meta) + len(payload)
        segment = self._current
        if segment is None or segment.used + size + ROOM_BEHIND > segment.size:
            segment = self._roll(size)
        used = segment.used
        if size < WRITE_BYTES:
            # `encode_record` written out, because a call and a tuple cost here.
            checked = _pack_checked(size - PREAMBLE_BYTES, VERSION, flags, 0, count, number, time, len(meta), 0) + meta + payload
            segment.buffer[used : used + size] = _pack_crc(_crc32(checked)) + checked
        else:
            # The head goes last: until it is there, the place still says that nothing follows.
            head, _ = encode_record(number, count, flags, time, meta, payload)
            self._write(segment, used + len(head), payload)
            self._write(segment, used, head)
        segment.used = used + (size + 7 & -8)
        if self._careful:
            self._unsynced.append((number, count, flags, time, meta, payload))
        self._next = segment.stop = number + count
        return number

    def skip(self, count: int) -> int:
        """Give out numbers to messages that are settled at once and never written."""
        number = self._next
        self._next += count
        self.settle(number, count)
        return number

    def _write(self, segment: Segment, offset: int, data: bytes) -> None:
        if segment.file is None:
            raise SpoolError(f"{self._name}: the spool is closed")
        segment.file.write(offset, data)

    def _roll(self, size: int) -> Segment:
        """Seal the current segment and begin a new one with room for `size` bytes."""
        if self._unsynced_segments:
            # Two segments' worth that the disk has not got yet: now the writer waits for it, or memory would not be bounded.
            self._sync_sealed()
        fresh = self._begin(size)
        self._seal()
        self._segments.append(fresh)
        self._current = fresh
        return fresh

    def _begin(self, size: int) -> Segment:
        number = self._segments[-1].number + 1 if self._segments else 0
        header = encode_header(number, self._next, self._prefix)
        name = segment_name(number)
        try:
            file = self._files.create(name, max(self._segment_bytes, HEADER_BYTES + size + ALIGNMENT + END_BYTES))
            file.write(0, header)
            self._files.sync_folder()
        except OSError as error:
            self._last_error = str(error)
            if error.errno in _NO_ROOM:
                raise SpoolFull(f"{self._name}: no room on the disk for the spool ({error}); the message was not accepted") from error
            raise SpoolError(f"{self._name}: the spool cannot be written ({error}); the message was not accepted") from error
        decoded = decode_header(header)
        if decoded is None:
            raise SpoolError(f"{self._name}: a segment header could not be read back")
        segment = Segment(decoded, name)
        segment.sealed = False
        segment.file = file
        segment.size = len(file.buffer)
        segment.buffer = file.buffer
        return segment

    def _seal(self) -> None:
        """End the current segment. It goes to the disk with the next sync, before what follows it."""
        segment = self._current
        if segment is None or segment.file is None:
            return
        self._current = None
        end = joined(encode_record(segment.stop, 0, FLAG_END, 0.0, b"", b""))
        segment.file.write(segment.used, end)
        segment.used += len(end)
        segment.sealed = True
        self._unsynced_segments.append(segment)

    def _sync_sealed(self) -> None:
        """Bring sealed segments to the disk. Raises nothing: after a failure the next `_sync` writes everything again."""
        try:
            for segment in self._unsynced_segments:
                if segment.file is not None:
                    segment.file.sync()
                    self._syncs += 1
                self._on_disk(segment.stop)
            self._unsynced_segments.clear()
        except OSError as error:
            self._sync_failed(error)

    def _on_disk(self, number: int) -> None:
        """Every message below `number` is on the disk."""
        self._durable = max(self._durable, number)
        keep = bisect_left(self._unsynced, number, key=itemgetter(0))
        del self._unsynced[:keep]

    # --- durability ---------------------------------------------------------------------------------------------------

    def commit(self, number: int) -> None:
        """Return when every message below `number` is on the disk; concurrent callers share one sync. Raises SpoolError.

        Call it without the lock.
        """
        while True:
            with self._synced:
                if self._durable >= number:
                    return
                if self._syncing:
                    self._synced.wait()
                    continue
                self._syncing = True
            try:
                self._sync()
            finally:
                with self._synced:
                    self._syncing = False
                    self._synced.notify_all()

    def sync(self) -> None:
        """Bring everything written so far to the disk. Raises SpoolError. Call it without the lock."""
        self.commit(self._next)

    def _sync(self) -> None:
        with self._lock:
            number, suspect = self._next, self._suspect
            sealed = list(self._unsynced_segments)
            files = [segment.file for segment in [*sealed, self._current] if segment is not None and segment.file is not None]
        try:
            if suspect:
                raise OSError(self._last_error)
            for file in files:
                file.sync()
        except OSError as error:
            if not suspect:
                self._sync_failed(error)
            self._write_again()
            return
        with self._lock:
            self._syncs += len(files)
            self._unsynced_segments = [segment for segment in self._unsynced_segments if segment not in sealed]
            self._on_disk(number)

    def _write_again(self) -> None:
        """After a failed sync its file is never believed again: what was not synced goes into a new segment."""
        with self._lock:
            number = self._next
            try:
                records = list(self._unsynced) if self._careful else self._read_unsynced()
                if records:
                    self._replace_current(records, number)
            except (OSError, SpoolFull, SpoolError) as error:
                raise SpoolError(
                    f"{self._name}: the disk refuses to store messages ({error}); whether they are delivered is unknown"
                ) from error
            self._suspect = False
            self._durable = max(self._durable, number)

    def _read_unsynced(self) -> list[Written]:
        """What was written since the last successful sync, out of the mapped files."""
        written: list[Written] = []
        for segment in self._segments:
            if segment.file is not None and segment.stop > self._durable:
                for _, record in segment.records(HEADER_BYTES, segment.first, partial(self._damaged, segment)):
                    if record.first >= self._durable:
                        meta = orjson.dumps(record.meta) if record.meta is not None else b""
                        flags = FLAG_ERROR if record.is_error else 0
                        written.append((record.first, record.count, flags, record.time, meta, record.payload))
        return written

    def _replace_current(self, records: list[Written], stop: int) -> None:
        first = records[0][0]
        segment = self._begin_again(records, first, stop)
        self._current = segment
        for abandoned in self._segments:
            if abandoned.stop > first:  # what is trusted of it ends where the new one begins
                abandoned.stop = max(abandoned.first, first)
                abandoned.sealed = True
        self._segments.append(segment)
        self._unsynced.clear()
        self._unsynced_segments.clear()
        self._remove_settled()

    def _begin_again(self, records: list[Written], first: int, stop: int) -> Segment:
        following, self._next = self._next, first
        whole = [joined(encode_record(*record)) for record in records]
        try:
            segment = self._begin(sum(map(len, whole)))
        finally:
            self._next = following
        for data in whole:
            self._write(segment, segment.used, data)
            segment.used += len(data)
        segment.stop = stop
        try:
            if segment.file is not None:
                segment.file.sync()
        except OSError as error:
            self._sync_failed(error)
            self._shut(segment)
            self._files.remove(segment.name)
            raise
        self._syncs += 1
        return segment

    def _sync_failed(self, error: OSError) -> None:
        self._suspect = True
        self._sync_failures += 1
        self._last_error = str(error)
        _log.error("%s: the disk failed to store messages (%s); they are written again to another segment", self._name, error)

    # --- reading ------------------------------------------------------------------------------------------------------

    def seek(self, number: int) -> None:
        """Go on reading at the record that is written next: its first message will be `number`."""
        segment = self._current
        if segment is not None:
            self._cursor = (segment.number, segment.used, number)
        else:
            self._cursor = (self._segments[-1].number + 1 if self._segments else 0, HEADER_BYTES, number)

    def read(self, max_bytes: int) -> list[tuple[Record, str]]:
        """The next records, some `max_bytes` of them, that have messages which are not settled, each with its id prefix."""
        found: list[tuple[Record, str]] = []
        size = 0
        for segment in self._unread():
            if self._cursor[0] != segment.number:
                self._cursor = (segment.number, HEADER_BYTES, self._cursor[2])
            number, offset, expected = self._cursor
            self._opened(segment)
            scanned = segment.records(offset, segment.first, partial(self._damaged, segment))
            for behind, record in scanned:
                stop = record.first + record.count
                self._cursor = (number, behind, max(expected, stop))
                # What was written again after a failed sync stands twice; what is settled needs no sending.
                if record.first >= expected and not self._positions.settled.covers(record.first, stop):
                    found.append((record, segment.prefix))
                    size += len(record.payload)
                    if size >= max_bytes:
                        return found
                expected = max(expected, stop)
            if segment is self._current:
                break
            self._cursor = (number + 1, HEADER_BYTES, expected)
            self._shut(segment)
        return found

    def _unread(self) -> list[Segment]:
        return [segment for segment in self._segments if segment.number >= self._cursor[0]]

    @property
    def read_to_end(self) -> bool:
        """Whether everything that was written has been read."""
        if self._current is not None:
            return self._cursor[:2] >= (self._current.number, self._current.used)
        return not self._unread()

    def unsettled(self, record: Record) -> Iterator[tuple[int, int]]:
        """The parts of a record that are not settled, as positions within it."""
        for start, stop in self._positions.settled.gaps(record.first, record.first + record.count):
            yield start - record.first, stop - record.first

    def was_taken(self, first: int, stop: int) -> bool:
        """Whether any of these messages may have been sent before the last restart."""
        return self._positions.taken.count(first, stop) > 0

    # --- settling -----------------------------------------------------------------------------------------------------

    def take(self, first: int, count: int) -> None:
        """These messages are about to be sent."""
        self._positions.note(TAKEN, first, count)

    def settle(self, first: int, count: int) -> None:
        """These messages are done with; their segment goes when it holds no others."""
        self._positions.note(SETTLED, first, count)
        segment = self._segment_of(first)
        if segment is not None and segment.sealed and self._positions.settled.covers(segment.first, segment.stop):
            self._drop(segment)

    def write_positions(self) -> None:
        """Bring what was taken and settled to the operating system: one write for all of it."""
        self._positions.write()

    def _segment_of(self, number: int) -> Segment | None:
        at = bisect_right([segment.first for segment in self._segments], number) - 1
        return self._segments[at] if at >= 0 else None

    def _remove_settled(self) -> None:
        for segment in list(self._segments):
            if segment.sealed and segment.stop >= segment.first and self._positions.settled.covers(segment.first, segment.stop):
                self._drop(segment)

    def _drop(self, segment: Segment) -> None:
        # What says that its messages are settled must be with the operating system before the segment goes, or a crash
        # in between would find numbers that nobody knows.
        self._positions.write()
        self._segments.remove(segment)
        if segment in self._unsynced_segments:
            self._unsynced_segments.remove(segment)
        self._shut(segment)
        try:
            self._files.remove(segment.name)
        except OSError as error:
            self._last_error = str(error)
            _log.warning("%s: %s could not be removed (%s); it is removed at the next start", self._name, segment.name, error)

    def _shut(self, segment: Segment) -> None:
        if segment.file is not None and segment is not self._current and segment not in self._unsynced_segments:
            segment.file.close()
            segment.file = None

    # --- closing ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Sync, write the positions, cut the current segment to its size, give up the ownership."""
        if self._closed:
            return
        self._closed = True
        try:
            current = self._current
            self._seal()
            self._sync_sealed()
            if current is not None and current.file is not None:
                current.file.close(current.used)
                current.file = None
            if self._unsynced:
                self._write_again()
            self._remove_settled()
            self._positions.snapshot(self._segments[0].first if self._segments else self._next)
        except (OSError, SpoolError) as error:
            self._last_error = str(error)
            _log.error("%s: closing the spool: %s; what was stored stays stored", self._name, error)
        finally:
            self._release()

    def forget(self) -> None:
        """In a forked child: let go of everything without touching what belongs to the parent."""
        self._closed = True
        self._release()

    def _release(self) -> None:
        for segment in self._segments:
            if segment.file is not None:
                segment.file.close()
                segment.file = None
        self._positions.close()
        self._files.unlock()

    def statistics(self) -> SpoolStatistics:
        """The spool now."""
        sizes = [len(segment.file.buffer) if segment.file is not None else self._segment_bytes for segment in self._segments]
        return SpoolStatistics(
            segments=len(self._segments),
            disk_bytes=sum(sizes),
            next_number=self._next,
            syncs=self._syncs,
            sync_failures=self._sync_failures,
            position_failures=self._positions.failures,
            damaged_bytes=self.recovery.damaged_bytes,
            last_error=self._last_error,
        )
