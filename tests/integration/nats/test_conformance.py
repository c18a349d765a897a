"""The NATS producer keeps every promise of the conformance kit."""

from __future__ import annotations

from typing import Any

import orjson

from standpipe.producers.nats import NatsProducer
from standpipe.producers.nats_config import NatsProducerConfig
from standpipe.testing.conformance import check_producer
from standpipe.testing.pytest_plugin import CheckPromise
from standpipe.testing.subject import Arrival, Subject
from tests.integration.nats.streams import make_stream, read
from tests.servers.server import Address

REFUSED_ABOVE = 200_000
WHAT_CORE_CHANGES = ("delivers", "bytes", "oversize", "order", "shutdown-delivers")


class Stream(Subject[NatsProducerConfig]):
    """Reads the stream back; it takes no large messages."""

    def __init__(self, server: Address, name: str, **settings: Any) -> None:
        login = {"user": "jane", "password": "a-word-that-is-secret"}  # the server wants none, and ignores it
        given = {"name": name, "url": server.url, "subject": name, **login, **settings}
        super().__init__(NatsProducer, NatsProducerConfig.model_validate(given))
        self._url, self._name = server.url, name
        make_stream(server.url, name, max_msg_size=REFUSED_ABOVE)

    def refused(self, run: str, number: int) -> dict[str, Any]:
        """A message that is too large for the stream, but not for the server."""
        return self.with_payload(self.message(run, number), "x" * REFUSED_ABOVE)

    def read_back(self) -> list[Arrival]:
        """In the order of the stream."""
        return [Arrival(orjson.loads(each.data), each.headers.get("is_error") == "true") for each in read(self._url, self._name)]


def test_keeps_the_promise(conformance: CheckPromise, nats_server: Address, nats_name: str) -> None:
    conformance(Stream(nats_server, nats_name))


def test_keeps_in_core_mode_what_it_changes(nats_server: Address, nats_name: str) -> None:
    subject = Stream(nats_server, nats_name, mode="core")
    subject.at_most_once = True
    check_producer(subject, only=WHAT_CORE_CHANGES, quick=True).raise_if_broken()
