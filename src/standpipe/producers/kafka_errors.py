"""What the errors of Kafka and of its client mean for the messages.

What the brokers may take at another time (no leader, too few replicas, a lost connection), librdkafka tries again by itself,
in order and without duplicates, until `send_timeout`: such errors do not come this far. Any other error ends the client
(`enable.gapless.guarantee`), so that no later message overtakes the one that failed.
"""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, SendError
from standpipe.producers.error_table import ErrorRow, ErrorTable

TOO_LARGE = frozenset((KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG_SIZE))
"""What a broker says about a request: any message in it may be at fault, or their sum."""

NOT_TAKEN = frozenset((KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP, KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT))
"""What a broker says about a request because of one message in it."""

MISSING_TOPIC = frozenset((KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION))


PAUSE = 60.0
"""Seconds until it is tried again whether somebody has mended what the configuration or the broker's settings say."""


class KafkaFailure(KafkaException):
    """An error of the client, told for people."""

    def __str__(self) -> str:
        error = self.args[0]
        return f"{error.str()} ({error.name()})"


def code_of(error: BaseException) -> int | None:
    """The code of an error of the client: Kafka's own number, or a negative one of librdkafka."""
    inner = _inner(error)
    return None if inner is None else inner.code()


def is_fatal(error: BaseException) -> bool:
    """Whether the client is of no use any more."""
    inner = _inner(error)
    return inner is not None and inner.fatal()


def translate(error: BaseException | KafkaError) -> SendError:
    """What the engine is told, of an error that the client raised, or of one that it passed to a callback."""
    inner = error if isinstance(error, KafkaError) else _inner(error)
    return ERRORS.translate(KafkaFailure(inner) if inner is not None else error)  # type: ignore[arg-type]


def _inner(error: BaseException) -> KafkaError | None:
    inner = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return inner if isinstance(inner, KafkaError) else None


def _has(*codes: int) -> Callable[[BaseException], bool]:
    wanted = frozenset(codes)
    return lambda error: code_of(error) in wanted


def _pause(_: BaseException) -> float:
    return PAUSE


def _is_about_tls(error: BaseException) -> bool:
    """librdkafka says what OpenSSL complains of as an error of TLS or of the connection, whichever of its calls meets it first.

    Only an end of the stream in the middle of a handshake is no complaint: a broker that stops does that.
    """
    inner = _inner(error)
    if inner is None or inner.code() != KafkaError._TRANSPORT:
        return inner is not None and inner.code() == KafkaError._SSL
    text = inner.str()
    return "SSL routines:" in text and "unexpected eof" not in text


ERRORS = ErrorTable(
    "Kafka",
    ErrorRow(
        "message larger than `max_message_bytes` or the topic's `max.message.bytes`",
        _has(*TOO_LARGE),
        Reject,
        "the message is larger than max_message_bytes here or max.message.bytes of the topic; raise them or send less",
    ),
    ErrorRow(
        "message that the topic does not take, such as one without a key if it is compacted",
        _has(*NOT_TAKEN),
        Reject,
        "the topic does not take this message; a compacted topic wants a key, others bound the time stamp",
    ),
    ErrorRow(
        "name that cannot be a topic, or one of Kafka's own",
        _has(KafkaError.TOPIC_EXCEPTION),
        Reject,
        "the broker does not take messages for a topic of this name; change topic or the message's field in it",
    ),
    ErrorRow(
        "wrong user, password or token",
        _has(
            KafkaError._AUTHENTICATION,
            KafkaError.SASL_AUTHENTICATION_FAILED,
            KafkaError.UNSUPPORTED_SASL_MECHANISM,
            KafkaError.ILLEGAL_SASL_STATE,
        ),
        Misconfigured,
        "the broker does not let us in; correct auth",
        seconds=_pause,
    ),
    ErrorRow(
        "certificate not trusted, expired or for another name; no TLS at that port",
        _is_about_tls,
        Misconfigured,
        "no encrypted connection; correct servers, tls.ca_file or tls.cert_file, or have the certificate renewed",
        seconds=_pause,
    ),
    ErrorRow(
        "no permission",
        _has(
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.CLUSTER_AUTHORIZATION_FAILED,
            KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ),
        Misconfigured,
        "the user may not do this; allow it to write to the topic (and to use transactional_id)",
        seconds=_pause,
    ),
    ErrorRow(
        "request against the broker's policy, or a feature that it does not have",
        _has(
            KafkaError.POLICY_VIOLATION,
            KafkaError.UNSUPPORTED_VERSION,
            KafkaError._UNSUPPORTED_FEATURE,
            KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
            KafkaError.INVALID_REQUIRED_ACKS,
            KafkaError.INVALID_TRANSACTION_TIMEOUT,
        ),
        Misconfigured,
        "the broker refuses how we send; change acks, idempotence, compression or transaction_timeout, or its settings",
        seconds=_pause,
    ),
    ErrorRow(
        "options that the client does not know or cannot use",
        _has(KafkaError._INVALID_ARG),
        Misconfigured,
        "the client refuses its settings; correct options, tls or auth",
        seconds=_pause,
    ),
    ErrorRow(
        "another producer has the same `transactional_id`",
        _has(KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.TRANSACTION_COORDINATOR_FENCED),
        Misconfigured,
        "another producer with the same transactional_id has taken over; give each producer its own",
        seconds=_pause,
    ),
    ErrorRow(
        "topic deleted while messages were on their way",
        _has(*MISSING_TOPIC),
        Disconnected,
        "the topic does not exist; create it, or correct topic",
        arrived=False,
    ),
    ErrorRow(
        "the broker does not know this producer's numbering any more",
        _has(
            KafkaError._FATAL,
            KafkaError._GAPLESS_GUARANTEE,
            KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
            KafkaError.UNKNOWN_PRODUCER_ID,
            KafkaError.INVALID_PRODUCER_ID_MAPPING,
            KafkaError.INVALID_PRODUCER_EPOCH,
            KafkaError.INVALID_TXN_STATE,
            KafkaError.DUPLICATE_SEQUENCE_NUMBER,
        ),
        Disconnected,
        "the client cannot go on in order and is made anew",
    ),
    ErrorRow(
        "message still with the client when the connection was reset",
        _has(KafkaError._PURGE_QUEUE),
        NotSent,
        "the connection was reset before the message was sent",
    ),
    ErrorRow(
        "message on its way when the connection was reset",
        _has(KafkaError._PURGE_INFLIGHT),
        SendError,
        "the connection was reset before the message was confirmed",
    ),
    ErrorRow("the host name is unknown", _has(KafkaError._RESOLVE), NotSent, "a host in servers cannot be resolved; check it, and DNS"),
    ErrorRow(
        "no broker can be reached",
        _has(KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT),
        SendError,
        "no broker can be reached; check servers, whether they run, and whether they want tls, tls.cert_file or auth",
    ),
    ErrorRow(
        "no answer in time",
        _has(KafkaError._TIMED_OUT, KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT_QUEUE),
        SendError,
        "there was no answer in time",
    ),
)
