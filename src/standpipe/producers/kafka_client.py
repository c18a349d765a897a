"""The Kafka client: its properties, made from the configuration, and its log."""

from __future__ import annotations

import logging
import math
from typing import Any

from pydantic import SecretStr

from standpipe.producers.kafka_config import KafkaProducerConfig
from standpipe.producers.tls import TlsConfig, ssl_context

__all__ = ["ClientLog", "client_properties", "tls_properties"]

UNKNOWN_TOPIC_WAIT_MS = 2_000_000
"""How long messages wait for a topic that does not exist before they fail and are submitted anew. As long as librdkafka can
count: it multiplies by 1,000 in 32 bits, and more makes them fail at once."""

BUFFER_KIB = 256 * 2**10
"""Most that librdkafka holds, in KiB; what is beyond it waits here."""

_NO_TIMEOUT = 0
"""librdkafka's own timeout of a message is off: it would give messages up one by one, and later ones could overtake them. The
engine's `send_timeout` ends the whole client instead."""


class ClientLog:
    """Takes librdkafka's log lines, which repeat every second in an outage: they are for looking closely. What people have to
    know is said by the producer."""

    _log = logging.getLogger("standpipe.producers.kafka.client")

    def __init__(self, producer: str) -> None:
        self._producer = producer

    def log(self, level: int, text: str, *arguments: Any) -> None:
        """Called by confluent-kafka, in the thread that polls."""
        self._log.debug("%s: " + text, self._producer, *arguments)


def client_properties(config: KafkaProducerConfig, batch_bytes: int, *, alone: bool = False) -> dict[str, Any]:
    """What librdkafka is told. `batch_bytes`: largest request; `alone`: one message in each.

    Raises ConfigurationError for certificates that cannot be used.
    """
    found: dict[str, Any] = {
        # What follows may be overridden by `options`; the rest may not.
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 5000,
        "queue.buffering.max.kbytes": BUFFER_KIB,
        **{name: option.get_secret_value() if isinstance(option, SecretStr) else option for name, option in config.options.items()},
        **access_properties(config),
        "acks": {"all": -1, "1": 1, "0": 0}[config.acks],
        "enable.idempotence": config.idempotence,
        "enable.gapless.guarantee": config.idempotence,
        "partitioner": config.partitioner,
        "compression.type": config.compression,
        "linger.ms": config.linger * 1000,
        "message.max.bytes": config.max_message_bytes,
        "batch.size": batch_bytes,
        "message.timeout.ms": _NO_TIMEOUT,
        "topic.metadata.propagation.max.ms": UNKNOWN_TOPIC_WAIT_MS,
        # One batch more than the window: it is never full of messages, only of bytes.
        "queue.buffering.max.messages": max(1000, config.max_in_flight + config.batch.max_messages + 1),
    }
    if alone:
        found["batch.num.messages"] = 1
    if config.transactional_id is not None:
        found["transactional.id"] = config.transactional_id
        found["transaction.timeout.ms"] = math.ceil(config.transaction_timeout * 1000)
    return found


def access_properties(config: KafkaProducerConfig) -> dict[str, Any]:
    """What librdkafka is told about where the brokers are and how to get in."""
    protocol = ("sasl_" if config.auth is not None else "") + ("ssl" if config.tls is not None else "plaintext")
    return {
        "bootstrap.servers": ",".join(map(str, config.servers)),
        "client.id": config.client_id,
        "security.protocol": protocol,
        **(config.auth.properties() if config.auth is not None else {}),
        **(tls_properties(config.tls) if config.tls is not None else {}),
    }


def tls_properties(tls: TlsConfig) -> dict[str, Any]:
    """What librdkafka is told about encryption. Raises ConfigurationError naming the file that cannot be used."""
    ssl_context(tls)  # for its errors, which say more than librdkafka's
    found: dict[str, Any] = {}
    if tls.ca_file is not None:
        found["ssl.ca.location"] = tls.ca_file
    if tls.cert_file is not None:
        found["ssl.certificate.location"] = tls.cert_file
        found["ssl.key.location"] = tls.key_file if tls.key_file is not None else tls.cert_file
    if tls.key_password is not None:
        found["ssl.key.password"] = tls.key_password.get_secret_value()
    if not tls.verify:
        found["enable.ssl.certificate.verification"] = False
        found["ssl.endpoint.identification.algorithm"] = "none"
    return found
