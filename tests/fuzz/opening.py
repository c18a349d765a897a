"""What must hold when a spool is opened on arbitrary bytes: it recovers, with a report, or it is refused; nothing else.

One file of the spool is the input, the others are as a process would have left them. Recovering means: what was found is told,
found again after another crash, and the spool works from there on. Crafted checksums are fair: the code is to be robust, not lucky.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable

from standpipe.spool.errors import SpoolTooNew
from standpipe.spool.format import (
    ALIGNMENT,
    HEAD_BYTES,
    HEADER_BYTES,
    HEADER_COPY_BYTES,
    NUMBER_MAX,
    PREAMBLE_BYTES,
    VERSION,
    encode_header,
    encode_record,
    joined,
)
from standpipe.spool.inspect import Survey
from standpipe.spool.log import Spool
from standpipe.spool.repair import repair
from standpipe.testing.crashing_files import CrashingFileSystem

SEGMENT = "0000000000000000.seg"
FILES = {"segment": SEGMENT, "positions": "positions", "journal": "positions.log"}
"""Kinds of input, and which file it becomes."""

STEPS_MAX = 2_000
"""Calls of the file system that opening, reading and closing may take on a few kilobytes; it takes some dozens."""

READS_MAX = 200
"""Reads of a mebibyte that may be needed until nothing more comes."""

TURNS = 3

Found = list[tuple[int, int, bytes]]
Contents = dict[str, bytes]


def neighbours() -> Contents:
    """A second segment, and what stands in the first if that is not the input."""
    first = [(0, b'{"n":0}', b""), (1, b'{"n":1}', b'{"key":"a"}'), (2, b'{"n":2}', b"")]
    records = [joined(encode_record(number, 1, 0, 1.0, meta, payload)) for number, payload, meta in first]
    last = joined(encode_record(5, 1, 0, 1.0, b"", b'{"n":5}', 2))
    return {
        SEGMENT: b"".join([encode_header(0, 0, "0" * 20), *records]),
        "0000000000000001.seg": encode_header(1, 5, "0" * 20, 2) + last,
        "positions": b"",
    }


def check_opening(kind: str, data: bytes) -> None:
    """Raises AssertionError, or whatever the code raises, if the property does not hold for `data` as a file of this kind."""
    for turn in range(TURNS):
        check_turn(kind, data, turn)


def check_turn(kind: str, data: bytes, turn: int) -> None:
    """A third of it: a fuzzer that does everything with each input gets to fewer of them."""
    contents = {**neighbours(), FILES[kind]: data}
    if not contents["positions"]:
        del contents["positions"]
    files = on_disk(contents)
    try:
        spool = opened(files)
    except SpoolTooNew:
        assert {name: text for name, text in files.contents().items() if name != "lock"} == contents, "refused, and changed"
        return
    found = read(spool)
    report(spool, found)
    (found_again, went_on, repaired)[turn](files.kill(), found, contents)


def on_disk(contents: Contents) -> CrashingFileSystem:
    """A folder with these files."""
    files = CrashingFileSystem()
    for name, data in contents.items():
        files.put(name, data)
    return files


def opened(files: CrashingFileSystem) -> Spool:
    """A process that has just started."""
    spool = Spool(files, threading.RLock(), segment_bytes=4096)
    spool.open()
    return spool


def read(spool: Spool) -> Found:
    """Every record with its parts that wait, as far as they can be counted."""
    found: Found = []
    for _ in range(READS_MAX):
        records = spool.read(2**20)
        if not records:
            assert spool.read_to_end, "nothing comes, and that is not the end"
            return found
        for record, _prefix in records:
            assert 0 <= record.first < record.first + record.count
            found += [(record.first + start, record.first + stop, record.payload) for start, stop in spool.unsettled(record)]
    raise AssertionError("there is no end to it")


def report(spool: Spool, found: Found) -> None:
    """What cannot be read is told, the numbers go up, and it did not take long."""
    starts = [start for start, _, _ in found]
    assert starts == sorted(starts)
    recovery = spool.recovery
    if recovery.damaged_bytes or recovery.torn_bytes or recovery.lost:
        assert recovery.problems
    assert len(spool._files.steps) < STEPS_MAX  # type: ignore[attr-defined]


def found_again(files: CrashingFileSystem, found: Found, _: Contents) -> None:
    """A crash right after the start changes nothing."""
    assert read(opened(files)) == found


def went_on(files: CrashingFileSystem, found: Found, _: Contents) -> None:
    """The spool takes new messages, and gives out everything after a closing in order."""
    spool = opened(files)
    if spool.next_number >= NUMBER_MAX - 1:
        return  # the bytes say that the numbers are used up
    read(spool)
    number = spool.append(1, 0, 1.0, b"", b'{"new":1}')
    spool.close()
    everything = read(opened(files.kill()))
    if all(stop <= number for _, stop, _ in found):  # else a record was forged that says it holds messages of the next segment
        assert everything == [*found, (number, number + 1, b'{"new":1}')]


def repaired(_: CrashingFileSystem, found: Found, contents: Contents) -> None:
    """`repair` ends, and leaves what an onlooker can read and nothing to complain about."""
    files = on_disk(contents)
    done = repair(files, "fuzz")
    survey = Survey(files)
    for _waiting in survey.waiting():
        pass
    left = [problem for problem in survey.result().problems if problem.serious]
    assert not left, (left, done.actions)
    read(opened(files))


# --- making inputs that get beyond the checksums ----------------------------------------------------------------------


def mended(kind: str, data: bytes) -> bytes:
    """The same with checksums that are right, where there is something that looks as if it had one."""
    mends: dict[str, Callable[[bytes], bytes]] = {"segment": _mended_segment, "positions": _mended_positions, "journal": _mended_journal}
    return mends[kind](data)


def _mended_segment(data: bytes) -> bytes:
    body = bytearray(data)
    for at in (0, HEADER_COPY_BYTES):
        if len(body) >= at + HEADER_COPY_BYTES:
            body[at + 52 : at + 56] = struct.pack("<I", zlib.crc32(body[at : at + 52]))
    at = HEADER_BYTES
    while at + PREAMBLE_BYTES + HEAD_BYTES <= len(body):
        size = struct.unpack_from("<I", body, at + 4)[0]
        stop = at + PREAMBLE_BYTES + size
        if size >= HEAD_BYTES and stop <= len(body) and body[at + PREAMBLE_BYTES] == VERSION:
            body[at : at + 4] = struct.pack("<I", zlib.crc32(body[at + 4 : stop]))
            at = stop + (-size % ALIGNMENT)
        else:
            at += ALIGNMENT
    return bytes(body)


def _mended_positions(data: bytes) -> bytes:
    head, _, body = data.partition(b"\n")
    version = head.partition(b" ")[0]
    return version + b" %08x\n" % zlib.crc32(body, zlib.crc32(version)) + body


def _mended_journal(data: bytes) -> bytes:
    parts = [data[at : at + 24] for at in range(0, len(data), 24)]
    return b"".join(struct.pack("<I", zlib.crc32(part[4:])) + part[4:] if len(part) == 24 else part for part in parts)
