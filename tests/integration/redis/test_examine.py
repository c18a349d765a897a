"""`standpipe doctor` says what of a Redis server would lose messages, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from standpipe.core.errors import SendError
from standpipe.core.finding import Severity
from tests.integration.redis.reading import producer, raw
from tests.servers.redis import RedisServer
from tests.servers.server import free_port

MakeServer = Callable[..., RedisServer]
CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def findings(url: str, stream: str = "orders", **settings: Any) -> dict[str, Severity]:
    found = producer(url, stream, **settings).examine()
    assert all(each.what and each.consequence for each in found)
    assert all(each.remedy for each in found if each.severity is not INFO)
    return {each.what: each.severity for each in found}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"persistence": "always"}, {"appendonly is yes, and appendfsync is always": INFO}),
        ({"persistence": "everysec"}, {"appendfsync is everysec": WARNING}),
        ({"persistence": "none"}, {"appendonly is no, and save is empty": CRITICAL}),
        ({"persistence": "none", "settings": {"save": "3600 1"}}, {"appendonly is no, and save is 3600 1": CRITICAL}),
        ({"max_memory": 2**24}, {"maxmemory-policy is noeviction": INFO}),
        ({"max_memory": 2**24, "settings": {"maxmemory-policy": "allkeys-lru"}}, {"maxmemory-policy is allkeys-lru": CRITICAL}),
    ],
    ids=str,
)
def test_settings_of_the_server(own_server: MakeServer, options: dict[str, Any], expected: dict[str, Severity]) -> None:
    server = own_server(RedisServer, **options)
    found = findings(server.url)
    assert expected.items() <= found.items()
    with raw(server.url) as client:
        assert client.dbsize() == 0, "it has left something behind"


def test_replicas_and_types(own_server: MakeServer) -> None:
    primary, replica = own_server(RedisServer), own_server(RedisServer)
    with raw(primary.url) as client, raw(replica.url) as second:
        second.replicaof(primary.host, primary.port)
        client.rpush("orders", "a list")
        found = findings(primary.url, wait={"replicas": 2})
        assert found["'orders' is a list"] is CRITICAL
        assert any("wait asks for 2 replicas" in what for what in found)
        assert findings(replica.url)["the server is a replica"] is CRITICAL
    assert findings(primary.url, "new", create=False)["there is no stream 'new', and create is false"] is CRITICAL


def test_our_own_settings(own_server: MakeServer) -> None:
    server = own_server(RedisServer)
    assert findings(server.url, mode="pubsub")["mode is pubsub"] is CRITICAL
    assert findings(server.url, max_length=1000)["max_length is 1000"] is WARNING
    assert findings(server.url, deduplicate=60).keys().isdisjoint(["deduplicate is not set"])


def test_what_must_not_be_read_is_said(own_server: MakeServer) -> None:
    server = own_server(RedisServer)
    with raw(server.url) as client:
        client.execute_command("ACL", "SETUSER", "writer", "on", ">secret", "~*", "+xadd", "+multi", "+exec")
        client.execute_command("ACL", "SETUSER", "looker", "on", ">secret", "~*", "+xadd", "+multi", "+exec", "+info")
    blind = findings(f"redis://writer:secret@{server.host}:{server.port}")
    assert any("could not be checked: appendonly, appendfsync" in what for what in blind)
    half = findings(f"redis://looker:secret@{server.host}:{server.port}")
    assert any("could not be checked: appendfsync, save, min-replicas" in what for what in half)


def test_server_that_does_not_let_us_in_is_named(own_server: MakeServer) -> None:
    server = own_server(RedisServer, password="right-one")
    with pytest.raises(SendError, match="correct user and password"):
        findings(f"redis://{server.host}:{server.port}")


def test_server_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(SendError, match="check host and port in url"):
        findings(f"redis://127.0.0.1:{free_port()}")
