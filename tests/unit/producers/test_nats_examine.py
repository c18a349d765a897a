"""What the doctor says of streams, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from standpipe.core.finding import Severity
from standpipe.producers.nats_config import SUBJECT, NatsProducerConfig
from standpipe.producers.nats_examine import _settings, covers, pattern_of, retry_horizon, stream_findings
from standpipe.producers.text_template import TextTemplate

GOOD: dict[str, Any] = {"storage": "file", "num_replicas": 3, "discard": "new", "max_msgs": 1000, "duplicate_window": 600_000_000_000}


def config(**settings: Any) -> NatsProducerConfig:
    return NatsProducerConfig.model_validate({"name": "n", "url": "nats://localhost", "subject": "orders", **settings})


def severities(stream: dict[str, Any], **settings: Any) -> dict[str, Severity]:
    found = list(stream_findings(config(**settings), "S", GOOD | stream))
    assert all(finding.remedy for finding in found if finding.severity is not Severity.INFO)
    return {finding.what: finding.severity for finding in found}


def test_good_stream_is_well() -> None:
    assert set(severities({}).values()) == {Severity.INFO}


@pytest.mark.parametrize(
    ("stream", "words", "severity"),
    [
        ({"storage": "memory"}, "in memory", Severity.CRITICAL),
        ({"no_ack": True}, "no_ack", Severity.CRITICAL),
        ({"num_replicas": 1}, "one replica", Severity.WARNING),
        ({"discard": "old"}, "discards old", Severity.WARNING),
        ({"discard": "old", "retention": "workqueue"}, "discards old", Severity.CRITICAL),
        ({"max_msgs_per_subject": 1}, "discards old", Severity.WARNING),
        ({"retention": "interest"}, "interest", Severity.WARNING),
        ({"duplicate_window": 1_000_000_000}, "recognises repetitions for 1 s", Severity.WARNING),
        ({"max_age": 60_000_000_000}, "for 60 s (max_age)", Severity.INFO),
    ],
)
def test_stream_that_loses_or_repeats_messages(stream: dict[str, Any], words: str, severity: Severity) -> None:
    assert [found for what, found in severities(stream).items() if words in what] == [severity]


def test_discarding_new_messages_of_a_subject_is_well() -> None:
    assert Severity.WARNING not in severities({"max_msgs_per_subject": 1, "discard_new_per_subject": True}).values()


def test_unbounded_stream_that_would_discard_old_messages_is_well() -> None:
    assert Severity.WARNING not in severities({"discard": "old", "max_msgs": -1}).values()


def test_retry_horizon_is_an_attempt_a_delay_and_a_pause() -> None:
    assert retry_horizon(config(send_timeout=30, reconnect_wait=60, retry={"max": 30})) == 120


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "core"}, "mode is core"),
        ({"message_id_header": None}, "message_id_header is none"),
        ({"message_id_header": "id"}, "message_id_header is id"),
        ({"url": "nats://nats.example.com"}, "need not be encrypted"),
        ({"url": "tls://nats.example.com", "tls": {"verify": False}}, "tls.verify is false"),
    ],
)
def test_settings_that_lose_repeat_or_show_messages(settings: dict[str, Any], words: str) -> None:
    assert any(words in finding.what and finding.severity is not Severity.INFO for finding in _settings(config(**settings)))


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("orders", "orders"), ("orders.{a.b}", "orders.*"), ("x{a}y.{time:%Y}.z", "*.*.z"), ("{a}.{{b}}", "*.{b}"), ("{a}{b}", "*")],
)
def test_pattern_of_a_template(text: str, pattern: str) -> None:
    assert pattern_of(TextTemplate(text, SUBJECT, "subject")) == pattern


@pytest.mark.parametrize(
    ("wide", "narrow", "does"),
    [
        ("orders", "orders", True),
        ("orders.>", "orders.*", True),
        ("orders.>", "orders.a.b", True),
        ("orders.>", "orders", False),
        ("orders.*", "orders.*", True),
        ("orders.*", "orders.a.b", False),
        ("orders.eu", "orders.*", False),
        ("*.eu", "orders.eu", True),
        (">", "a.b", True),
        ("orders.*.x", "orders.a", False),
    ],
)
def test_whether_a_subject_covers_another(wide: str, narrow: str, does: bool) -> None:
    assert covers(wide, narrow) is does
