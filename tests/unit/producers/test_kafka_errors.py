"""What Kafka's errors mean: each row of the table, and that nothing unknown is a drop."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, SendError
from standpipe.core.outcome import Outcome, judge
from standpipe.producers.kafka_errors import ERRORS, KafkaFailure, code_of, is_fatal, translate


@pytest.mark.parametrize(
    ("code", "kind", "outcome"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, Reject, Outcome.REJECTED),
        (KafkaError.INVALID_RECORD, Reject, Outcome.REJECTED),
        (KafkaError.TOPIC_EXCEPTION, Reject, Outcome.REJECTED),
        (KafkaError._AUTHENTICATION, Misconfigured, Outcome.FAILED),
        (KafkaError.SASL_AUTHENTICATION_FAILED, Misconfigured, Outcome.FAILED),
        (KafkaError._SSL, Misconfigured, Outcome.FAILED),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Misconfigured, Outcome.FAILED),
        (KafkaError.POLICY_VIOLATION, Misconfigured, Outcome.FAILED),
        (KafkaError._INVALID_ARG, Misconfigured, Outcome.FAILED),
        (KafkaError._FENCED, Misconfigured, Outcome.FAILED),
        (KafkaError._UNKNOWN_TOPIC, Disconnected, Outcome.FAILED),
        (KafkaError._GAPLESS_GUARANTEE, Disconnected, Outcome.UNKNOWN),
        (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, Disconnected, Outcome.UNKNOWN),
        (KafkaError._PURGE_QUEUE, NotSent, Outcome.FAILED),
        (KafkaError._PURGE_INFLIGHT, SendError, Outcome.UNKNOWN),
        (KafkaError._RESOLVE, NotSent, Outcome.FAILED),
        (KafkaError._ALL_BROKERS_DOWN, SendError, Outcome.UNKNOWN),
        (KafkaError._MSG_TIMED_OUT, SendError, Outcome.UNKNOWN),
        (KafkaError.KAFKA_STORAGE_ERROR, SendError, Outcome.UNKNOWN),
    ],
)
def test_each_error_has_its_meaning(code: int, kind: type[SendError], outcome: Outcome) -> None:
    for error in (KafkaError(code, "said so"), KafkaException(KafkaError(code, "said so"))):
        made = translate(error)
        assert type(made) is kind
        assert judge(made).outcome is outcome
        assert "said so" in str(made)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("ssl://a:1/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 1ms in state SSL_HANDSHAKE)", Misconfigured),
        ("ssl://a:1/bootstrap: error:0A00010B:SSL routines::wrong version number (after 1ms in state SSL_HANDSHAKE)", Misconfigured),
        ("ssl://a:1/bootstrap: error:0A000126:SSL routines::unexpected eof while reading (after 1ms in state SSL_HANDSHAKE)", SendError),
        ("ssl://a:1/bootstrap: Disconnected (after 1ms in state SSL_HANDSHAKE)", SendError),
        ("a:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)", SendError),
    ],
)
def test_a_complaint_about_tls_is_one_also_if_it_is_called_an_error_of_the_connection(said: str, kind: type[SendError]) -> None:
    assert type(translate(KafkaError(KafkaError._TRANSPORT, said))) is kind


def test_every_row_is_for_an_error_of_the_client() -> None:
    codes = [value for name, value in vars(KafkaError).items() if isinstance(value, int) and not name.startswith("__")]
    for row in ERRORS.rows:
        assert any(row.fits(KafkaFailure(KafkaError(code))) for code in codes), row.when


def test_what_is_no_error_of_kafka_may_have_arrived() -> None:
    assert type(translate(TypeError("odd"))) is SendError
    assert code_of(TypeError("odd")) is None
    assert not is_fatal(TypeError("odd"))
    assert is_fatal(KafkaException(KafkaError(KafkaError._FENCED, "gone", True)))


def test_a_failure_is_told_for_people() -> None:
    assert str(KafkaFailure(KafkaError(KafkaError._SSL, "bad certificate"))) == "bad certificate (_SSL)"
