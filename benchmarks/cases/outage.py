"""What the caller notices of an outage of the destination, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row

SIDES = {"memory": "memory", "spool": "written spool"}
PHASES = ("before", "during", "after")


def _rows(results: Results) -> Iterator[Row]:
    for side, name in SIDES.items():
        for phase in PHASES:
            for quantile in ("p50", "p99", "max"):
                yield results.row(f"{name}: produce() {phase}, {quantile}", side, f"{phase}_{quantile}", "us")
        yield results.row(f"{name}: waiting when it comes back", side, "waiting", "messages")
        yield results.row(f"{name}: backlog gone after", side, "drained", "s")
        yield results.row(f"{name}: memory before", side, "memory_before", "MB")
        yield results.row(f"{name}: most memory", side, "memory_outage", "MB")
        yield results.row(f"{name}: memory at the end", side, "memory_after", "MB")
        yield results.row(f"{name}: handed over", side, "messages", "messages")
        yield results.row(f"{name}: missing", side, "lost", "messages", Reach("at most", 0))
        yield results.row(f"{name}: arrived twice", side, "duplicates", "messages")


OUTAGE = Case(
    name="outage",
    title="A destination is killed and comes back",
    note="An HTTP server that takes many messages in a request (JSON Lines), and writes each request down before it answers, is ended by "
    "SIGKILL and later started again at the same address. The caller goes on at its pace all the time, and every call is timed. A new "
    "connection is tried every second (reconnect_wait; the default is a minute, which would be what is measured). The backlog is gone when "
    "no more waits than before the outage.",
    sides=("memory", "spool"),
    rows=_rows,
    series=("memory", "spool"),
    sizes={
        "full": {"rounds": 3, "rate": 5000, "before": 2.0, "outage": 4.0, "after": 4.0, "reconnect_wait": 1.0},
        "quick": {"rounds": 1, "rate": 5000, "before": 1.0, "outage": 2.0, "after": 2.0, "reconnect_wait": 1.0},
        "smoke": {"rounds": 1, "rate": 500, "before": 0.2, "outage": 0.2, "after": 0.2, "reconnect_wait": 0.1},
    },
)
