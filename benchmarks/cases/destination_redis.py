"""Messages added to a Redis stream."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.cases.destination_rows import destination_rows

SIDES = {
    "standpipe": "Standpipe, memory",
    "standpipe_spool": "Standpipe, written spool",
    "standpipe_deduplicate": "Standpipe, memory, with deduplicate",
    "redis_py_pipeline": "redis-py pipeline",
    "hiredis_by_hand": "hiredis on a socket, no client",
    "faststream_redis": "FastStream",
}

_ROWS = destination_rows(
    SIDES,
    ("Standpipe's share of redis-py's pipeline", "standpipe", "redis_py_pipeline", 0.8),
    ("Standpipe's share of hiredis by hand", "standpipe", "hiredis_by_hand", None),
    ("with a written spool: share of that in memory", "standpipe_spool", "standpipe", 0.7),
    ("FastStream: slower by", "standpipe", "faststream_redis", 1),
)

DESTINATION_REDIS = Case(
    name="destination_redis",
    title="Redis, entries of a stream, every answer read",
    note="From the first message to the last answer, to the server at the default address, which shares the machine; 1,000 commands "
    "together, with a message id; every client encodes the message. Standpipe sends them as a transaction, the others do not. "
    "FastStream awaits each, 64 at once, and sends fewer.",
    sides=("standpipe", "redis_py_pipeline", "standpipe_spool", "hiredis_by_hand", "standpipe_deduplicate"),
    rivals=("faststream_redis",),
    rows=_ROWS,
    sizes={
        "full": {"rounds": 5, "messages": 200_000, "few_messages": 10_000, "batch": 1000, "window": 64},
        "quick": {"rounds": 3, "messages": 60_000, "few_messages": 3000, "batch": 1000, "window": 64},
        "smoke": {"rounds": 1, "messages": 50, "few_messages": 10, "batch": 16, "window": 4},
    },
)
