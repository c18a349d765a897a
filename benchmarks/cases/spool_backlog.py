"""What a restart costs after the destination was away for a long time."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row


def _rows(results: Results) -> Iterator[Row]:
    yield results.row("opened in", "restart", "open_s", "s", Reach("under", 1))
    yield results.rate("drained to a batch that does nothing", "restart", Reach("at least", 300_000))
    yield results.row("highest memory", "restart", "peak", "MB", Reach("under", 100))
    yield results.row("highest memory without a backlog", "nothing", "peak", "MB")
    yield results.rate("handed over by produce_many: drained", "restart_many")


SPOOL_BACKLOG = Case(
    name="spool_backlog",
    title="A spool with a million messages of backlog",
    note="Handed over one by one by a process that could not deliver any; opened by another, from the start of the producer until it "
    "accepts messages, and drained, until the last is confirmed. The last row: handed over 1,000 at a time.",
    sides=("restart", "nothing", "restart_many"),
    rows=_rows,
    sizes={
        "full": {"rounds": 5, "messages": 1_000_000},
        "quick": {"rounds": 1, "messages": 300_000},
        "smoke": {"rounds": 1, "messages": 2000},
    },
    prepare="leave_behind",
)
