"""Where services are: what people write is understood, and a password is never shown."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, TypeAdapter, ValidationError

from standpipe.producers.addresses import HostPort, HostsOf, Url, UrlOf
from standpipe.producers.config import BaseProducerConfig, secrets_in

AMQP = UrlOf(("amqp", "amqps"), {"amqp": 5672, "amqps": 5671})


class Config(BaseProducerConfig):
    url: Annotated[Url, AMQP] | None = None
    servers: Annotated[tuple[HostPort, ...], HostsOf(9092)] = Field(default=HostsOf(9092).parse("localhost"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("amqp://h", Url("amqp://h", "amqp", "h", 5672, "", "", None, None)),
        ("amqps://h:1/v", Url("amqps://h:1/v", "amqps", "h", 1, "/v", "", None, None)),
        ("amqp://u:p@h/%2F?a=b#c", Url("amqp://h/%2F?a=b", "amqp", "h", 5672, "/%2F", "a=b", "u", SecretStr("p"))),
        ("amqp://u%40x:p%2F%40%3A@h", Url("amqp://h", "amqp", "h", 5672, "", "", "u@x", SecretStr("p/@:"))),
        ("amqp://u@h", Url("amqp://h", "amqp", "h", 5672, "", "", "u", None)),
        ("amqp://[::1]:7/v", Url("amqp://[::1]:7/v", "amqp", "::1", 7, "/v", "", None, None)),
    ],
)
def test_user_and_password_are_taken_out_of_a_url(text: str, wanted: Url) -> None:
    assert AMQP.parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("h:5672", "must begin with amqp:// or amqps://"),
        ("http://h", "must begin with amqp://"),
        ("amqp://", "names no host; write for example amqp://host:5672"),
        ("amqp://h:port", "the port is no number up to 65535"),
        ("amqp://h:99999", "the port is no number up to 65535"),
        ("amqp://h o/st", "this is not a URL"),
        ("amqp://h\r\n", "this is not a URL"),
        ("amqp://u:hunter2/x@h", "in a password '/' is written as %2F"),
        (5, "this is not a URL"),
    ],
)
def test_what_is_no_url_is_refused_with_the_remedy_and_without_the_password(text: object, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        AMQP.parse(text)
    assert "hunter" not in str(caught.value)


@given(st.text(max_size=12))
def test_no_password_is_ever_shown_in_an_error_or_as_text(password: str) -> None:
    text = f"amqp://user:hunter2{password}hunter2@host"
    assert "hunter2" not in _shown(text)


def _shown(text: str) -> str:
    """All that people can get to see of a URL, or of the error about it."""
    try:
        found = AMQP.parse(text)
    except ValueError as error:
        return str(error)
    return f"{found} {found!r}"


def test_credentials_can_be_forbidden_where_there_are_settings_for_them() -> None:
    with pytest.raises(ValueError, match="must not hold a user or password; there are settings for them") as caught:
        UrlOf(("http",), credentials=False).parse("http://u:hunter2@h")
    assert "hunter2" not in str(caught.value)


def test_a_password_in_a_url_is_a_secret_of_the_configuration() -> None:
    config = Config(type="x", name="p", url="amqp://u:p%40ss@h/?token=t0ken")
    assert list(secrets_in(config)) == ["p@ss"]
    assert config.url is not None
    for shown in (repr(config.url.password), str(config.url), config.model_dump_json()):
        assert "p@ss" not in shown
        assert "p%40ss" not in shown
        assert "t0ken" not in shown


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("a", [("a", 9092)]),
        ("a:1, b:2", [("a", 1), ("b", 2)]),
        (["a:1", "b"], [("a", 1), ("b", 9092)]),
        ("[::1]:3,[fe80::1%eth0]", [("::1", 3), ("fe80::1%eth0", 9092)]),
    ],
)
def test_servers_are_a_text_or_a_list(given: Any, wanted: list[tuple[str, int]]) -> None:
    config = Config(type="x", name="p", servers=given)
    assert [tuple(server) for server in config.servers] == wanted


def test_servers_are_written_as_they_are_read() -> None:
    config = Config(type="x", name="p", servers="a:1,[::1]")
    assert [str(server) for server in config.servers] == ["a:1", "[::1]:9092"]
    assert Config.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("given", ["", [], "a:", "a:b", "a:0", "a:65536", "::1", "a b", "http://a", "u:hunter2@a:1", "a,", 5, [5], "a:１"])
def test_what_is_no_server_is_refused_with_the_remedy(given: Any) -> None:
    with pytest.raises(ValidationError, match="write for example localhost:9092") as caught:
        Config(type="x", name="p", servers=given)
    assert "hunter" not in str(caught.value)


def test_the_schema_lets_people_write_text() -> None:
    assert TypeAdapter(Annotated[Url, AMQP]).json_schema() == {"type": "string"}
    assert {"type": "string"} in TypeAdapter(Annotated[tuple[HostPort, ...], HostsOf(1)]).json_schema()["anyOf"]
