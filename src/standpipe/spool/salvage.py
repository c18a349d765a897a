"""What can still be told of records whose checksum does not fit: which messages they were. Pure.

Believed is only what fits without a gap: each record says its size, its first number and how many messages it holds; together
they must lead from the last intact record exactly to the next one, in bytes and in numbers. Then it is certain which messages
were there, although any byte of what they say may be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from standpipe.spool.format import FLAG_ERROR, HEAD, HEAD_BYTES, PREAMBLE, PREAMBLE_BYTES, VERSION, Damage, Record, padded


@dataclass(frozen=True, slots=True)
class Wreck:
    """Records that are damaged, one behind the other, and the number after their last message."""

    records: tuple[Record, ...] = ()
    stop: int = -1


NOTHING = Wreck()


def salvaged(data: memoryview, damage: Damage, expected: int) -> Wreck:
    """The damaged records in `damage`, the first of which must begin with message `expected`; none if they do not fill it exactly."""
    records: list[Record] = []
    at = damage.start
    while at < damage.stop:
        record, at = _frame_at(data, at, damage.stop, expected)
        if record is None:
            return NOTHING
        records.append(record)
        expected = record.first + record.count
    return Wreck(tuple(records), expected) if at == damage.stop else NOTHING


def _frame_at(data: memoryview, at: int, stop: int, expected: int) -> tuple[Record | None, int]:
    """What says that it is the record with message `expected`, and where it ends."""
    body = at + PREAMBLE_BYTES
    if body + HEAD_BYTES > stop:
        return None, at
    _, size = PREAMBLE.unpack_from(data, at)
    version, flags, reserved, count, first, time, meta_size, skipped = HEAD.unpack_from(data, body)
    end = at + padded(size)
    if version != VERSION or flags & ~FLAG_ERROR or reserved or end > stop or first != expected + skipped:
        return None, at
    if not count or HEAD_BYTES + meta_size > size:
        return None, at
    text = bytes(data[body + HEAD_BYTES : body + size])
    payload = text[meta_size:]
    if payload.count(b"\n") != count - 1:
        return None, at  # nobody can tell which bytes are whose
    return Record(first, count, bool(flags & FLAG_ERROR), time, payload, _meta(text[:meta_size], count), skipped), end


def _meta(text: bytes, count: int) -> dict[str, Any] | None:
    """Keys, headers and ids, if they still look like that."""
    try:
        meta = orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None
    if not isinstance(meta, dict):
        return None
    return meta if all(_is_right(name, value, count) for name, value in meta.items()) else None


def _is_right(name: str, value: object, count: int) -> bool:
    if name == "key":
        return isinstance(value, str)
    if name == "keys":
        return isinstance(value, list) and len(value) == count and all(key is None or isinstance(key, str) for key in value)
    if name == "ids":
        return isinstance(value, list) and len(value) == count and all(isinstance(one, str) for one in value)
    return name == "headers" and isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
