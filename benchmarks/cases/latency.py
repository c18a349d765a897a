"""Whether the caller notices that the destination hangs."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row

QUICK_ENOUGH = Reach("under", 50)


def _rows(results: Results) -> Iterator[Row]:
    for side, what in (("healthy", "destination healthy"), ("hanging", "destination hangs"), ("queue_put", "queue.Queue.put")):
        yield results.row(f"{what}: p50", side, "p50", "us")
        yield results.row(f"{what}: p99", side, "p99", "us", None if side == "queue_put" else QUICK_ENOUGH)
        yield results.row(f"{what}: p99.9", side, "p999", "us")


LATENCY = Case(
    name="latency",
    title="Latency of produce() while the destination hangs",
    note="Single calls at a steady pace, the pause between them not measured. The rows of queue.Queue.put show what is the machine's.",
    sides=("healthy", "hanging", "queue_put"),
    rows=_rows,
    sizes={
        "full": {"rounds": 3, "calls": 20_000, "pause_us": 200},
        "quick": {"rounds": 1, "calls": 4000, "pause_us": 200},
        "smoke": {"rounds": 1, "calls": 50, "pause_us": 100},
    },
)
