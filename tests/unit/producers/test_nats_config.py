"""What can be configured of the NATS producer, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from standpipe.core.errors import ConfigurationError
from standpipe.producers.nats import NatsProducer
from standpipe.producers.nats_client import _checked_credentials, _options
from standpipe.producers.nats_config import NatsProducerConfig


def config(**settings: Any) -> NatsProducerConfig:
    return NatsProducerConfig.model_validate({"name": "n", "url": "nats://localhost", "subject": "orders", **settings})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"subject": "orders.*"}, "cannot be a subject"),
        ({"subject": "orders.>"}, "cannot be a subject"),
        ({"subject": "orders..eu"}, "cannot be a subject"),
        ({"subject": ".orders"}, "cannot be a subject"),
        ({"subject": "my orders"}, "cannot be a subject"),
        ({"subject": "orders.{"}, "stands alone"),
        ({"error_subject": "errors."}, "cannot be a subject"),
        ({"subject": "x" * 1025}, "1024 is the most"),
        ({"stream": "A.B"}, "cannot be a name"),
        ({"domain": "a b"}, "cannot be a name"),
        ({"inbox_prefix": "mine.>"}, "cannot begin a subject"),
        ({"inbox_prefix": "mine."}, "cannot begin a subject"),
        ({"url": "http://host"}, "must begin with nats:// or tls://"),
        ({"url": "nats://host/path"}, "has no effect here"),
        ({"url": "nats://host?tls=1"}, "has no effect here"),
        ({"url": "nats://jane:pw@host", "user": "jane", "password": "x"}, "in the url and beside it"),
        ({"user": "jane"}, "user needs password"),
        ({"password": "x"}, "password needs user"),
        ({"user": "jane", "password": "x", "token": "t"}, "there is one way to log in"),
        ({"nkey_seed": "SU", "credentials_file": "x.creds"}, "there is one way to log in"),
        ({"mode": "core", "stream": "ORDERS"}, "no effect with mode: core"),
        ({"mode": "core", "no_stream": "wait"}, "no effect with mode: core"),
        ({"error_stream": "ERRORS"}, "error_stream needs error_subject"),
        ({"max_pending": 500}, "less than batch.max_messages"),
        ({"max_pending": 0}, "greater than or equal to 1"),
        ({"headers": {"Nats-Rollup": "all"}}, "written by the producer itself"),
        ({"headers": {"a:b": "1"}}, "cannot name a header"),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as failure:
        config(**settings)
    assert "pw" not in str(failure.value).split("input")[0]


def test_defaults_deduplicate_and_wait_for_the_stream() -> None:
    made = config()
    assert (made.mode, made.message_id_header, made.max_pending, made.hosts[0].port) == ("jetstream", "Nats-Msg-Id", 4000, 4222)
    assert not made.rejects_without_stream
    assert config(subject="orders.{region}").rejects_without_stream
    assert not config(subject="orders.{region}", no_stream="wait").rejects_without_stream
    assert config(no_stream="reject").rejects_without_stream


@pytest.mark.parametrize(
    ("settings", "login"),
    [
        ({}, {}),
        ({"url": "nats://jane:p%40w@host"}, {"user": "jane", "password": "p@w"}),
        ({"user": "jane", "password": "pw"}, {"user": "jane", "password": "pw"}),
        ({"url": "nats://t0ken@host"}, {"token": "t0ken"}),
        ({"token": "t0ken"}, {"token": "t0ken"}),
    ],
)
def test_login(settings: dict[str, Any], login: dict[str, str]) -> None:
    assert config(**settings).login == login


def test_window_is_so_many_batches() -> None:
    assert NatsProducer(config()).max_in_flight == 4
    assert NatsProducer(config(max_pending=64, batch={"max_messages": 64})).max_in_flight == 1


def test_streams_of_normal_and_error_messages() -> None:
    assert config(stream="A").streams == ("A", "A")
    assert config(stream="A", error_subject="errors").streams == ("A", None)
    assert config(error_subject="errors", error_stream="B").streams == (None, "B")


def test_the_client_never_reconnects_or_keeps_anything_by_itself() -> None:
    made = config(ping_interval=3, url="tls://a.example.com", failover="b.example.com:4333, 10.0.0.7")
    found = _options(made.hosts[1], made)
    assert (found["allow_reconnect"], found["pending_size"], found["ping_interval"]) == (False, 0, 3)
    assert (found["servers"], found["tls_hostname"]) == (["nats://b.example.com:4333"], "b.example.com")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("nonsense", "has no BEGIN NATS USER JWT"),
        ("-----BEGIN NATS USER JWT-----\nx\n", "has no BEGIN USER NKEY SEED"),
        ("-----BEGIN USER NKEY SEED-----\nx\n", "has no BEGIN NATS USER JWT"),  # in which the library would look for ever
    ],
)
def test_credentials_file_that_has_not_all_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    file = tmp_path / "shop.creds"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        _checked_credentials(str(file))


def test_destination_names_server_and_subjects_but_no_secrets() -> None:
    made = NatsProducer(config(url="nats://jane:secret@host", error_subject="errors"))
    assert made.destination == "nats://host orders, errors: errors"
