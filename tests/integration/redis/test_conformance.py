"""The Redis producer keeps every promise of the conformance kit."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from standpipe.producers.redis import RedisProducer
from standpipe.producers.redis_config import RedisProducerConfig
from standpipe.testing.conformance import check_producer
from standpipe.testing.pytest_plugin import CheckPromise
from standpipe.testing.subject import Arrival, Subject
from tests.integration.redis.reading import entries, producer, raw
from tests.servers.server import Address

WHAT_SETTINGS_CHANGE = ("delivers", "bytes", "refusal", "errors-told-apart", "order", "cuts", "lost-answers", "frozen-peer")


class Stream(Subject[RedisProducerConfig]):
    """Reads the stream, or the lists, back."""

    def __init__(self, config: RedisProducerConfig, url: str) -> None:
        super().__init__(RedisProducer, config)
        self.url = url

    def refused(self, run: str, number: int) -> dict[str, Any] | None:
        """A message that leads to a key of another type."""
        return self.message(run, number) | {"place": "text"} if "{place}" in self.config.stream else None

    def message(self, run: str, number: int) -> dict[str, Any]:
        """With the field that the name may be made of."""
        return super().message(run, number) | {"place": "stream"}

    def read_back(self) -> list[Arrival]:
        """All that is there, as bytes."""
        name = self.config.stream.replace("{place}", "stream")
        if self.config.mode == "stream":
            return [Arrival(orjson.loads(fields[b"payload"]), fields.get(b"is_error") == b"true") for _, fields in entries(self.url, name)]
        with raw(self.url) as client:
            places = ((name, False), (f"{name}:errors", True))
            return [Arrival(orjson.loads(each), is_error) for place, is_error in places for each in client.lrange(place, 0, -1)]


def subject(server: Address, name: str, **settings: Any) -> Stream:
    """A user with a password, whether the server wants one or not, has to be kept out of the logs."""
    with raw(server.url) as client:
        client.acl_setuser(name, enabled=True, passwords=["+a-word-that-is-secret"], keys=["*"], commands=["+@all"])
        client.set(f"{name}_text", "no stream")
    url = f"redis://{name}:a-word-that-is-secret@{server.host}:{server.port}/0"
    return Stream(producer(url, f"{name}_{{place}}", **settings).config, server.url)


@pytest.fixture
def user(redis_server: Address, redis_name: str) -> Any:
    """Removed after the test."""
    yield redis_name
    with raw(redis_server.url) as client:
        client.acl_deluser(redis_name)


def test_keeps_the_promise(conformance: CheckPromise, redis_server: Address, user: str) -> None:
    conformance(subject(redis_server, user))


@pytest.mark.parametrize("promise", WHAT_SETTINGS_CHANGE)
@pytest.mark.parametrize("settings", [{"transaction": False}, {"mode": "list", "deduplicate": 60}], ids=str)
def test_keeps_the_promise_with_other_settings(redis_server: Address, user: str, promise: str, settings: dict[str, Any]) -> None:
    check_producer(subject(redis_server, user, **settings), quick=True, only=[promise]).raise_if_broken()
