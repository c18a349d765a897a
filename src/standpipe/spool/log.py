"""The spool: an append-only log of what was accepted, in segments, and what became of it.

The order of things that must hold: a record is in its segment before `append` returns, and on the disk before `commit` returns;
it is noted as settled only after that has become true elsewhere (delivered, or a dead letter stored); a segment is removed only
when every message in it is noted as settled. Positions may lag, never lead.

One lock, the owner's, guards everything; `commit` waits for the disk without it.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from operator import attrgetter, itemgetter
from typing import Final, Literal

from standpipe.spool.disk import Disk
from standpipe.spool.errors import SpoolError, SpoolFull, SpoolInUse
from standpipe.spool.files import WRITE_BYTES, FileSystem, MappedFile
from standpipe.spool.format import (
    ALIGNMENT,
    CHECKED,
    END_BYTES,
    FLAG_END,
    HEAD_BYTES,
    HEADER_BYTES,
    NUMBER_MAX,
    PREAMBLE_BYTES,
    VERSION,
    Record,
    encode_header,
    encode_record,
    joined,
)
from standpipe.spool.group_commit import GroupCommit
from standpipe.spool.positions import SETTLED, TAKEN, Positions
from standpipe.spool.reader import Reader
from standpipe.spool.recovery import Finder, Recovery
from standpipe.spool.removals import Removals
from standpipe.spool.rewriting import Written, encoded, written_since
from standpipe.spool.segment import TEMPORARY_SUFFIX, Segment
from standpipe.spool.statistics import SpoolStatistics

_log = logging.getLogger("standpipe.spool")

Durability = Literal["written", "synced"]

SEGMENT_BYTES: Final = 16 * 2**20
"""Small enough that one slow message keeps little on the disk; large enough that making a segment (about 1 ms) does not matter."""

LOCK_NAME: Final = "lock"

_pack_checked = CHECKED.pack
_pack_crc = struct.Struct("<I").pack
_crc32 = zlib.crc32

ROOM_BEHIND: Final = ALIGNMENT + END_BYTES
"""Bytes that must stay free behind a record, for its padding and the mark at the end of a segment."""

ROOM_AROUND: Final = PREAMBLE_BYTES + ROOM_BEHIND


class Spool:
    """The log of one producer, owned by one process. `lock` guards it: hold it for every call but `commit` and `sync`."""

    # What `append` needs: Python finds it sooner in a slot than among more than 30 other attributes.
    __slots__ = ("__dict__", "__weakref__", "_careful", "_current", "_next", "_unsynced")

    def __init__(
        self,
        files: FileSystem,
        lock: threading.RLock,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        careful: bool = True,
        salvages: bool = False,
        name: str = "spool",
    ) -> None:
        self._finder = Finder(files, name)
        self.recovery: Recovery = self._finder.found
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
        self._disk = Disk(name)
        self._syncing_files: Sequence[MappedFile] = ()  # not to be closed now
        self._to_close: list[MappedFile] = []
        self._removals = Removals(files, self._disk, name)
        self._next = 0
        self._written = 0  # the number after the last message of sealed segments
        self._next_segment = 0
        self._first_own = 0  # the number of the first segment that is ours, not a former process's
        self._prefix = os.urandom(10).hex()
        self._durable = 0
        self._group = GroupCommit(lambda: self._durable, self._sync)
        self._reader = Reader(files, self._positions, self._finder, salvages)
        self._unreadable: str | None = None  # what the disk said when it was last asked for messages, if it refused
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
            self._release()
            raise SpoolError(f"{self._name}: the spool cannot be read ({error})") from error
        except BaseException:
            self._release()
            raise
        return self.recovery

    def _recover(self) -> None:
        segments = self._finder.look()
        self._positions.load(self._finder.report)  # like `look`, refuses what is too new before anything is touched
        segments += self._finder.tidy()
        self._segments = sorted(segments, key=attrgetter("number"))
        self._next_segment = self._first_own = self._finder.next_segment
        self._finder.find_ends(self._segments)
        self._next = self._durable = self._written = self._finder.find_next(self._segments, self._positions)
        if self._segments:
            self._reader.cursor = (self._segments[0].number, HEADER_BYTES, self._segments[0].first)
        try:
            self._finder.bring_to_disk(self._segments)
        except OSError as error:
            self._disk.refuses(error)
        self._remove_settled()
        self._finder.count_backlog(self._segments, self._positions)
        try:  # also rids us of a journal that ends within an entry
            self._positions.snapshot(self._segments[0].first if self._segments else self._next)
        except OSError as error:
            self._disk.refuses(error)

    # --- writing ------------------------------------------------------------------------------------------------------

    @property
    def next_number(self) -> int:
        """The number that the next message gets."""
        return self._next

    @property
    def durable(self) -> int:
        """Every message below this number is on the disk, or settled."""
        return self._durable

    @property
    def prefix(self) -> str:
        """How the ids of messages accepted by this owner begin."""
        return self._prefix

    def append(self, count: int, flags: int, time: float, meta: bytes, payload: bytes) -> int:
        """Write one record; returns the number of its first message. Raises SpoolFull or SpoolError; then nothing was written."""
        number = self._next
        meta_size = len(meta) if meta else 0
        size = HEAD_BYTES + meta_size + len(payload)
        segment = self._current
        if segment is None or segment.used + size + ROOM_AROUND > segment.size:
            segment = self._roll(PREAMBLE_BYTES + size)
        used = segment.used
        stop = used + PREAMBLE_BYTES + size
        if size < WRITE_BYTES:
            # `encode_record` written out, because a call and a tuple cost here.
            checked = _pack_checked(size, VERSION, flags, 0, count, number, time, meta_size, number - segment.stop)
            checked += meta + payload if meta_size else payload
            segment.buffer[used:stop] = _pack_crc(_crc32(checked)) + checked
        else:
            # The head goes last: until it is there, the place still says that nothing follows.
            head, _ = encode_record(number, count, flags, time, meta, payload, number - segment.stop)
            self._write(segment, used + len(head), payload)
            self._write(segment, used, head)
        segment.used = stop + 7 & -8
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
        try:
            segment.file.write(offset, data)
        except OSError as error:
            raise self._disk.refused(error) from error

    def _roll(self, size: int) -> Segment:
        """Seal the current segment and begin a new one with room for `size` bytes."""
        if self._unsynced_segments and not self._sync_sealed():
            # Two segments' worth that the disk has not got yet: the writer waits for it, or memory would not be bounded.
            self._write_again()
        fresh = self._begin(size, self._next)
        sealed = self._current
        self._seal()
        self._segments.append(fresh)
        self._current = fresh
        if sealed is not None:
            self._drop_if_settled(sealed)
        return fresh

    def _begin(self, size: int, first: int, suffix: str = "") -> Segment:
        if self._closed:
            raise SpoolError(f"{self._name}: the spool is closed; the message was not accepted")
        self._removals.try_again()
        number = self._next_segment
        self._next_segment += 1
        skipped = max(0, first - (self._written if self._current is None else self._current.stop))
        segment = Segment(number, first, self._prefix, max(self._segment_bytes, HEADER_BYTES + size + ROOM_BEHIND), skipped)
        name = segment.name + suffix
        try:
            try:
                segment.file = self._files.create(name, segment.size)
            except FileExistsError:  # a link or a folder has the name, or somebody put a file there: it stays, the next one is free
                return self._begin(size, first, suffix)
            segment.buffer = segment.file.buffer
            segment.file.write(0, encode_header(number, first, self._prefix, skipped))
            # Once per segment, so that a power cut that takes records never takes the ids of those that it leaves.
            segment.file.sync()
            self._files.sync_folder()
        except OSError as error:
            self._undo(segment, name)
            raise self._disk.refused(error) from error
        self._disk.failing = self._disk.suspect
        segment.sealed = False
        return segment

    def _undo(self, segment: Segment, name: str) -> None:
        """A segment that could not be made takes no room."""
        if segment.file is None:
            return
        segment.shut()
        self._removals.remove(name)

    def _seal(self) -> None:
        """End the current segment. It goes to the disk with the next sync, before what follows it."""
        segment = self._current
        if segment is None or segment.file is None:
            return
        self._current = None
        self._written = segment.stop
        end = joined(encode_record(segment.stop, 0, FLAG_END, 0.0, b"", b""))
        try:
            segment.file.write(segment.used, end)
            segment.used += len(end)
        except OSError as error:  # the mark is a help for recovery, not needed
            self._disk.refuses(error)
        segment.sealed = True
        self._unsynced_segments.append(segment)

    def _sync_sealed(self) -> bool:
        """Bring sealed segments to the disk, under the lock. False if the disk failed: then everything must be written again."""
        sealed = list(self._unsynced_segments)
        if not self._disk.sync([segment.file for segment in sealed if segment.file is not None]):
            return False
        for segment in sealed:
            self._on_disk(segment.stop)
            self._synced_segment(segment)
        return True

    def _synced_segment(self, segment: Segment) -> None:
        """A sealed segment is on the disk; if it is read again, it is read from there."""
        if segment in self._unsynced_segments:
            self._unsynced_segments.remove(segment)
            self._shut(segment)

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
        self._group.commit(number)

    def sync(self) -> None:
        """Bring everything written so far to the disk. Raises SpoolError. Call it without the lock."""
        self.commit(self._next)

    def _sync(self) -> None:
        with self._lock:
            if self._closed:
                raise self._too_late()
            number = self._next
            if self._careful and self._current is not None:
                self._current.make_ready()
            sealed = list(self._unsynced_segments)
            files = [segment.file for segment in [*sealed, self._current] if segment is not None and segment.file is not None]
            before = self._syncing_files  # a signal handler may sync while its own thread does
            self._syncing_files = [*before, *files]
        synced = False
        try:
            synced = self._disk.sync(files)
        finally:
            with self._lock:
                self._syncing_files = before
                while self._to_close and not before:
                    with suppress(OSError):  # as for a segment that is shut: nothing depends on it
                        self._to_close.pop().close()
                if synced:
                    for segment in sealed:
                        self._synced_segment(segment)
                    self._on_disk(number)
                    self._disk.failing = self._disk.suspect
        if not synced:
            self._write_again()

    def _write_again(self) -> None:
        """After a failed sync its file is never believed again: what was not synced goes into a new segment."""
        with self._lock:
            if not self._disk.suspect:
                return
            if self._closed:
                raise self._too_late()
            number = self._next
            records = list(self._unsynced) if self._careful else written_since(self._segments, self._durable)
            try:
                fresh = self._rewritten(records, number) if records else None
            except (OSError, SpoolFull, SpoolError) as error:
                raise SpoolError(
                    f"{self._name}: the disk refuses to store messages ({self._disk.last_error}); whether they are delivered is unknown"
                ) from error
            self._abandon(fresh, number)

    def _too_late(self) -> SpoolError:
        return SpoolError(f"{self._name}: the spool was closed before the disk had the message; whether it is delivered is unknown")

    def _rewritten(self, records: list[Written], stop: int) -> Segment:
        """A new segment with `records`, up to message `stop`, on the disk. It gets its name only then: a crash before finds the
        old ones as they are."""
        parts = encoded(records, self._positions.settled)
        first = records[0][0]
        segment = self._begin(sum(map(len, parts)), first, TEMPORARY_SUFFIX)
        temporary = segment.name + TEMPORARY_SUFFIX
        try:
            for data in parts:
                self._write(segment, segment.used, data)
                segment.used += len(data)
            segment.stop = stop
            if segment.file is not None:
                segment.file.sync()
            self._files.rename(temporary, segment.name)
            self._files.sync_folder()
        except (OSError, SpoolError, SpoolFull) as error:
            if isinstance(error, OSError):
                self._disk.refuses(error)
            with suppress(OSError):  # what is written on to the old ones would not be found beside it
                self._files.rename(segment.name, temporary)
            self._undo(segment, temporary)
            raise
        self._disk.syncs += 1
        return segment

    def _abandon(self, fresh: Segment | None, number: int) -> None:
        """Nothing of the unsynced segments is believed from where `fresh` begins; it is the current one from now on."""
        first = number if fresh is None else fresh.first
        if fresh is None and self._current is not None:
            self._written = self._current.stop
        for segment in self._segments:
            segment.sealed = True
            segment.stop = max(segment.first, min(segment.stop, first))
        self._current = fresh
        if fresh is not None:
            self._segments.append(fresh)
        doubtful, self._unsynced_segments = self._unsynced_segments, []
        for segment in doubtful:
            self._shut(segment)
        self._unsynced.clear()
        self._disk.suspect = self._disk.failing = False
        self._durable = max(self._durable, number)
        self._remove_settled()

    # --- reading ------------------------------------------------------------------------------------------------------

    def seek(self, number: int) -> None:
        """Go on reading at the record that is written next: its first message will be `number`."""
        segment = self._current
        if segment is not None:
            self._reader.cursor = (segment.number, segment.used, number)
        else:
            self._reader.cursor = (self._next_segment, HEADER_BYTES, number)

    def read(self, max_bytes: int, merge: bool = False) -> list[tuple[Record, str]]:
        """The next records, some `max_bytes` of them, that have messages which are not settled, each with its id prefix.

        `merge`: messages that were handed over one by one, without a key or anything else, may come as one record.
        Raises SpoolError if the disk cannot be read now.
        """
        # After a failed sync the pages that were not on the disk may have changed; they are read when they were written again.
        if self._disk.suspect:
            with suppress(SpoolError):
                self._write_again()
        below = self._durable if self._disk.suspect else NUMBER_MAX
        try:
            found, finished = self._reader.read(self._segments, self._current, max_bytes, below, merge)
        except OSError as error:
            self._unreadable = str(error)
            raise SpoolError(f"{self._name}: the spool cannot be read now ({error}); its messages wait") from error
        self._unreadable = None
        for segment in finished:
            self._shut(segment)
            self._drop_if_settled(segment)
        return found

    @property
    def reading_at(self) -> int:
        """The number of the message that is read next: those below have been found, or turned out not to be there."""
        return self._reader.cursor[2]

    @property
    def read_to_end(self) -> bool:
        """Whether everything that was written has been read."""
        if self._current is not None:
            return self._reader.cursor[:2] >= (self._current.number, self._current.used)
        return not self._reader.unread(self._segments)

    def take_absent(self) -> int:
        """How many of the backlog turned out, in `read` since the last call, to be lost or never to have been: nobody need wait."""
        absent, self._reader.absent = self._reader.absent, 0
        return absent

    def take_damaged(self) -> list[tuple[Record, str]]:
        """Where it `salvages`: records whose checksum does not fit, found in `read` since the last call. Settle them elsewhere."""
        damaged, self._reader.damaged = self._reader.damaged, []
        return damaged

    @property
    def former_bytes(self) -> int:
        """Bytes that former processes have left and that have not been read."""
        return self._reader.bytes_left(segment for segment in self._segments if segment.number < self._first_own)

    def unsettled(self, record: Record) -> Iterator[tuple[int, int]]:
        """The parts of a record that are not settled, as positions within it."""
        for start, stop in self._positions.settled.gaps(record.first, record.first + record.count):
            yield start - record.first, stop - record.first

    def taken_alike(self, first: int, stop: int) -> bool:
        """Whether all of these messages, or none of them, may have been sent before the last restart."""
        return self._positions.taken.count(first, stop) in (0, stop - first)

    def was_taken(self, first: int, stop: int) -> bool:
        """Whether any of these messages may have been sent before the last restart."""
        return self._positions.taken.count(first, stop) > 0

    # --- settling -----------------------------------------------------------------------------------------------------

    def take(self, first: int, count: int) -> None:
        """These messages are about to be sent."""
        self._positions.note(TAKEN, first, count)

    def settle(self, first: int, count: int) -> None:
        """These messages are done with; their segments go when they hold no others."""
        self._positions.note(SETTLED, first, count)
        segments = self._segments
        at = max(0, bisect_right(segments, first, key=attrgetter("first")) - 1)
        for segment in segments[at : bisect_left(segments, first + count, at, key=attrgetter("first"))]:
            self._drop_if_settled(segment)

    def write_positions(self) -> None:
        """Bring what was taken and settled to the operating system: one write for all of it."""
        self._positions.write()

    def _remove_settled(self) -> None:
        for segment in list(self._segments):
            self._drop_if_settled(segment)

    def _drop_if_settled(self, segment: Segment) -> None:
        if segment.sealed and self._positions.settled.covers(segment.first, segment.stop):
            self._drop(segment)

    def _drop(self, segment: Segment) -> None:
        # What says that its messages are settled must be with the operating system before the segment goes, or a crash
        # in between would find numbers that nobody knows.
        self._positions.write()
        self._segments.remove(segment)
        if segment in self._unsynced_segments:
            self._unsynced_segments.remove(segment)
        self._shut(segment)
        self._removals.remove(segment.name)
        self._positions.write()  # on a full disk there may be room only now

    def _shut(self, segment: Segment) -> None:
        if segment is self._current or segment in self._unsynced_segments:
            return
        if segment.file is not None and segment.file in self._syncing_files:
            self._to_close.append(segment.file)
            segment.file = None
        segment.shut()

    # --- closing ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Sync, write the positions, cut the current segment to its size, give up the ownership."""
        if self._closed:
            return
        try:
            self._end()
        except (OSError, SpoolError, SpoolFull) as error:
            self._disk.last_error = str(error)
            _log.error("%s: closing the spool: %s; what was stored stays stored", self._name, error)
        finally:
            self._closed = True
            self._release()

    def _end(self) -> None:
        self._positions.write()
        self._disk.wait_for_answer()
        last = self._current
        if last is not None and last.used == HEADER_BYTES:  # nothing was written to it
            self._current = None
            self._segments.remove(last)
            last.shut()
            self._files.remove(last.name)
            last = None
        self._seal()
        if not self._disk.sync([segment.file for segment in self._unsynced_segments if segment.file is not None]):
            self._write_again()
        elif last is not None and last.file not in self._syncing_files:
            last.shut(last.used)
        self._on_disk(self._next)
        self._remove_settled()
        self._positions.snapshot(self._segments[0].first if self._segments else self._next)

    def forget(self) -> None:
        """In a forked child: let go of everything without touching what belongs to the parent."""
        self._closed = True
        self._release()

    def _release(self) -> None:
        self._current = None
        self._unsynced_segments = []
        for segment in self._segments:
            self._shut(segment)
        self._positions.close()
        self._files.unlock()

    @property
    def segments(self) -> int:
        """How many files hold what is not settled."""
        return len(self._segments)

    @property
    def trouble(self) -> str | None:
        """What the disk said when it refused something, as long as it has not taken, or given back, anything since."""
        return self._disk.last_error if self._disk.failing else self._unreadable

    def statistics(self) -> SpoolStatistics:
        """The spool now."""
        return SpoolStatistics(
            segments=len(self._segments),
            disk_bytes=sum(segment.size for segment in self._segments),
            next_number=self._next,
            syncs=self._disk.syncs,
            sync_failures=self._disk.sync_failures,
            position_failures=self._positions.failures,
            damaged_bytes=self.recovery.damaged_bytes,
            lost_messages=self.recovery.lost,
            failing=self.trouble is not None,
            last_error=self._unreadable or self._disk.last_error,
        )
