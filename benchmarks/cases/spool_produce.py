"""What the disk adds to a call of `produce`."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row


def _rows(results: Results) -> Iterator[Row]:
    for side, what in (("memory", "memory queue"), ("written", "spool, written")):
        yield results.row(f"produce(), {what}", side, "us", "us")
        yield results.row(f"produce(), {what}: mean of all bursts", side, "mean_us", "us")
    yield results.ratio("spool, written / memory queue", "written", "memory", "us", Reach("at most", 2))
    yield results.ratio("spool, written / memory queue: means", "written", "memory", "mean_us")


SPOOL_PRODUCE = Case(
    name="spool_produce",
    title="produce() to a spool: the operating system has the message when it returns",
    note="The message and the bursts of the case produce, the destination busy meanwhile. The median burst writes to a segment that "
    "is there; the mean also pays for making segments (one in 56,000 such messages) and for what the disk does beside it.",
    sides=("memory", "written"),
    rows=_rows,
    sizes={
        "full": {"rounds": 7, "bursts": 200, "burst": 1000},
        "quick": {"rounds": 3, "bursts": 60, "burst": 1000},
        "smoke": {"rounds": 1, "bursts": 3, "burst": 50},
    },
    one_core=True,
)
