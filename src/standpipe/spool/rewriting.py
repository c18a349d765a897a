"""Records that have to be written a second time, because the disk refused the first."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from standpipe.spool.format import FLAG_ERROR, HEADER_BYTES, Record, encode_record, joined
from standpipe.spool.intervals import Intervals
from standpipe.spool.segment import Segment

Written = tuple[int, int, int, float, bytes, bytes]
"""The arguments of `encode_record` for a record that was written: first number, count, flags, time, meta, payload."""


def written_since(segments: Iterable[Segment], number: int) -> list[Written]:
    """What was written from message `number` on, out of the mapped files."""
    written: list[Written] = []
    for segment in segments:
        if segment.file is not None and segment.stop > number:
            for _, record in segment.items(HEADER_BYTES):
                if isinstance(record, Record) and record.first >= number:
                    meta = orjson.dumps(record.meta) if record.meta is not None else b""
                    flags = FLAG_ERROR if record.is_error else 0
                    written.append((record.first, record.count, flags, record.time, meta, record.payload))
    return written


def encoded(records: list[Written], settled: Intervals) -> list[bytes]:
    """All bytes of each record. Numbers between them were given to messages that were dropped at once, if they are settled;
    else the disk has lost what they were given to, and whoever reads on finds that."""
    parts = []
    stop = records[0][0]
    for record in records:
        parts.append(joined(encode_record(*record, record[0] - stop if settled.covers(stop, record[0]) else 0)))
        stop = record[0] + record[1]
    return parts
