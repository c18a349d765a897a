"""Batches as the engine hands them to a producer, made without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from standpipe.core.payload import encode_many
from standpipe.delivery.batch import Batch
from standpipe.delivery.receipt import Origin, Receipt
from standpipe.producers.details import add_details
from standpipe.testing.clock import ManualClock

PREFIX = "0123456789abcdef0123"


@dataclass
class Given:
    """What one call of `produce` or `produce_many` was given."""

    contents: list[dict[str, Any]]
    is_error: bool = False
    key: str | None = None
    headers: Mapping[str, str] | None = None
    ids: Sequence[str] | None = None


def given(*contents: dict[str, Any], **rest: Any) -> Given:
    """Messages of one call."""
    return Given(list(contents) or [{"a": 1}], **rest)


def batch_of(*calls: Given, time: float = 1_800_000_000.25) -> Batch:
    """One batch with the messages of all calls, accepted at `time`; their generated ids are `PREFIX` and a number."""
    clock = ManualClock()
    origin = Origin("p", PREFIX, clock)
    slices = []
    first = 0
    for call in calls:
        payload, count = encode_many(call.contents), len(call.contents)
        accepted_at = time - (clock.time() - clock.monotonic())
        receipt = Receipt(origin, call.is_error, payload, count, len(payload), call.key, accepted_at)
        receipt._first = first
        if call.headers is not None or call.ids is not None:
            add_details(receipt, call.key, call.headers, call.ids)
        slices.append((receipt, 0, count))
        first += count
    return Batch(slices, first)
