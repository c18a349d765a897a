"""The story of trouble, told with a small producer for Redis lists: an honest one passes, and one that lies is found out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.config import AnyQueueConfig
from tests.servers.oracle import Found, Oracle
from tests.servers.redis import RedisServer
from tests.servers.scenario import QUICK, deliver_through_trouble


class ListConfig(BaseProducerConfig):
    url: str
    list: str


class ListProducer(BaseProducer):
    """Appends each message to a list."""

    config_model = ListConfig
    config: ListConfig

    def _connect(self) -> None:
        options: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 0.5}
        self._client = redis.Redis.from_url(self.config.url, **options)
        self._client.ping()

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self._client.rpush(self.config.list, orjson.dumps([message, is_error]))

    def _close(self) -> None:
        if (client := self.__dict__.pop("_client", None)) is not None:
            client.close()


class LyingProducer(ListProducer):
    """Takes a broken connection for a success."""

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        with contextlib.suppress(redis.RedisError):
            super()._send(is_error, message)


def kill(server: RedisServer) -> None:
    server.kill()
    server.start()


def hang(server: RedisServer) -> None:
    server.freeze()
    longer_than_the_client_waits = 1.0
    threading.Event().wait(longer_than_the_client_waits)
    server.thaw()


@pytest.fixture
def run(own_redis: RedisServer, unique_name: str, tmp_path: Path) -> Callable[..., Oracle]:
    """Tell the story once."""

    def tell(kind: type[ListProducer], trouble: Callable[[RedisServer], None], **options: Any) -> Oracle:
        def make(queue: AnyQueueConfig) -> BaseProducer:
            return kind(ListConfig(type="list", name="list", url=own_redis.url, list=unique_name, queue=queue, **QUICK))

        def read_back() -> Iterator[Found]:
            with contextlib.closing(redis.Redis.from_url(own_redis.url)) as client:
                for each in client.lrange(unique_name, 0, -1):
                    message, is_error = orjson.loads(each)
                    yield Found(message["id"], orjson.dumps(message), message["key"], is_error)

        return deliver_through_trouble(make, lambda: trouble(own_redis), read_back, folder=tmp_path, **options)

    return tell


@pytest.mark.parametrize("queue", ["memory", "spool"])
@pytest.mark.parametrize("trouble", [kill, RedisServer.restart, hang])
def test_nothing_is_lost(run: Callable[..., Oracle], trouble: Callable[[RedisServer], None], queue: Literal["memory", "spool"]) -> None:
    oracle = run(ListProducer, trouble, queue=queue)
    assert (len(oracle.attempts), len({attempt.key for attempt in oracle.attempts})) == (300, 8)
    assert sum(attempt.is_error for attempt in oracle.attempts) == 30
    oracle.check(duplicates=3)  # one message at a time is on its way, and the freeze may outlast two attempts


def test_a_successor_delivers_what_the_spool_kept(run: Callable[..., Oracle]) -> None:
    oracle = run(ListProducer, hang, queue="spool", successor=True)
    assert any(attempt.receipt.state.value == "stored" for attempt in oracle.attempts), "the first producer had nothing left"
    oracle.check(duplicates=4)


def test_a_producer_that_lies_is_found_out(run: Callable[..., Oracle]) -> None:
    def down_for_a_moment(server: RedisServer) -> None:
        server.kill()
        threading.Event().wait(0.2)
        server.start()

    oracle = run(LyingProducer, down_for_a_moment)
    with pytest.raises(AssertionError, match="acknowledged but not found"):
        oracle.check(duplicates=3)
