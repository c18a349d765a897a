"""The RabbitMQ producer keeps every promise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from standpipe.producers.rabbitmq import RabbitmqProducer
from standpipe.producers.rabbitmq_config import RabbitmqProducerConfig
from standpipe.testing import Arrival, Subject
from standpipe.testing.pytest_plugin import CheckPromise
from tests.integration.rabbitmq.broker import channel_to, read
from tests.servers.server import Address


class RabbitmqSubject(Subject[RabbitmqProducerConfig]):
    """Reads back with another client; the kit asks again and again, so that what was read is remembered."""

    def __init__(self, config: RabbitmqProducerConfig, url: str) -> None:
        super().__init__(RabbitmqProducer, config)
        self._url = url
        self._arrived: list[tuple[Any, Any, bytes]] = []

    def read_back(self) -> Iterator[Arrival]:
        self._arrived += read(self._url, self.config.routing_key)
        for _, properties, body in self._arrived:
            yield Arrival(orjson.loads(body), (properties.headers or {}).get("is_error") == "true")


@pytest.fixture
def subject(rabbitmq_server: Address, rabbitmq_name: str) -> RabbitmqSubject:
    with channel_to(rabbitmq_server.url) as channel:
        channel.queue_declare(rabbitmq_name, durable=True, arguments={"x-queue-type": "quorum"})
    config = {"name": "checked", "url": rabbitmq_server.url, "routing_key": rabbitmq_name, "declare": {"queues": [{"name": rabbitmq_name}]}}
    return RabbitmqSubject(RabbitmqProducerConfig.model_validate(config), rabbitmq_server.url)


def test_keeps_the_promise(conformance: CheckPromise, subject: RabbitmqSubject) -> None:
    conformance(subject)
