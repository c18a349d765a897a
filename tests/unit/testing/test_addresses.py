"""Where a configuration says that its service is, in the forms that people write."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import SecretStr

from standpipe.producers.addresses import HostPort, HostsOf, Url, UrlOf
from standpipe.producers.base import BaseProducerConfig
from standpipe.testing.addresses import address_of, redirected


class Host(BaseProducerConfig):
    host: str = "db.example.com"
    port: int = 5432


class Text(BaseProducerConfig):
    url: str


class Secret(BaseProducerConfig):
    dsn: SecretStr


class Servers(BaseProducerConfig):
    bootstrap_servers: str | list[str]


class OurUrl(BaseProducerConfig):
    url: Annotated[Url, UrlOf(("redis",), {"redis": 6379})]


class OurServers(BaseProducerConfig):
    servers: Annotated[tuple[HostPort, ...], HostsOf(9092)]


CASES: list[tuple[type[BaseProducerConfig], dict[str, Any], tuple[str, int], Any]] = [
    (Host, {}, ("db.example.com", 5432), {"host": "127.0.0.1", "port": 7}),
    (Host, {"host": "localhost"}, ("localhost", 5432), {"host": "localhost", "port": 7}),
    (Text, {"url": "https://h.example.com/in?a=b"}, ("h.example.com", 443), {"url": "https://127.0.0.1:7/in?a=b"}),
    (Text, {"url": "amqp://u:p%40@[::1]:5673/v"}, ("::1", 5673), {"url": "amqp://u:p%40@127.0.0.1:7/v"}),
    (
        Secret,
        {"dsn": "postgresql://u:p@db/x"},
        ("db", 5432),
        {"dsn": SecretStr("postgresql://u:p@127.0.0.1:7/x")},
    ),
    (Servers, {"bootstrap_servers": "a:9092,b:9093"}, ("a", 9092), {"bootstrap_servers": "127.0.0.1:7"}),
    (Servers, {"bootstrap_servers": ["a:9092", "b:9093"]}, ("a", 9092), {"bootstrap_servers": ["127.0.0.1:7"]}),
    (OurServers, {"servers": "a,b:9093"}, ("a", 9092), {"servers": (HostPort("127.0.0.1", 7),)}),
]


@pytest.mark.parametrize(("model", "settings", "address", "changed"), CASES)
def test_an_address_is_found_and_replaced(
    model: type[BaseProducerConfig], settings: dict[str, Any], address: tuple[str, int], changed: dict[str, Any]
) -> None:
    config = model.model_validate({"type": "x", "name": "x", **settings})
    assert address_of(config) == address
    moved = redirected(config, 7)
    assert {name: getattr(moved, name) for name in changed} == changed
    assert address_of(moved) == (changed.get("host", "127.0.0.1"), 7)


def test_a_url_of_ours_keeps_its_user_and_path() -> None:
    config = OurUrl.model_validate({"type": "x", "name": "x", "url": "redis://u:p@cache/3"})
    assert address_of(config) == ("cache", 6379)
    moved = redirected(config, 7)
    assert isinstance(moved, OurUrl)
    assert (moved.url.text, moved.url.host, moved.url.port) == ("redis://127.0.0.1:7/3", "127.0.0.1", 7)
    assert (moved.url.user, moved.url.password) == ("u", SecretStr("p"))


def test_without_an_address_there_is_none() -> None:
    config = Text(type="x", name="x", url="a file or so")
    assert address_of(config) is None
    with pytest.raises(ValueError, match="the configuration has no address"):
        redirected(config, 7)
