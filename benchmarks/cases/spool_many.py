"""What is left of the disk's speed when a spool keeps account of it."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row


def _rows(results: Results) -> Iterator[Row]:
    yield results.rate("produce_many(1000), spool, synced", "synced")
    yield results.rate("bare loop: length + CRC + payload, fdatasync per 1,000", "bare")
    yield results.ratio("produce_many / bare loop", "synced", "bare", "rate", Reach("at least", 0.5))
    yield results.rate("produce_many(1000), spool, written", "written")


SPOOL_MANY = Case(
    name="spool_many",
    title="produce_many(1000) to a spool: the disk has the messages when it returns",
    note="Messages per second of one thread, in bursts of several calls; the queue is emptied between bursts, which is not measured. "
    "The bare loop encodes each message with orjson, puts length and CRC before it, and writes and syncs 1,000 of them at once.",
    sides=("synced", "bare", "written"),
    rows=_rows,
    sizes={
        "full": {"rounds": 7, "bursts": 30, "calls": 10, "messages": 1000},
        "quick": {"rounds": 3, "bursts": 10, "calls": 10, "messages": 1000},
        "smoke": {"rounds": 1, "bursts": 2, "calls": 2, "messages": 10},
    },
)
