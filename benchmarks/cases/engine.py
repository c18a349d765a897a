"""What one core delivers."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row


def _rows(results: Results) -> Iterator[Row]:
    yield results.rate("produce_many -> _send", "send_fed_many", Reach("at least", 200_000))
    yield results.rate("produce_many -> _send_batch", "send_batch_fed_many", Reach("at least", 600_000))
    yield results.rate("produce -> _send", "send_fed_single")
    yield results.rate("produce -> _send_batch", "send_batch_fed_single")
    yield results.row("produce_many -> _send, CPU", "send_fed_many", "cpu_us", "us per message")
    yield results.row("produce_many -> _send_batch, CPU", "send_batch_fed_many", "cpu_us", "us per message")


ENGINE = Case(
    name="engine",
    title="Through the engine to a destination that does nothing",
    note="From the first call to the last delivery, caller and worker together on one core.",
    sides=("send_fed_many", "send_batch_fed_many", "send_fed_single", "send_batch_fed_single"),
    rows=_rows,
    sizes={
        "full": {"rounds": 3, "messages": 1_000_000},
        "quick": {"rounds": 1, "messages": 200_000},
        "smoke": {"rounds": 1, "messages": 2000},
    },
    one_core=True,
)
