"""Spools for tests: filled, damaged, and read the way a producer reads them."""

from __future__ import annotations

import random
import threading
import zlib

from standpipe.spool.files import FileSystem
from standpipe.spool.format import encode_header
from standpipe.spool.inspect import Survey
from standpipe.spool.inspection import Inspection
from standpipe.spool.log import Spool
from standpipe.spool.segment import segment_number

SEGMENT_BYTES = 4096
NOW = 1_800_000_000.0


def opened(files: FileSystem, segment_bytes: int = SEGMENT_BYTES) -> Spool:
    """A spool whose producer has just started."""
    spool = Spool(files, threading.RLock(), segment_bytes=segment_bytes, careful=False, name="events")
    spool.open()
    return spool


def fill(spool: Spool, records: int, count: int = 1, size: int = 100) -> list[int]:
    """Append records of `count` messages; returns the number of the first message of each."""
    return [spool.append(count, 0, NOW + each, b"", payload(spool.next_number, count, size)) for each in range(records)]


def payload(first: int, count: int, size: int = 100) -> bytes:
    """Tells by its text which messages it is of."""
    return b"\n".join(b'{"n":%d,"filling":"%s"}' % (number, b"x" * size) for number in range(first, first + count))


def settle(spool: Spool, *numbers: int) -> None:
    """These messages are delivered."""
    for number in numbers:
        spool.settle(number, 1)
    spool.write_positions()


def waiting(files: FileSystem) -> list[int]:
    """The numbers of the messages that wait, as an onlooker sees them."""
    return [found.record.first + at for found in Survey(files).waiting() for part in found.parts for at in range(*part)]


def read_by_producer(files: FileSystem) -> list[int]:
    """The numbers of the messages that a producer would send after a start."""
    spool = opened(files)
    found: list[int] = []
    while records := spool.read(2**20):
        for record, _ in records:
            found += [record.first + at for part in spool.unsettled(record) for at in range(*part)]
    spool.forget()
    return found


def inspected(files: FileSystem) -> Inspection:
    """All of it looked at, as by nobody else."""
    survey = Survey(files)
    for _ in survey.waiting():
        pass
    return survey.result()


def segments(files: FileSystem) -> list[str]:
    """The names of its segments, oldest first."""
    return [name for name in files.names() if segment_number(name) is not None]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """With a bit flipped, a part overwritten, or cut off."""
    kind = chance.randrange(4)
    at = chance.randrange(len(data)) if data else 0
    if kind == 0:
        return data[:at]
    size = 1 if kind == 1 else chance.randrange(1, 600)
    changed = bytes(byte ^ (1 << chance.randrange(8)) for byte in data[at : at + size]) if kind < 3 else bytes(len(data[at : at + size]))
    return data[:at] + changed + data[at + size :]


def newer_segment() -> bytes:
    """Segment 5 as a later version would begin it."""
    copy = bytearray(encode_header(5, 3, "0" * 20)[:64])
    copy[8:10] = (2).to_bytes(2, "little")
    copy[52:56] = zlib.crc32(copy[:52]).to_bytes(4, "little")
    return bytes(copy) * 2


def newer_positions() -> bytes:
    """Positions as a later version would write them."""
    return b"2 %08x\n{}" % zlib.crc32(b"{}", zlib.crc32(b"2"))
