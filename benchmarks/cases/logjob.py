"""The job that most people have: a log becomes records."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, CaseFailed, Results
from benchmarks.figures import Reach, Row


def _rows(results: Results) -> Iterator[Row]:
    _check_same_output(results)
    yield results.rate("standpipe: tail -> parse -> file", "standpipe")
    yield results.rate("hand-written loop", "loop")
    yield results.rate("hand-written loop, lazy path group", "loop_lazy")
    yield results.ratio("standpipe / loop", "standpipe", "loop", "rate", Reach("at least", 0.7))
    yield results.ratio("standpipe / loop, lazy path group", "standpipe", "loop_lazy", "rate")
    yield results.row("standpipe: highest memory", "standpipe", "peak", "MB", Reach("under", 150))
    yield results.row("hand-written loop: highest memory", "loop", "peak", "MB")
    yield results.row("standpipe: CPU per million lines", "standpipe", "cpu_s", "s")
    yield results.row("hand-written loop: CPU per million lines", "loop", "cpu_s", "s")


def _check_same_output(results: Results) -> None:
    digests = {side: set(results.values(side, "digest")) for side in LOGJOB.sides}
    if len(set().union(*digests.values())) != 1:
        found = ", ".join(f"{side} {' '.join(sorted(each))}" for side, each in digests.items())
        raise CaseFailed(f"logjob: the sides did not write the same records: sha256 of {found}")


LOGJOB = Case(
    name="logjob",
    title="The log job: access-log lines to JSON Lines by a pattern with ten named groups",
    note="Lines of about 150 bytes (nginx combined, made with a fixed seed), read from a file and written to a file; all sides must "
    "write the same bytes. The loop: for each line `re.match`, `groupdict`, `orjson.dumps`, buffered write, with the pattern that "
    "Standpipe has; and with the lazy path group that people use. Measured after the imports, unsynced, memory as the process's peak.",
    sides=("standpipe", "loop", "loop_lazy"),
    rows=_rows,
    sizes={
        "full": {"rounds": 5, "lines": 1_000_000},
        "quick": {"rounds": 1, "lines": 200_000},
        "smoke": {"rounds": 1, "lines": 2000},
    },
    prepare="make_lines",
)
