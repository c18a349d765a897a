"""What a call of `produce` costs the caller."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row


def _rows(results: Results) -> Iterator[Row]:
    yield results.row("produce()", "standpipe", "us", "us")
    yield results.row("queue.Queue.put", "queue_put", "us", "us")
    yield results.row("OpenTelemetry on_emit alone, of one record made before", "otel_on_emit", "us", "us")
    yield results.row("OpenTelemetry, a new record into on_emit (Logger.emit)", "otel_emit", "us", "us")
    yield results.ratio("produce() / Queue.put", "standpipe", "queue_put", "us", Reach("at most", 3))
    yield results.ratio("new record into on_emit / produce()", "otel_emit", "standpipe", "us", Reach("at least", 5))
    yield results.ratio("on_emit alone / produce()", "otel_on_emit", "standpipe", "us")
    yield results.row("produce(), delivered meanwhile", "standpipe_live", "us", "us")
    yield results.row("Queue.put, taken meanwhile by a thread", "queue_put_live", "us", "us")


PRODUCE = Case(
    name="produce",
    title="produce() of a 250-byte dict of ten fields",
    note="One thread calls in bursts of 1,000; while a burst is measured the other end is busy with what it took before, after it "
    "the queue is emptied, which is not measured. `on_emit` alone encodes and copies nothing and is given the same record again "
    "and again; a message needs a record of its own, so that the ratio to reach is with the making of it. The rows `meanwhile` "
    "have a consumer that takes messages all the time.",
    sides=("standpipe", "queue_put", "otel_on_emit", "otel_emit", "standpipe_live", "queue_put_live"),
    rows=_rows,
    sizes={
        "full": {"rounds": 7, "bursts": 100, "burst": 1000},
        "quick": {"rounds": 3, "bursts": 50, "burst": 1000},
        "smoke": {"rounds": 1, "bursts": 2, "burst": 10},
    },
)
