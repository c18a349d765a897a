"""MQTT with QoS 1."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.cases.destination_rows import destination_rows

SIDES = {
    "standpipe": "Standpipe, memory",
    "standpipe_spool": "Standpipe, written spool",
    "raw": "paho",
    "standpipe_v311": "Standpipe, memory, MQTT 3.1.1",
    "raw_v311": "paho, MQTT 3.1.1",
    "aiomqtt_window": "aiomqtt",
}

_ROWS = destination_rows(
    SIDES,
    ("Standpipe's share of paho", "standpipe", "raw", 0.9),
    ("with MQTT 3.1.1: share of paho", "standpipe_v311", "raw_v311", 0.9),
    ("with a written spool: share of that in memory", "standpipe_spool", "standpipe", 0.7),
    ("aiomqtt: slower by", "standpipe", "aiomqtt_window", 1),
)

DESTINATION_MQTT = Case(
    name="destination_mqtt",
    title="MQTT, QoS 1, 20 messages on their way at once",
    note="From the first message to the last PUBACK, to Mosquitto, whose own limit for a client's window is 20. Every client encodes the "
    "message; with MQTT 5 it sends the message's id as a user property.",
    sides=("standpipe", "raw", "standpipe_v311", "raw_v311", "standpipe_spool"),
    rivals=("aiomqtt_window",),
    rows=_ROWS,
    sizes={
        "full": {"rounds": 5, "messages": 100_000, "few_messages": 20_000},
        "quick": {"rounds": 3, "messages": 30_000, "few_messages": 10_000},
        "smoke": {"rounds": 1, "messages": 200, "few_messages": 50},
    },
)
