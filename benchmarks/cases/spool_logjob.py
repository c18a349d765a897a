"""The job that most people have, with what it accepted safe from a crash of the process."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, CaseFailed, Results
from benchmarks.figures import Reach, Row


def _rows(results: Results) -> Iterator[Row]:
    if len({*results.values("written", "digest"), *results.values("memory", "digest")}) != 1:
        raise CaseFailed("spool_logjob: the sides did not write the same records")
    yield results.rate("queue on disk, written", "written")
    yield results.rate("queue in memory", "memory")
    yield results.ratio("queue on disk / queue in memory", "written", "memory", "rate", Reach("at least", 0.7))
    yield results.row("queue on disk: highest memory", "written", "peak", "MB")
    yield results.row("queue on disk: CPU per million lines", "written", "cpu_s", "s")
    yield results.row("queue in memory: CPU per million lines", "memory", "cpu_s", "s")


SPOOL_LOGJOB = Case(
    name="spool_logjob",
    title="The log job with a queue on disk",
    note="The job of the case logjob as a Standpipe pipeline; the records go through a spool (`queue: {type: spool}`) on their way to "
    "the file.",
    sides=("written", "memory"),
    rows=_rows,
    sizes={
        "full": {"rounds": 5, "lines": 1_000_000},
        "quick": {"rounds": 1, "lines": 200_000},
        "smoke": {"rounds": 1, "lines": 2000},
    },
    prepare="make_lines",
)
