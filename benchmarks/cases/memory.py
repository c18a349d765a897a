"""Whether memory stays where it is."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row

# The allocator's arenas come and go: measured after every million of eight, memory went up and down by 3 MB without a
# trend. The smallest leak, one reference (8 bytes) per message, would add 32 MB over the four million in between.
FLAT = Reach("at most", 8)


def _rows(results: Results) -> Iterator[Row]:
    for side, way in (("send", "produce -> _send"), ("send_batch", "produce_many -> _send_batch")):
        yield results.row(f"{way}: early", side, "first", "MB")
        yield results.row(f"{way}: late", side, "last", "MB")
        yield results.row(f"{way}: growth", side, "growth", "MB", FLAT)


MEMORY = Case(
    name="memory",
    title="Memory over many messages",
    note="Resident memory of the process: early, when the first messages are delivered (more than the queue holds: it has been full "
    "once), and late, when all are.",
    sides=("send", "send_batch"),
    rows=_rows,
    sizes={
        "full": {"rounds": 1, "messages": 5_000_000, "first": 1_000_000},
        "quick": {"rounds": 1, "messages": 900_000, "first": 300_000},
        "smoke": {"rounds": 1, "messages": 2000, "first": 1000},
    },
    one_core=True,
)
