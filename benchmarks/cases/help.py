"""How long a person waits for the help."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row


def _rows(results: Results) -> Iterator[Row]:
    yield results.row("standpipe --help", "standpipe", "ms", "ms", Reach("under", 150))
    yield results.row("python -c pass", "python", "ms", "ms")
    yield results.ratio("standpipe --help / python -c pass", "standpipe", "python", "ms")


HELP = Case(
    name="help",
    title="standpipe --help",
    note="From the start of the process to its end.",
    sides=("standpipe", "python"),
    rows=_rows,
    sizes={"full": {"rounds": 20}, "quick": {"rounds": 5}, "smoke": {"rounds": 1}},
)
