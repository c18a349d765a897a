"""Whether a client has found a broker, and if not, why: librdkafka itself goes on trying for as long as it is asked to."""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from standpipe.core.errors import NotSent
from standpipe.producers.kafka_errors import KafkaFailure

LOOK = 0.05
"""Seconds that are waited for an answer before there is a look whether there was an error instead."""

REASON_GRACE = 0.2
"""Seconds that the client gets to say why no broker can be reached: it says that none can be first."""


class Trouble:
    """What a client says about brokers that it cannot reach. For the thread that polls it."""

    reason: KafkaError | None = None
    """why, in the words of the last one"""
    down_at: float | None = None
    """since when none can be reached, by the monotonic clock"""

    def note(self, error: KafkaError) -> None:
        """What the client says beside the outcome of messages."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.reason = error
        elif self.down_at is None:
            self.down_at = time.monotonic()

    @property
    def is_known(self) -> bool:
        """There is no broker, and no more is to be learned about the reason."""
        return self.down_at is not None and (self.reason is not None or time.monotonic() > self.down_at + REASON_GRACE)


def reach(client: Any, trouble: Trouble, seconds: float) -> None:
    """Wait until a broker has answered. Raises the reason why none does as soon as there is one. `client` must tell `trouble`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        client.poll(0)
        try:
            if client.cluster_id(LOOK):
                return
        except KafkaException:  # not yet; reasons come to `trouble`
            pass
        if trouble.is_known:
            raise KafkaFailure(trouble.reason or KafkaError(KafkaError._ALL_BROKERS_DOWN))
    if trouble.reason is not None:
        raise KafkaFailure(trouble.reason)
    raise NotSent(f"no broker answered within connect_timeout ({seconds:g} s); check servers, tls and auth")
