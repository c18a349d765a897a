"""The servers that `scripts/services` provides, each at its default address: which of them answer and let tests in."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import pika
import psycopg
from pika.exceptions import AMQPError

from tests.servers.kafka import TansuServer
from tests.servers.mosquitto import HELLO, MosquittoServer
from tests.servers.nats import NatsServer
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.servers.server import HOST, Address, Server, accepts, answers

ServerKind = TypeVar("ServerKind", bound=Server)

KINDS: dict[str, type[Server]] = {
    kind.service: kind for kind in (PostgresServer, RedisServer, RabbitServer, MosquittoServer, NatsServer, TansuServer)
}

DEFAULTS = {
    "postgres": Address(HOST, 5432, f"postgresql://standpipe:standpipe@{HOST}:5432/standpipe", "standpipe", "standpipe"),
    "redis": Address(HOST, 6379, f"redis://{HOST}:6379/0"),
    "rabbitmq": Address(HOST, 5672, f"amqp://guest:guest@{HOST}:5672/", "guest", "guest"),
    "mqtt": Address(HOST, 1883, f"mqtt://{HOST}:1883"),
    "nats": Address(HOST, 4222, f"nats://{HOST}:4222"),
    "kafka": Address(HOST, 9092, f"{HOST}:9092"),
}
"""Where servers are looked for, and as whom; the same stands in compose.yaml and scripts/services."""


def answering(service: str) -> Address | None:
    """The server at the default address, if it answers and lets us in."""
    address = DEFAULTS[service]
    return address if CHECKS[service](address) else None


def must_be_there() -> bool:
    """In continuous integration a missing server is a failure; elsewhere its tests are skipped, and say so."""
    return bool(os.environ.get("CI"))


def _postgres(address: Address) -> bool:
    try:
        psycopg.connect(address.url, connect_timeout=2).close()
    except psycopg.Error:
        return False
    return True


def _rabbitmq(address: Address) -> bool:
    if not accepts(address.port):
        return False
    try:
        pika.BlockingConnection(pika.URLParameters(address.url)).close()
    except (AMQPError, OSError):
        return False
    return True


def _mqtt(address: Address) -> bool:
    accepted = b"\x20\x02\x00\x00"
    return answers(address.port, HELLO) == accepted


def _nats(address: Address) -> bool:
    said = answers(address.port)
    return b'"jetstream":true' in said and b'"auth_required":true' not in said


CHECKS: dict[str, Callable[[Address], bool]] = {
    "postgres": _postgres,
    "redis": lambda address: answers(address.port, b"PING\r\n").startswith(b"+PONG"),
    "rabbitmq": _rabbitmq,
    "mqtt": _mqtt,
    "nats": _nats,
    "kafka": lambda address: accepts(address.port),
}
