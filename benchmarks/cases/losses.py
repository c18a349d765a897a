"""What is left of accepted messages when the process is killed."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Figure, Reach, Row

SIDES = {
    "written": "Standpipe, written",
    "synced": "Standpipe, synced",
    "memory": "Standpipe, memory queue",
    "persist_queue": "persist-queue, SQLiteAckQueue",
    "litequeue": "litequeue",
    "logstash_async": "python-logstash-async, database",
}
ON_DISK = ("written", "synced")
MESSAGES = "messages"
NONE = Reach("at most", 0)
ONE_BATCH = Reach("at most", 1000)


def _rows(results: Results) -> Iterator[Row]:
    for side, name in SIDES.items():
        if not results.has(side):
            continue
        accepted, kills = sum(results.values(side, "accepted")), sum(results.values(side, "kills"))
        lost = Figure.of([sum(results.values(side, "lost"))], MESSAGES)
        yield Row(f"{name}: {accepted:,} accepted, killed {kills} times: lost", lost, NONE if side in ON_DISK else None)
        yield Row(f"{name}: delivered twice", Figure.of([sum(results.values(side, "twice"))], MESSAGES))
        if side in ON_DISK:
            yield Row(f"{name}: delivered twice, most after one kill", results.figure(side, "most_twice", MESSAGES), ONE_BATCH)


LOSSES = Case(
    name="losses",
    title="Killed with kill -9 while messages are put and delivered",
    note="A process puts numbered messages into a queue as fast as it can and writes down each one that was accepted; the same process "
    "delivers them, by writing their numbers to a file, and settles them. It is killed at a random moment; another process opens the "
    "queue, after whatever its documentation says has to be done then, and delivers the rest. Messages that the first one had in "
    "flight may come twice.",
    sides=tuple(SIDES),
    rows=_rows,
    sizes={
        "full": {"rounds": 1, "kills": 20},
        "quick": {"rounds": 1, "kills": 3},
        "smoke": {"rounds": 1, "kills": 1},
    },
)
