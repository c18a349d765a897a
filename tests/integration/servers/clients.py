"""The smallest client for each server: put a text, get all texts back, in order. Independent of our producers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import paho.mqtt.client as mqtt
import pika
import psycopg
import redis
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from nats.aio.client import Client as NatsConnection
from paho.mqtt.enums import CallbackAPIVersion
from pika.adapters.blocking_connection import BlockingChannel

from tests.servers.certificates import Pair
from tests.servers.server import Address

PLACE = "kept"
WITHIN = 10.0
"""Seconds for anything a client does; a frozen or refusing server must not hang a test."""


class Client(Protocol):
    """What it can do."""

    def put(self, text: str) -> None:
        """Returns when the server has acknowledged it."""

    def get(self) -> list[str]:
        """Everything that was put."""


class Tls:
    """A client's side: whom it trusts, and the certificate it shows."""

    def __init__(self, ca_file: Path, pair: Pair | None = None) -> None:
        self.ca_file, self.pair = ca_file, pair

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.pair is not None:
            context.load_cert_chain(self.pair.cert_file, self.pair.key_file)
        return context


class RedisClient:
    def __init__(self, address: Address, tls: Tls | None = None) -> None:
        self._options: dict[str, Any] = {"socket_timeout": WITHIN}
        if tls is not None:
            self._options["ssl_ca_certs"] = str(tls.ca_file)
            if tls.pair is not None:
                self._options |= {"ssl_certfile": str(tls.pair.cert_file), "ssl_keyfile": str(tls.pair.key_file)}
        self._url = address.url

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        client = redis.Redis.from_url(self._url, **self._options)
        with contextlib.closing(client):
            yield client

    def put(self, text: str) -> None:
        with self._open() as client:
            client.rpush(PLACE, text)

    def get(self) -> list[str]:
        with self._open() as client:
            return [each.decode() for each in client.lrange(PLACE, 0, -1)]


class PostgresClient:
    def __init__(self, address: Address, tls: Tls | None = None) -> None:
        self._options: dict[str, Any] = {"connect_timeout": int(WITHIN)}
        if tls is not None:
            self._options |= {"sslmode": "verify-full", "sslrootcert": str(tls.ca_file)}
            if tls.pair is not None:
                self._options |= {"sslcert": str(tls.pair.cert_file), "sslkey": str(tls.pair.key_file)}
        self._url = address.url

    def put(self, text: str) -> None:
        with psycopg.connect(self._url, **self._options) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (number serial, text text)")
            connection.execute("INSERT INTO kept (text) VALUES (%s)", [text])

    def get(self) -> list[str]:
        with psycopg.connect(self._url, **self._options) as connection:
            return [text for (text,) in connection.execute("SELECT text FROM kept ORDER BY number").fetchall()]


class RabbitClient:
    def __init__(self, address: Address, tls: Tls | None = None) -> None:
        self._parameters = pika.URLParameters(address.url)
        if tls is not None:
            self._parameters.ssl_options = pika.SSLOptions(tls.context(), "localhost")
        self._parameters.socket_timeout = self._parameters.blocked_connection_timeout = WITHIN

    @contextlib.contextmanager
    def _open(self) -> Iterator[BlockingChannel]:
        connection = pika.BlockingConnection(self._parameters)
        with contextlib.closing(connection):
            channel = connection.channel()
            channel.confirm_delivery()
            channel.queue_declare(PLACE, durable=True)
            yield channel

    def put(self, text: str) -> None:
        with self._open() as channel:
            channel.basic_publish("", PLACE, text.encode(), pika.BasicProperties(delivery_mode=2), mandatory=True)

    def get(self) -> list[str]:
        found = []
        with self._open() as channel:
            while (answer := channel.basic_get(PLACE))[0] is not None:
                found.append((answer[2] or b"").decode())
        return found  # not acknowledged: they go back into the queue


class NatsClient:
    def __init__(self, address: Address, tls: Tls | None = None) -> None:
        self._url = address.url
        self._options: dict[str, Any] = {"allow_reconnect": False, "connect_timeout": WITHIN}
        if tls is not None:
            self._options |= {"tls": tls.context()}

    @contextlib.asynccontextmanager
    async def _open(self) -> Any:
        failures: list[Exception] = []

        async def note(error: Exception) -> None:
            failures.append(error)

        client = NatsConnection()
        try:
            await client.connect(self._url, error_cb=note, **self._options)
            stream = client.jetstream(timeout=WITHIN)
            await stream.add_stream(name=PLACE, subjects=[PLACE])
            yield stream
        finally:
            await client.close()

    def put(self, text: str) -> None:
        async def work() -> None:
            async with self._open() as stream:
                await stream.publish(PLACE, text.encode())

        asyncio.run(work())

    def get(self) -> list[str]:
        async def work() -> list[str]:
            async with self._open() as stream:
                last = (await stream.stream_info(PLACE)).state.last_seq
                return [(await stream.get_msg(PLACE, number)).data.decode() for number in range(1, last + 1)]

        return asyncio.run(work())


class MqttClient:
    """MQTT has no place to read from: a session that was made before keeps what comes while its client is away."""

    def __init__(self, address: Address, tls: Tls | None = None) -> None:
        self._address, self._tls = address, tls

    @contextlib.contextmanager
    def _open(self, name: str, *, keep: bool, got: list[str]) -> Iterator[mqtt.Client]:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=not keep, manual_ack=True)
        client.on_message = lambda _client, _data, message: got.append(message.payload.decode())
        if self._address.password is not None:
            client.username_pw_set(self._address.user or "", self._address.password)
        if self._tls is not None:
            client.tls_set_context(self._tls.context())
        client.connect(self._address.host, self._address.port)
        for _ in range(100):
            client.loop(0.05)
            if client.is_connected():
                break
        assert client.is_connected(), "the broker let nobody in"
        try:
            yield client
        finally:
            client.disconnect()

    def _subscribe(self, got: list[str]) -> None:
        with self._open("reader", keep=True, got=got) as client:
            done: list[int] = []
            client.on_subscribe = lambda *_: done.append(1)
            client.subscribe(PLACE, qos=1)
            for _ in range(10):
                client.loop(0.05)
            assert done, "no SUBACK"

    def put(self, text: str) -> None:
        self._subscribe([])
        with self._open("writer", keep=False, got=[]) as client:
            sent = client.publish(PLACE, text, qos=1)
            for _ in range(100):
                client.loop(0.05)
                if sent.is_published():
                    return
        raise AssertionError("no PUBACK")

    def get(self) -> list[str]:
        got: list[str] = []
        self._subscribe(got)
        return list(dict.fromkeys(got))  # not acknowledged: sent again to the next reader


class KafkaClient:
    def __init__(self, address: Address, tls: Tls | None = None) -> None:
        self._options: dict[str, Any] = {"bootstrap.servers": address.url, "log_level": 0}
        if tls is not None:
            self._options |= {"security.protocol": "ssl", "ssl.ca.location": str(tls.ca_file)}
            if tls.pair is not None:
                self._options |= {"ssl.certificate.location": str(tls.pair.cert_file), "ssl.key.location": str(tls.pair.key_file)}

    def put(self, text: str) -> None:
        failures: list[object] = []
        producer = Producer({**self._options, "message.timeout.ms": WITHIN * 1000, "enable.idempotence": True})
        producer.produce(PLACE, text.encode(), partition=0, on_delivery=lambda error, _: failures.append(error))
        producer.flush(WITHIN)
        assert failures == [None]

    def get(self) -> list[str]:
        consumer = Consumer({**self._options, "group.id": "reader", "enable.auto.commit": False})
        with contextlib.closing(consumer):
            place = TopicPartition(PLACE, 0, 0)
            _, end = consumer.get_watermark_offsets(TopicPartition(PLACE, 0), timeout=WITHIN)
            consumer.assign([place])
            found: list[Message] = []
            while len(found) < end and (message := consumer.poll(WITHIN)) is not None:
                found.append(message)
            return [(message.value() or b"").decode() for message in found]


CLIENTS: dict[str, Callable[..., Client]] = {
    "redis": RedisClient,
    "postgres": PostgresClient,
    "rabbitmq": RabbitClient,
    "nats": NatsClient,
    "mqtt": MqttClient,
    "kafka": KafkaClient,
}
