"""Messages to a Kafka topic."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.cases.destination_rows import destination_rows

SIDES = {
    "raw": "Producer.produce",
    "standpipe_many": "Standpipe, produce_many",
    "standpipe_spool_many": "Standpipe, produce_many, written spool",
    "standpipe": "Standpipe, produce",
    "standpipe_spool": "Standpipe, produce, written spool",
    "aiokafka_window": "aiokafka",
    "faststream_confluent": "FastStream",
}

_ROWS = destination_rows(
    SIDES,
    ("Standpipe's share of Producer.produce", "standpipe_many", "raw", 0.8),
    ("Standpipe's share, messages one by one", "standpipe", "raw", None),
    ("with a written spool: share of that in memory", "standpipe_spool_many", "standpipe_many", 0.7),
    ("with a written spool: share of that in memory, messages one by one", "standpipe_spool", "standpipe", None),
    ("aiokafka: slower by", "standpipe", "aiokafka_window", 1),
    ("FastStream: slower by", "standpipe", "faststream_confluent", 1),
)

DESTINATION_KAFKA = Case(
    name="destination_kafka",
    title="Kafka, idempotent, with a callback for each message",
    note="From the first message to the last confirmation, to a broker (Tansu, in memory) in a process of its own, 10,000 messages on "
    "their way at once. Every client encodes the message, sends its id as a header, and is told of each message that it arrived.",
    prepare="broker",
    sides=("standpipe_many", "raw", "standpipe", "standpipe_spool_many", "standpipe_spool"),
    rivals=("aiokafka_window", "faststream_confluent"),
    rows=_ROWS,
    sizes={
        "full": {"rounds": 5, "messages": 200_000, "few_messages": 10_000},
        "quick": {"rounds": 3, "messages": 50_000, "few_messages": 3000},
        "smoke": {"rounds": 1, "messages": 2000, "few_messages": 50},
    },
)
