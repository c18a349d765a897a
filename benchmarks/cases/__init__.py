"""The cases, in the order in which they run: what is compared, how much of it, and what is to be reached."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.cases.destination_http import DESTINATION_HTTP
from benchmarks.cases.destination_kafka import DESTINATION_KAFKA
from benchmarks.cases.destination_mqtt import DESTINATION_MQTT
from benchmarks.cases.destination_nats import DESTINATION_NATS
from benchmarks.cases.destination_postgres import DESTINATION_POSTGRES
from benchmarks.cases.destination_rabbitmq import DESTINATION_RABBITMQ
from benchmarks.cases.destination_redis import DESTINATION_REDIS
from benchmarks.cases.engine import ENGINE
from benchmarks.cases.help import HELP
from benchmarks.cases.latency import LATENCY
from benchmarks.cases.logjob import LOGJOB
from benchmarks.cases.losses import LOSSES
from benchmarks.cases.memory import MEMORY
from benchmarks.cases.outage import OUTAGE
from benchmarks.cases.produce import PRODUCE
from benchmarks.cases.produce_many import PRODUCE_MANY
from benchmarks.cases.queues import QUEUES
from benchmarks.cases.spool_backlog import SPOOL_BACKLOG
from benchmarks.cases.spool_logjob import SPOOL_LOGJOB
from benchmarks.cases.spool_many import SPOOL_MANY
from benchmarks.cases.spool_produce import SPOOL_PRODUCE
from benchmarks.cases.spool_threads import SPOOL_THREADS

_IN_MEMORY = (PRODUCE, PRODUCE_MANY, ENGINE, MEMORY, LOGJOB, HELP, LATENCY)
_ON_DISK = (SPOOL_PRODUCE, SPOOL_MANY, SPOOL_THREADS, SPOOL_LOGJOB, SPOOL_BACKLOG, QUEUES, LOSSES)
_NETWORK = (
    DESTINATION_HTTP,
    DESTINATION_KAFKA,
    DESTINATION_MQTT,
    DESTINATION_NATS,
    DESTINATION_POSTGRES,
    DESTINATION_RABBITMQ,
    DESTINATION_REDIS,
    OUTAGE,
)

CASES: dict[str, Case] = {case.name: case for case in (*_IN_MEMORY, *_ON_DISK, *_NETWORK)}
"""Every case by name."""
