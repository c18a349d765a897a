"""An entry of the queue as a record of the spool, and back: what `meta` says, and which numbers follow each other."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import orjson

from standpipe.delivery.batch import Slice
from standpipe.delivery.receipt import QUEUED, STORED, Origin, Receipt
from standpipe.spool.format import Record


def neighbours(slices: list[Slice]) -> Iterator[tuple[int, int]]:
    """The numbers of the messages, as the first and how many follow each other."""
    first = stop = 0
    for receipt, start, end in slices:
        number = receipt._first
        if number + start != stop:
            if stop > first:
                yield first, stop - first
            first = number + start
        stop = number + end
    if stop > first:
        yield first, stop - first


def meta_of(entry: Receipt) -> bytes:
    """Keys, headers and ids of an entry, as JSON; empty if it has none."""
    meta: dict[str, Any] = {}
    keys = entry._keys
    if isinstance(keys, str):
        meta["key"] = keys
    elif keys is not None:
        meta["keys"] = list(keys)
    more = entry._more
    if more is not None and more.headers is not None:
        meta["headers"] = dict(more.headers)
    if more is not None and more.ids is not None:
        meta["ids"] = list(more.ids)
    return orjson.dumps(meta) if meta else b""


def restored(record: Record, start: int, stop: int, origin: Origin, accepted_at: float) -> Receipt:
    """The entry that messages `start` to `stop` of a record are, accepted by `origin` at a monotonic time."""
    payload = record.payload if stop - start == record.count else b"\n".join(record.payload.split(b"\n")[start:stop])
    size = len(payload) - (stop - start - 1 if record.merged else 0)  # one by one they were counted without newlines
    meta = record.meta or {}
    keys = meta.get("keys", meta.get("key"))
    if isinstance(keys, list):
        keys = tuple(keys[start:stop])
    entry = Receipt(origin, record.is_error, payload, stop - start, size, keys, accepted_at)
    entry._first = record.first + start
    entry._state = STORED
    if "headers" in meta or "ids" in meta:
        more = entry._rest()
        more.headers = meta.get("headers")
        more.ids = meta["ids"][start:stop] if "ids" in meta else None
    return entry


def mark_lost(held: MutableMapping[int, Receipt], read_up_to: int) -> None:
    """At the end: of the receipts that somebody holds of messages on the disk, by number, those that reading has passed without
    finding them must not say that they are stored."""
    for number, receipt in list(held.items()):
        if number < read_up_to:
            receipt._state = QUEUED
            del held[number]
