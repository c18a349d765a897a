"""The shared servers answer, and what a test made there under its own name is gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import nats
import pika
import psycopg
import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.servers.addresses import CHECKS, KINDS
from tests.servers.cleaning import CLEANERS
from tests.servers.server import Address


@pytest.mark.parametrize("name", KINDS)
def test_shared_server_answers(name: str, service: Callable[[str], Address]) -> None:
    assert CHECKS[name](service(name))


def test_redis_keys_are_removed(redis_server: Address, unique_name: str) -> None:
    with contextlib.closing(redis.Redis.from_url(redis_server.url)) as client:
        client.set(f"{unique_name}:a", "1")
        client.xadd(unique_name, {"a": "1"})
        CLEANERS["redis"](redis_server, unique_name)
        assert list(client.scan_iter(match=f"{unique_name}*")) == []


def test_postgres_tables_are_removed(postgres_server: Address, unique_name: str) -> None:
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {unique_name}_a (a int)")
        CLEANERS["postgres"](postgres_server, unique_name)
        found = connection.execute("SELECT 1 FROM pg_tables WHERE starts_with(tablename, %s)", [unique_name])
        assert found.fetchall() == []


@pytest.fixture
def channel(rabbitmq_server: Address) -> Iterator[Any]:
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(rabbitmq_server.url))) as connection:
        yield connection.channel()


def test_rabbitmq_queues_are_removed(channel: Any, rabbitmq_server: Address, unique_name: str) -> None:
    channel.queue_declare(unique_name, durable=True)
    channel.exchange_declare(f"{unique_name}.errors")
    CLEANERS["rabbitmq"](rabbitmq_server, unique_name)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
        channel.queue_declare(unique_name, passive=True)


async def _nats_streams(address: Address, add: str | None = None) -> list[str | None]:
    client = await nats.connect(address.url, allow_reconnect=False)
    try:
        stream = client.jetstream()
        if add is not None:
            await stream.add_stream(name=add, subjects=[add])
        return [each.config.name for each in await stream.streams_info()]
    finally:
        await client.close()


def test_nats_streams_are_removed(nats_server: Address, unique_name: str) -> None:
    assert f"{unique_name}_a" in asyncio.run(_nats_streams(nats_server, f"{unique_name}_a"))
    CLEANERS["nats"](nats_server, unique_name)
    assert f"{unique_name}_a" not in asyncio.run(_nats_streams(nats_server))


def test_kafka_topics_are_removed(kafka_server: Address, unique_name: str) -> None:
    producer = Producer({"bootstrap.servers": kafka_server.url})
    producer.produce(unique_name, b"1")
    producer.flush(10)
    client = AdminClient({"bootstrap.servers": kafka_server.url})
    assert unique_name in client.list_topics(timeout=10).topics
    CLEANERS["kafka"](kafka_server, unique_name)
    assert unique_name not in client.list_topics(timeout=10).topics
