"""Removes what a test left on a server that others use too: everything whose name begins with the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import nats
import pika
import psycopg
import redis
from confluent_kafka.admin import AdminClient
from nats.js.errors import Error as JetStreamError
from psycopg import sql

from tests.servers.server import Address

ERRORS = ".errors"
"""RabbitMQ cannot list by prefix: a test's queues and exchanges are called NAME or NAME.errors."""


def _redis(address: Address, name: str) -> None:
    client = redis.Redis.from_url(address.url)
    with contextlib.closing(client):
        for key in client.scan_iter(match=f"{name}*", count=1000):
            client.delete(key)


def _postgres(address: Address, name: str) -> None:
    with psycopg.connect(address.url, autocommit=True) as connection:
        found = connection.execute("SELECT schemaname, tablename FROM pg_tables WHERE starts_with(tablename, %s)", [name]).fetchall()
        for table in found:
            connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(sql.Identifier(*table)))


def _rabbitmq(address: Address, name: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(address.url))
    with contextlib.closing(connection):
        channel = connection.channel()
        for each in (name, name + ERRORS):
            channel.queue_delete(each)
            channel.exchange_delete(each)


def _nats(address: Address, name: str) -> None:
    async def remove() -> None:
        client = await nats.connect(address.url, allow_reconnect=False)
        try:
            stream = client.jetstream()
            for each in await stream.streams_info():
                if (each.config.name or "").startswith(name):
                    with contextlib.suppress(JetStreamError):
                        await stream.delete_stream(each.config.name or "")
        finally:
            await client.close()

    asyncio.run(remove())


def _kafka(address: Address, name: str) -> None:
    client = AdminClient({"bootstrap.servers": address.url})
    found = [topic for topic in client.list_topics(timeout=10).topics if topic.startswith(name)]
    for future in client.delete_topics(found).values() if found else ():
        future.result(timeout=10)


def _mqtt(address: Address, name: str) -> None:
    """Only retained messages and sessions stay; a test that makes such uses a server of its own."""


CLEANERS: dict[str, Callable[[Address, str], None]] = {
    "redis": _redis,
    "postgres": _postgres,
    "rabbitmq": _rabbitmq,
    "nats": _nats,
    "kafka": _kafka,
    "mqtt": _mqtt,
}
