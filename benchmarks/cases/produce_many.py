"""What handing over many messages together brings."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.figures import Reach, Row


def _rows(results: Results) -> Iterator[Row]:
    yield results.rate("produce_many of 1,000 messages", "standpipe", Reach("at least", 1_500_000))
    yield results.rate("orjson.dumps of each message, nothing else", "only_encode")
    yield results.rate("queue.Queue.put of each message", "queue_put")
    yield results.ratio("produce_many / Queue.put", "standpipe", "queue_put", "rate")


PRODUCE_MANY = Case(
    name="produce_many",
    title="produce_many() of 1,000 such dicts",
    note="Messages per second of one thread, in bursts of several calls; the queue is emptied between bursts, which is not measured.",
    sides=("standpipe", "only_encode", "queue_put"),
    rows=_rows,
    sizes={
        "full": {"rounds": 7, "bursts": 50, "calls": 10, "messages": 1000},
        "quick": {"rounds": 3, "bursts": 20, "calls": 10, "messages": 1000},
        "smoke": {"rounds": 1, "bursts": 2, "calls": 2, "messages": 10},
    },
)
