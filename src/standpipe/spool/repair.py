"""Mending a damaged spool: what is readable stays, what is not is set aside in `*.corrupt`, nothing is deleted.

A segment with damage is written anew, without it, and takes the place of the old one atomically; its damaged bytes are on the
disk under another name before. So a crash at any moment leaves each segment either as it was or mended, and doing it again
changes nothing that is right. Numbers of messages that are gone are noted as settled last, or nothing would ever finish.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from standpipe.spool.errors import SpoolError, SpoolInUse, SpoolTooNew
from standpipe.spool.files import FileSystem
from standpipe.spool.format import HEADER_BYTES, HEADER_COPY_BYTES, Damage, End, Header, decode_header, encode_header, scan
from standpipe.spool.inspect import Survey
from standpipe.spool.inspection import Inspection
from standpipe.spool.log import LOCK_NAME
from standpipe.spool.positions import JOURNAL, SETTLED, SNAPSHOT, Positions, intact_entries
from standpipe.spool.recovery import keep_aside, reconstructed
from standpipe.spool.segment import CORRUPT_SUFFIX, TEMPORARY_SUFFIX, number_used, segment_name, segment_number


@dataclass
class Repair:
    """What a repair did. `actions` are sentences for people; `before` and `after` are what was found in the spool."""

    before: Inspection
    after: Inspection
    actions: list[str] = field(default_factory=list)
    set_aside_bytes: int = 0
    written_off: int = 0
    """messages that are neither stored nor settled, and are no longer waited for"""


def repair(files: FileSystem, name: str) -> Repair:
    """Mend the spool in an existing folder. Raises SpoolInUse, SpoolTooNew, and SpoolError when the disk refuses: then what was
    not mended yet is as it was, and it can be done again."""
    try:
        holder = files.lock(LOCK_NAME)
        if holder is not None:
            raise SpoolInUse(f"{name}: the spool is used by process {holder or 'unknown'}; stop it, then repair")
        try:
            return _Repairer(files).run()
        finally:
            files.unlock()
    except SpoolTooNew as error:
        raise SpoolTooNew(f"{name}: {error}") from error
    except OSError as error:
        raise SpoolError(f"{name}: the spool cannot be repaired ({error}); nothing is lost, do it again when that is mended") from error


class _Repairer:
    def __init__(self, files: FileSystem) -> None:
        self._files = files
        self._actions: list[str] = []
        self._set_aside_bytes = 0
        self._written_off = 0

    def run(self) -> Repair:
        before = self._survey().result()  # refuses what is too new before anything is touched
        for name in self._files.names():
            self._tidy(name)
        for name in self._files.names():
            number = segment_number(name)
            if number is not None:
                self._mend(name, number)
        self._mend_positions()
        return Repair(before, self._survey().result(), self._actions, self._set_aside_bytes, self._written_off)

    def _survey(self) -> Survey:
        survey = Survey(self._files)
        for _ in survey.waiting():
            pass
        return survey

    # --- files --------------------------------------------------------------------------------------------------------

    def _tidy(self, name: str) -> None:
        """What a crash left half made goes, and what has the name of another segment gets its own."""
        stem = name.removesuffix(TEMPORARY_SUFFIX)
        if stem != name and (stem == SNAPSHOT or number_used(name) is not None):
            self._files.remove(name)
            self._actions.append(f"removed {name}, left over by a crash")
        number = segment_number(name)
        header = decode_header(self._files.head(name, HEADER_BYTES)) if number is not None else None
        if header is not None and header.segment != number:
            self._rename(name, segment_name(header.segment))

    def _rename(self, name: str, wanted: str) -> None:
        if wanted in self._files.names():
            data = self._files.read(name)
            self._set_aside(name + CORRUPT_SUFFIX, data)
            self._files.remove(name)
            self._actions.append(f"set {name} aside: it says that it is {wanted}, which is there as well")
            return
        self._files.rename(name, wanted)
        self._files.sync_folder()
        self._actions.append(f"renamed {name} to {wanted}, as it says itself")

    def _set_aside(self, name: str, data: bytes) -> None:
        """Keep `data` durably under `name`, or a name beside it if that is taken by something else. Raises OSError."""
        data = data.rstrip(b"\0")
        if not data:
            return
        name = keep_aside(self._files, name, data)
        self._set_aside_bytes += len(data)
        self._actions.append(f"set {len(data):,} damaged bytes aside in {name}")

    # --- segments -----------------------------------------------------------------------------------------------------

    def _mend(self, name: str, number: int) -> None:
        data = self._files.read(name)
        header = decode_header(data[:HEADER_BYTES])
        made = header is None
        header = header or reconstructed(number, data)
        if header is None:
            self._give_up(name, data)
            return
        intact, damaged = _sorted_out(data, header)
        whole = not made and data[:HEADER_COPY_BYTES] == data[HEADER_COPY_BYTES:HEADER_BYTES]
        if whole and not damaged:
            return
        if not whole:
            self._set_aside(f"{name}.header{CORRUPT_SUFFIX}", data[:HEADER_BYTES])
        for start, stop in damaged:
            self._set_aside(f"{name}.{start:08x}{CORRUPT_SUFFIX}", data[start:stop])
        view = memoryview(data)
        fresh = encode_header(number, header.first, header.prefix, header.skipped)
        self._files.replace(name, b"".join([fresh, *(view[start:stop] for start, stop in intact)]))
        self._actions.append(f"wrote {name} anew with what is readable of it")

    def _give_up(self, name: str, data: bytes) -> None:
        """Neither header nor records."""
        self._set_aside(name + CORRUPT_SUFFIX, data)
        self._files.remove(name)
        self._files.sync_folder()
        self._actions.append(
            f"removed {name}: nothing in it is readable" if data.strip(b"\0") else f"removed {name}: it was never written to"
        )

    # --- positions ----------------------------------------------------------------------------------------------------

    def _mend_positions(self) -> None:
        told: list[str] = []
        Positions(self._files).load(told.append)
        for name in (SNAPSHOT, JOURNAL) if told else ():
            if name in self._files.names():
                data = self._files.read(name)
                self._set_aside(f"{name}.{zlib.crc32(data):08x}{CORRUPT_SUFFIX}", data)
        survey = self._survey()
        positions = survey.positions
        if told and JOURNAL in self._files.names():
            for kind, first, count in intact_entries(self._files.read(JOURNAL)):
                positions.note(kind, first, count)
            self._actions.append("kept what is readable of the positions; other messages may be sent again")
        elif told:
            self._actions.append("began the positions anew; messages that were delivered may be sent again")
        found = survey.result()
        if not told and not found.missing:
            return
        self._write_off(survey, found)
        positions.snapshot(survey.lowest)
        positions.close()

    def _write_off(self, survey: Survey, found: Inspection) -> None:
        if not survey.knows_what_is_gone:
            for start, stop in ((0, survey.lowest), *survey.removed):
                survey.positions.note(SETTLED, start, stop - start)
        for start, stop in found.missing_numbers:
            survey.positions.note(SETTLED, start, stop - start)
        self._written_off = found.missing
        if found.missing:
            self._actions.append(f"wrote off {found.missing:,} message(s) that are neither stored nor settled")


def _sorted_out(data: bytes, header: Header) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Which parts of a segment, behind its header, are intact, and which are damaged."""
    intact: list[tuple[int, int]] = []
    damaged: list[tuple[int, int]] = []
    at, ended = HEADER_BYTES, False
    for behind, item in scan(memoryview(data), HEADER_BYTES, len(data), header.first):
        (damaged if isinstance(item, Damage) else intact).append((at, behind))
        at, ended = behind, isinstance(item, End)
    if ended and data[at:].strip(b"\0"):
        damaged.append((at, len(data)))
    return intact, damaged
