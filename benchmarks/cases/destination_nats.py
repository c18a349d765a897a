"""Messages published to a JetStream stream."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.cases.destination_rows import destination_rows

SIDES = {
    "standpipe": "Standpipe, memory",
    "standpipe_spool": "Standpipe, written spool",
    "publish_async": "nats-py, publish_async",
    "publish_awaited": "nats-py, publish awaited",
    "faststream_nats": "FastStream",
}

_ROWS = destination_rows(
    SIDES,
    ("Standpipe's share of publish_async", "standpipe", "publish_async", 0.9),
    ("with a written spool: share of that in memory", "standpipe_spool", "standpipe", 0.7),
    ("publish awaited: slower by", "standpipe", "publish_awaited", 1),
    ("FastStream: slower by", "standpipe", "faststream_nats", 1),
)

DESTINATION_NATS = Case(
    name="destination_nats",
    title="NATS JetStream, a stream on disk, every message acknowledged",
    note="From the first message to the last acknowledgement, to the server at the default address, which shares the machine; 4,000 "
    "messages on their way at once, with a message id by which the stream removes duplicates; every client encodes the message. Publishes "
    "that are awaited go one by one, FastStream's 64 at once, and both send fewer.",
    sides=("standpipe", "publish_async", "standpipe_spool", "publish_awaited"),
    rivals=("faststream_nats",),
    rows=_ROWS,
    sizes={
        "full": {"rounds": 5, "messages": 100_000, "few_messages": 10_000, "window": 4000},
        "quick": {"rounds": 3, "messages": 40_000, "few_messages": 3000, "window": 4000},
        "smoke": {"rounds": 1, "messages": 50, "few_messages": 10, "window": 16},
    },
)
