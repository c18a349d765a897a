"""Bits that flip on the disk while no process runs, where it is certain which messages are damaged by that."""

from __future__ import annotations

from dataclasses import dataclass

from standpipe.spool.format import HEAD_BYTES, HEADER_BYTES, PREAMBLE_BYTES, Damage, End, Record, decode_header, scan
from standpipe.spool.segment import segment_number
from standpipe.testing.crashing_files import CrashingFileSystem

NEWLINE = 0x0A
"""Between the messages of a record: where one comes or goes nobody can tell any more which bytes are whose."""


@dataclass(frozen=True, slots=True)
class Place:
    """A record whose messages are known whatever happens to its payload, because of what stands around it."""

    name: str
    payload_at: int
    record: Record
    prefix: str

    def ids(self) -> list[str]:
        """The ids of its messages."""
        given = (self.record.meta or {}).get("ids")
        return given or [f"{self.prefix}{self.record.first + index:012x}" for index in range(self.record.count)]


def places(files: CrashingFileSystem) -> list[Place]:
    """All of them: behind each stands something intact, and no later segment has its messages again."""
    segments = [(name, data) for name, data in sorted(files.contents().items()) if segment_number(name) is not None]
    found: list[Place] = []
    limit: int | None = None
    for name, data in reversed(segments):
        header = decode_header(data)
        if header is None:
            return []
        found += [
            place for place in _in_segment(name, data, header.prefix) if limit is None or place.record.first + place.record.count <= limit
        ]
        limit = header.first - header.skipped if limit is None else min(limit, header.first - header.skipped)
    return found


def _in_segment(name: str, data: bytes, prefix: str) -> list[Place]:
    found: list[Place] = []
    start, before, waiting = HEADER_BYTES, True, None
    for stop, item in scan(memoryview(data), HEADER_BYTES, len(data), 0):
        if waiting is not None and _follows(waiting.record, item):
            found.append(waiting)
        waiting = None
        if isinstance(item, Record) and before:
            meta_bytes = len(data[start:stop].split(item.payload)[0]) - PREAMBLE_BYTES - HEAD_BYTES
            waiting = Place(name, start + PREAMBLE_BYTES + HEAD_BYTES + meta_bytes, item, prefix)
        start, before = stop, not isinstance(item, Damage)
    return found


def _follows(record: Record, item: Record | Damage | End) -> bool:
    behind = record.first + record.count
    if isinstance(item, End):
        return True
    return isinstance(item, Record) and item.first - item.skipped == behind


def flip(files: CrashingFileSystem, place: Place, at: float, bit: int) -> list[bytes] | None:
    """Turn over a bit of its payload, at a share `at` of its length; what its messages say then. None: nothing was done."""
    payload = bytearray(place.record.payload)
    offset = int(at * len(payload))
    before = payload[offset]
    payload[offset] ^= 1 << bit
    if NEWLINE in (before, payload[offset]):
        return None
    files.flip(place.name, (place.payload_at + offset) * 8 + bit)
    return bytes(payload).split(b"\n")
