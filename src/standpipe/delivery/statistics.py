"""What a producer can tell about itself, at one instant."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from standpipe.core.message import Message
from standpipe.delivery.breaker import BreakerState


@dataclass(frozen=True, slots=True)
class ProducerStatistics:
    """A consistent snapshot of one producer: `accepted = delivered + dead_lettered + dropped + pending`, always.

    Counts are messages since the producer was made (in this process), unless they say otherwise.
    """

    accepted: int = 0
    """handed over and taken"""
    delivered: int = 0
    """confirmed by the destination"""
    dead_lettered: int = 0
    """put aside for good"""
    dropped: int = 0
    """dropped by the overflow policy that the user named"""
    pending: int = 0
    """accepted and not settled: queued, being sent, or waiting for a retry"""
    attempts: int = 0
    """message sends tried (a batch of ten counts ten)"""
    retries: int = 0
    """message sends tried again after a failure"""
    resets: int = 0
    """connections reset because retries were used up or the connection was gone"""
    connects: int = 0
    """connections opened"""
    connect_failures: int = 0
    """connections that could not be opened"""
    possible_duplicates: int = 0
    """delivered after an earlier attempt that may have arrived as well"""
    queue_messages: int = 0
    """messages that occupy the queue now"""
    queue_bytes: int = 0
    """bytes that occupy the queue now"""
    queue_messages_max: int = 0
    """most messages the queue ever held"""
    queue_bytes_max: int = 0
    """most bytes the queue ever held"""
    breaker: BreakerState = BreakerState.CLOSED
    """whether messages flow"""
    connected: bool = False
    """whether the connection is open"""
    observer_failures: int = 0
    """callbacks and log handlers that raised; they change no outcome"""
    last_error: str | None = None
    """the last error, as one line without secrets"""
    last_error_at: float | None = None
    """when, in seconds since 1970"""
    last_success_at: float | None = None
    """the last delivery, in seconds since 1970"""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"breaker": self.breaker.value}


@dataclass(frozen=True, slots=True)
class ShutdownReport:
    """What became of every message a producer accepted: the four counts and `dropped` add up to `accepted`."""

    delivered: int = 0
    dead_lettered: int = 0
    spooled: int = 0
    """kept on disk for the next start"""
    undelivered: int = 0
    """neither delivered nor kept: they can be had back from `messages`"""
    dropped: int = 0
    messages: tuple[Message, ...] = field(default=(), repr=False)
    """the undelivered messages, oldest first"""
    possible_duplicates: int = 0
    """undelivered messages that were being sent when time was up: they may have arrived"""

    @property
    def complete(self) -> bool:
        """True when nothing is left undelivered."""
        return self.undelivered == 0
