"""Whether callers that wait for the disk at the same time share what it costs."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row


def _rows(results: Results) -> Iterator[Row]:
    yield results.rate("8 threads, one message each", "eight")
    yield results.rate("1 thread", "one")
    yield results.ratio("8 threads / 1 thread", "eight", "one", "rate", Reach("at least", 5))
    yield results.ratio("8 threads / 1 thread, each sync 1 ms longer", "eight_slow", "one_slow", "rate", Reach("at least", 5))
    yield results.rate("bare loop: one append and fdatasync per message", "bare")
    yield results.rate("8 threads, a bare file and a shared fdatasync", "bare_eight")
    yield results.ratio("8 threads: share of what the bare file gives them", "eight", "bare_eight", "rate")
    yield results.ratio("bare file: 8 threads / 1 thread", "bare_eight", "bare", "rate")


SPOOL_THREADS = Case(
    name="spool_threads",
    title="produce() to a synced spool from several threads: one sync for all who wait",
    note="Messages per second of all threads together; each thread calls again when the disk has its last message. The destination is "
    "busy meanwhile. The quicker the disk, the less there is to share: threads of Python wake one after the other. So it is also measured "
    "with 1 ms more for each sync, as the disks of laptops take, and what a bare file and a sync give eight threads stands beside it.",
    sides=("one", "eight", "one_slow", "eight_slow", "bare", "bare_eight"),
    rows=_rows,
    sizes={
        "full": {"rounds": 7, "calls": 3000},
        "quick": {"rounds": 3, "calls": 1000},
        "smoke": {"rounds": 1, "calls": 20},
    },
)
