"""What the doctor finds at a real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from standpipe.core.errors import StandpipeError
from standpipe.core.finding import Finding, Severity
from tests.integration.nats.streams import make_stream, producer, read
from tests.servers.nats import NatsServer
from tests.servers.server import Address, free_port


def examine(url: str, name: str, **settings: Any) -> list[Finding]:
    return producer(url, name, **settings).examine()


def worst(found: list[Finding]) -> list[str]:
    return [finding.what for finding in found if finding.severity is Severity.CRITICAL]


def test_good_stream_has_nothing_critical_and_nothing_is_published(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name, duplicate_window=600_000_000_000)
    found = examine(nats_server.url, nats_name, reconnect_wait=5)
    assert worst(found) == []
    said = " ".join(finding.what for finding in found)
    assert "is on disk" in said
    assert "recognises repetitions for 600 s" in said
    assert "answers: NATS" in said
    assert "one replica" in said
    assert read(nats_server.url, nats_name) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"storage": "memory"}, "in memory"),
        ({"no_ack": True}, "no_ack"),
        ({"max_msgs": 10, "retention": "workqueue"}, "discards old"),
    ],
)
def test_stream_that_loses_messages(nats_server: Address, nats_name: str, settings: dict[str, Any], words: str) -> None:
    make_stream(nats_server.url, nats_name, **settings)
    assert words in " ".join(worst(examine(nats_server.url, nats_name)))


def test_missing_stream_and_wrong_stream(nats_server: Address, nats_name: str) -> None:
    assert "no stream has the subject" in worst(examine(nats_server.url, nats_name))[0]
    make_stream(nats_server.url, nats_name)
    assert "and not to ORDERS" in worst(examine(nats_server.url, nats_name, stream="ORDERS"))[0]


def test_stream_that_has_not_all_subjects_of_a_template(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name, f"{nats_name}.eu")
    found = examine(nats_server.url, nats_name, subject=f"{nats_name}.{{to}}")
    assert any("not all of" in finding.what and finding.severity is Severity.WARNING for finding in found)


def test_core_mode_is_critical(nats_server: Address, nats_name: str) -> None:
    assert "mode is core" in worst(examine(nats_server.url, nats_name, mode="core"))


def test_user_that_may_not_ask_gets_told_what_could_not_be_checked(
    own_server: Callable[..., NatsServer], unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standpipe.producers.nats_streams.ANSWER_WITHIN", 0.2)
    users = '{users: [{user: jane, password: pw, permissions: {publish: ["orders"], subscribe: ["_INBOX.>"]}}]}'
    server = own_server(NatsServer, settings={"authorization": users})
    found = examine(f"nats://jane:pw@127.0.0.1:{server.port}", unique_name)
    assert worst(found) == []
    assert any("could not be checked" in finding.what and finding.severity is Severity.INFO for finding in found)


def test_server_that_cannot_be_reached_is_raised(unique_name: str) -> None:
    with pytest.raises(StandpipeError, match="cannot be reached"):
        examine(f"nats://127.0.0.1:{free_port()}", unique_name)
