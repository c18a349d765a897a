"""What the engine needs to know of a producer's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from standpipe.delivery.retry import RetryPolicy
from standpipe.delivery.schedule import Ordering


@dataclass(frozen=True, slots=True)
class Settings:
    """What the engine needs to know, taken from the producer's configuration. Times are seconds."""

    name: str
    destination: str
    retry: RetryPolicy
    ordering: Ordering = "key"
    max_resets: int | None = None
    deadline: float | None = None
    batch_messages: int = 1
    batch_bytes: int = 2**20
    linger: float = 0.0
    rate_limit: float | None = None
    exclusive: bool = False
    singly: bool = False
    """of the messages taken together only one is being sent at a time"""
