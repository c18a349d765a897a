"""The MQTT producer keeps every promise of the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from standpipe.producers.mqtt import MqttProducer
from standpipe.producers.mqtt_config import MqttProducerConfig
from standpipe.testing.conformance import check_producer
from standpipe.testing.pytest_plugin import CheckPromise
from standpipe.testing.subject import Arrival, Subject
from tests.integration.mqtt.broker import Reader, config, headers_of
from tests.servers.server import Address

WHAT_CHANGES_WITHOUT_HEADERS = ("delivers", "errors-told-apart", "cuts", "lost-answers")


class Topic(Subject[MqttProducerConfig]):
    """Reads the topic back: whatever was published since the check began."""

    def __init__(self, given: MqttProducerConfig, server: Address) -> None:
        super().__init__(MqttProducer, given)
        self._server = server

    @contextmanager
    def session(self) -> Iterator[None]:
        """A subscriber before the first message."""
        self._reader = Reader(self._server, self.config.topic)
        yield

    def refused(self, run: str, number: int) -> dict[str, Any]:
        """A message that is larger than it may be."""
        return self.message(run, number) | {"long": "x" * self.config.max_packet_bytes}

    def read_back(self) -> list[Arrival]:
        """The broker's order."""
        return [self._arrival(message) for message in self._reader.read()]

    def _arrival(self, message: Any) -> Arrival:
        content = orjson.loads(message.payload)
        if self.config.is_v5:
            return Arrival(content, headers_of(message).get("is_error") == "true")
        return Arrival(content, content.pop("is_error"))


def test_keeps_the_promise(conformance: CheckPromise, mqtt_server: Address, mqtt_name: str) -> None:
    given = {"user": "user", "password": "a-word-that-is-secret", "max_packet_bytes": "1MiB"}  # whoever has a name is let in
    conformance(Topic(config(mqtt_server.url, mqtt_name, **given), mqtt_server))


@pytest.mark.parametrize("promise", WHAT_CHANGES_WITHOUT_HEADERS)
def test_keeps_the_promise_with_the_older_protocol_and_qos_2(mqtt_server: Address, mqtt_name: str, promise: str) -> None:
    subject = Topic(config(mqtt_server.url, mqtt_name, protocol="3.1.1", qos=2, max_packet_bytes="1MiB"), mqtt_server)
    check_producer(subject, quick=True, only=[promise]).raise_if_broken()
