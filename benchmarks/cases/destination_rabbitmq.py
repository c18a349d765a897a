"""Messages published to a queue of RabbitMQ, confirmed by it."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.cases.destination_rows import destination_rows

SIDES = {
    "standpipe": "Standpipe, memory",
    "standpipe_spool": "Standpipe, written spool",
    "pika_select": "pika SelectConnection",
    "aio_pika_window": "aio-pika",
    "kombu_confirms": "kombu with confirms",
    "faststream_rabbit": "FastStream",
}

_ROWS = destination_rows(
    SIDES,
    ("Standpipe's share of pika", "standpipe", "pika_select", 0.9),
    ("with a written spool: share of that in memory", "standpipe_spool", "standpipe", 0.7),
    ("aio-pika: slower by", "standpipe", "aio_pika_window", 1),
    ("kombu with confirms: slower by", "standpipe", "kombu_confirms", 1),
    ("FastStream: slower by", "standpipe", "faststream_rabbit", 1),
)

DESTINATION_RABBITMQ = Case(
    name="destination_rabbitmq",
    title="RabbitMQ, every message confirmed",
    note="From the first message to the last confirm, to a quorum queue of the broker at the default address, which shares the machine; at "
    "most 2,000 messages published and not confirmed. Persistent, mandatory, with a message id; every client encodes the message. "
    "The slower clients send fewer messages.",
    sides=("standpipe", "pika_select", "standpipe_spool"),
    rivals=("aio_pika_window", "kombu_confirms", "faststream_rabbit"),
    rows=_ROWS,
    sizes={
        "full": {"rounds": 5, "messages": 60_000, "few_messages": 10_000, "window": 2000},
        "quick": {"rounds": 3, "messages": 20_000, "few_messages": 3000, "window": 2000},
        "smoke": {"rounds": 1, "messages": 50, "few_messages": 10, "window": 16},
    },
)
