"""The Kafka producer keeps the promises of the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson

from standpipe.producers.addresses import HostPort
from standpipe.producers.kafka import KafkaProducer
from standpipe.producers.kafka_config import KafkaProducerConfig
from standpipe.testing.conformance import check_producer
from standpipe.testing.pytest_plugin import CheckPromise
from standpipe.testing.subject import Arrival, Subject
from tests.integration.conftest import MakeServer
from tests.integration.kafka import reading
from tests.servers.kafka import TansuServer
from tests.servers.kafka_logins import Logins
from tests.servers.server import HOST, Address

WHAT_TRANSACTIONS_CHANGE = ("delivers", "oversize", "errors-told-apart", "order", "shutdown-delivers")


class Topic(Subject[KafkaProducerConfig]):
    """Reads the topic back. Clients go on to the address that a broker says is its own: so behind each proxy there is a broker of its
    own, which says that it is where the proxy is. It is started when the proxy is there."""

    def __init__(self, config: KafkaProducerConfig, folder: Path) -> None:
        super().__init__(KafkaProducer, config)
        self._folder = folder

    @contextmanager
    def session(self) -> Iterator[None]:
        """The brokers end with the check."""
        with ExitStack() as stack:
            self._brokers: list[TansuServer] = []
            self._next = TansuServer(self._folder)
            self._running = stack
            yield

    def address(self) -> tuple[str, int] | None:
        """Where the broker behind the next proxy will be."""
        return HOST, self._next.port

    def through(self, port: int) -> KafkaProducerConfig:
        """Start the broker that is to be behind the proxy at `port`."""
        self._next.advertised = port
        self._brokers.append(self._running.enter_context(self._next))
        self._next = TansuServer(self._folder)
        return self.config.model_copy(update={"servers": (HostPort(HOST, port),)})

    def refused(self, run: str, number: int) -> dict[str, Any]:
        """A message larger than `max_message_bytes`."""
        return self.with_payload(self.message(run, number), "x" * 1_500_000)

    def read_back(self) -> list[Arrival]:
        """All partitions, one after the other; of the brokers of this check, or else of the one that is configured."""
        servers = [broker.url for broker in self._brokers] or [",".join(map(str, self.config.servers))]
        found = [message for each in servers for message in reading.messages(each, self.config.topic)]
        return [Arrival(orjson.loads(message.value() or b""), reading.headers(message).get("is_error") == "true") for message in found]


def test_keeps_the_promise(conformance: CheckPromise, kafka_server: Address, kafka_name: str, tmp_path: Path) -> None:
    conformance(Topic(reading.config(kafka_server.url, kafka_name), tmp_path))


def test_keeps_with_transactions_what_they_change(kafka_server: Address, kafka_name: str, tmp_path: Path) -> None:
    config = reading.config(kafka_server.url, kafka_name, transactional_id=kafka_name)
    check_producer(Topic(config, tmp_path), only=WHAT_TRANSACTIONS_CHANGE, quick=True).raise_if_broken()


def test_keeps_the_password_to_itself(own_server: MakeServer, unique_name: str, tmp_path: Path) -> None:
    server = own_server(TansuServer, logins=Logins({"ann": "hush-hush"}))
    config = reading.config(server.url, unique_name, auth={"type": "plain", "user": "ann", "password": "hush-hush"})
    report = check_producer(Topic(config, tmp_path), only=["secrets"])
    assert report.counts()["kept"] == 1, str(report)
