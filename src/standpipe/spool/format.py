"""The bytes of a segment: header and records. Pure: bytes in, values out. Specified in docs/explanation/spool-format.md.

A record holds what one call of `produce` or `produce_many` handed over. All integers are little-endian; records begin at
multiples of eight bytes, so that a search after damage knows where to look. The header stands twice, so that one damaged
place does not take the ids of all messages of a segment.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

MAGIC: Final = b"STPSPOOL"
VERSION: Final = 1
HEADER_COPY_BYTES: Final = 64
HEADER_BYTES: Final = 2 * HEADER_COPY_BYTES
ALIGNMENT: Final = 8

_HEADER = struct.Struct("<8sHHIQQ20sI")  # magic, version, reserved, skipped, segment, first number, id prefix, crc of all before
PREAMBLE = struct.Struct("<II")  # crc, size of what follows it
HEAD = struct.Struct("<BBHIQdII")  # version, flags, reserved, count, first number, time, meta size, skipped
_SIZE = struct.Struct("<I")
CHECKED = struct.Struct("<IBBHIQdII")  # size and head: what the checksum covers before meta and payload
_WHOLE = struct.Struct("<IIBBHIQdII")  # preamble and head
_crc32 = zlib.crc32
PREAMBLE_BYTES: Final = PREAMBLE.size
HEAD_BYTES: Final = HEAD.size
_CRC_BYTES: Final = 4
_CHECKED_BYTES: Final = CHECKED.size

FLAG_ERROR: Final = 1
FLAG_END: Final = 2
"""The last record of a segment that was closed in order: nothing follows, and what looks like more is not."""

SEARCH_BUDGET: Final = 64
"""How many times the size of a segment may be checksummed while searching it for intact records after damage: crafted bytes
can make every place look like the beginning of a large record, and the search must end all the same."""

NUMBER_MAX: Final = 2**62
"""No message has a number as large: a million a second for more than a hundred thousand years."""

RUN_BYTES: Final = 2**18
RUN_SECONDS: Final = 0.05
"""How much is read as one record where messages were handed over one by one, and how far apart in time they may be: the time of
the first counts for all, also after a restart, where clocks agree no better."""

Meta = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """What one call handed over. `first` is the number of its first message, `time` seconds since 1970.

    `skipped`: so many numbers before `first` were given to messages that were dropped at once; nothing is missing there.
    `merged`: it was several records of one message each.
    """

    first: int
    count: int
    is_error: bool
    time: float
    payload: bytes
    meta: Meta | None = None
    skipped: int = 0
    merged: bool = False

    def singles(self) -> list[Record]:
        """If it is merged: the records that it was."""
        lines = enumerate(self.payload.split(b"\n"), self.first)
        return [Record(number, 1, self.is_error, self.time, line) for number, line in lines]


@dataclass(frozen=True, slots=True)
class End:
    """The segment was closed in order; `stop` is the number after its last message."""

    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says of itself. Messages without an id of their own are `prefix` and their number.

    `skipped`: as for a record; so many numbers before `first` belong to no message.
    """

    version: int
    segment: int
    first: int
    prefix: str
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no intact record: `start` to `stop` (excluded). A torn tail is what a crash left of the last record."""

    start: int
    stop: int
    torn_tail: bool


def encode_header(segment: int, first: int, prefix: str, skipped: int = 0) -> bytes:
    """The first bytes of a segment. `prefix` has 20 characters."""
    body = _HEADER.pack(MAGIC, VERSION, 0, skipped, segment, first, prefix.encode("ascii"), 0)[:-4]
    return (body + _SIZE.pack(zlib.crc32(body))).ljust(HEADER_COPY_BYTES, b"\0") * 2


def decode_header(data: bytes) -> Header | None:
    """The header, or None if both copies are damaged. `version` may be one we do not know."""
    for at in (0, HEADER_COPY_BYTES):
        copy = data[at : at + HEADER_COPY_BYTES]
        if len(copy) == HEADER_COPY_BYTES and copy[:8] == MAGIC:
            _, version, _, skipped, segment, first, prefix, crc = _HEADER.unpack_from(copy)
            if zlib.crc32(copy[: _HEADER.size - 4]) == crc and version >= VERSION and prefix.isascii():
                return Header(version, segment, first, prefix.decode("ascii").rstrip("\0"), skipped)
    return None


def encode_record(first: int, count: int, flags: int, time: float, meta: bytes, payload: bytes, skipped: int = 0) -> tuple[bytes, bytes]:
    """A record in two parts, the second of which is the payload itself: large ones are not copied. `meta` is empty or a JSON
    object. What is to be written behind them up to the next multiple of eight is zeros, which are there already.
    """
    size = HEAD_BYTES + len(meta) + len(payload)
    checked = CHECKED.pack(size, VERSION, flags, 0, count, first, time, len(meta), skipped) + meta
    return _SIZE.pack(_crc32(payload, _crc32(checked))) + checked, payload


def joined(record: tuple[bytes, bytes]) -> bytes:
    """All bytes of a record, padded."""
    data = record[0] + record[1]
    return data + b"\0" * (-len(data) % ALIGNMENT)


END_BYTES: Final = len(joined(encode_record(0, 0, FLAG_END, 0.0, b"", b"")))


def padded(size: int) -> int:
    """The bytes that a record with a body of `size` takes."""
    return PREAMBLE_BYTES + size + (-size % ALIGNMENT)


def scan(data: memoryview, start: int, stop: int, expected: int, merge: range | None = None) -> Iterator[tuple[int, Record | Damage | End]]:
    """What stands between `start` and `stop`, in order, each with the offset behind it. After an `End` nothing follows.

    `expected` is the smallest number that may come next: a record cannot go back, so leftovers are not taken for messages.
    `merge`: neighbours with these numbers that hold one message each, and nothing but its payload, come as one record (reading
    them one by one takes five times as long).
    """
    budget = SEARCH_BUDGET * max(1, stop - start)
    at = start
    while at < stop:
        if merge is not None and (run := _run_at(data, at, stop, max(expected, merge.start), merge.stop)) is not None:
            merged, at = run
            yield at, merged
            expected = merged.first + merged.count
            continue
        found = _record_at(data, at, stop, expected)
        if found is None:
            if not any(data[at : min(stop, at + 64)]) and not _anything(data, at, stop):
                return  # the part of a segment that was never written
            again, budget = _search(data, at + ALIGNMENT, stop, expected, budget)
            yield again, Damage(at, again, again >= stop)
            at = again
            continue
        record, size, flags = found
        at += size
        if flags & FLAG_END:
            yield at, End(record.first)
            return
        yield at, record
        expected = record.first + record.count


def _record_at(data: memoryview, at: int, stop: int, expected: int) -> tuple[Record, int, int] | None:
    """The record at `at`, its size with padding and its flags, if it is intact."""
    body = at + PREAMBLE_BYTES
    if body + HEAD_BYTES > stop:
        return None
    crc, size = PREAMBLE.unpack_from(data, at)
    if size < HEAD_BYTES or body + size > stop:
        return None
    version, flags, reserved, count, first, time, meta_size, skipped = HEAD.unpack_from(data, body)
    if version != VERSION or reserved or HEAD_BYTES + meta_size > size or first < expected or not 0 <= first < NUMBER_MAX:
        return None
    if not count and not flags & FLAG_END:
        return None
    if zlib.crc32(data[at + 4 : body + size]) != crc:
        return None
    try:
        meta = orjson.loads(data[body + HEAD_BYTES : body + HEAD_BYTES + meta_size]) if meta_size else None
    except orjson.JSONDecodeError:
        return None
    if meta is not None and not isinstance(meta, dict):
        return None
    payload = bytes(data[body + HEAD_BYTES + meta_size : body + size])
    return Record(first, count, bool(flags & FLAG_ERROR), time, payload, meta, skipped), padded(size), flags


def _run_at(data: memoryview, at: int, stop: int, low: int, high: int) -> tuple[Record, int] | None:
    """Several plain records at `at` as one, and where the next begins, if there are any and their numbers follow each other."""
    if at + PREAMBLE_BYTES + HEAD_BYTES > stop:
        return None
    _, _, _, kind, _, _, begin, time, _, _ = _WHOLE.unpack_from(data, at)
    if kind & ~FLAG_ERROR or begin < low:
        return None
    payloads: list[memoryview] = []
    number, high, last = begin, min(high, NUMBER_MAX), stop - PREAMBLE_BYTES - HEAD_BYTES
    stop_early = min(stop, at + RUN_BYTES)
    while at <= last and at < stop_early and number < high:
        crc, size, version, flags, reserved, count, first, when, meta_size, skipped = _WHOLE.unpack_from(data, at)
        if first != number or count != 1 or flags != kind or meta_size or skipped or version != VERSION or reserved:
            break
        end = at + PREAMBLE_BYTES + size
        if size < HEAD_BYTES or end > stop or not -RUN_SECONDS <= when - time <= RUN_SECONDS:
            break
        checked = data[at + _CRC_BYTES : end]
        if _crc32(checked) != crc:
            break
        payloads.append(checked[_CHECKED_BYTES:])
        number += 1
        at = end + (-size % ALIGNMENT)
    if len(payloads) < 2:
        return None
    payload = b"\n".join(payloads)
    if payload.count(b"\n") != len(payloads) - 1:
        return None  # somebody's own encoding has newlines within a message
    return Record(begin, len(payloads), bool(kind & FLAG_ERROR), time, payload, merged=True), at


def _search(data: memoryview, at: int, stop: int, expected: int, budget: int) -> tuple[int, int]:
    """Where the next intact record begins (or `stop`), and what is left of the budget."""
    while at + PREAMBLE_BYTES + HEAD_BYTES <= stop and budget > 0:
        size = PREAMBLE.unpack_from(data, at)[1]
        if HEAD_BYTES <= size <= stop - at - PREAMBLE_BYTES and data[at + PREAMBLE_BYTES] == VERSION:
            budget -= size
            if _record_at(data, at, stop, expected) is not None:
                return at, budget
        budget -= 1
        at += ALIGNMENT
    return stop, budget


def _anything(data: memoryview, at: int, stop: int) -> bool:
    """Whether any byte from `at` on is not zero."""
    step = 1 << 20
    return any(bytes(data[begin : min(stop, begin + step)]).strip(b"\0") for begin in range(at, stop, step))
