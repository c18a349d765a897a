"""Other queues on disk that people use in Python."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row

OURS = {
    "written": "Standpipe, written, one by one",
    "synced": "Standpipe, synced, one by one",
    "synced_many": "Standpipe, synced, 1,000 at a time",
}

RIVALS = (
    ("litequeue", "litequeue", "written"),
    ("persist_queue", "persist-queue, SQLiteAckQueue", "synced"),
    ("logstash_async", "python-logstash-async, database", "synced"),
    ("sqlite_many", "sqlite3, WAL, FULL, 1,000 at a time", "synced_many"),
)
"""Side, name, and the side of ours that promises the same."""

SLOWER = Reach("at least", 1)


def _rows(results: Results) -> Iterator[Row]:
    for side, name in OURS.items():
        yield results.rate(f"{name}: put, taken and settled", side)
    for side, name, ours in RIVALS:
        if results.has(side):
            yield results.rate(f"{name}: put, taken and settled", side)
            yield results.ratio(f"{name}: slower by", ours, side, "rate", SLOWER)
            yield results.ratio(f"{name}: slower by, putting alone", ours, side, "put_rate", SLOWER)


QUEUES = Case(
    name="queues",
    title="Queues on disk side by side",
    note="The message of the case produce: all are put, then all are taken and settled, one thread at a time. Each is compared with what "
    "promises the same: litequeue syncs at checkpoints only (synchronous=NORMAL), as `written`; the others sync with every commit.",
    sides=(*OURS, *(side for side, _, _ in RIVALS)),
    rows=_rows,
    sizes={
        "full": {"rounds": 5, "messages": 3000, "many": 100_000},
        "quick": {"rounds": 1, "messages": 1000, "many": 20_000},
        "smoke": {"rounds": 1, "messages": 20, "many": 2000},
    },
)
