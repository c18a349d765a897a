"""A message put aside for good, with its reason and history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson


class Reason(Enum):
    """Why a message was put aside."""

    REJECTED = "rejected"
    """the destination will never take it"""
    EXPIRED = "expired"
    """it waited longer than its `deadline`"""
    EXHAUSTED = "exhausted"
    """its retries were used up `max_resets` + 1 times"""
    CORRUPT = "corrupt"
    """what the disk kept of it is damaged"""
    UNDELIVERABLE = "undeliverable"
    """the producer was shut down before it could be delivered, and nothing else would have kept it"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message put aside. `payload` is what would have been sent, byte for byte; times are seconds since 1970."""

    id: str
    producer: str
    destination: str
    reason: Reason
    is_error: bool
    payload: bytes
    key: str | None
    headers: Mapping[str, str] | None
    error: str | None
    """the last error as one line, without secrets"""
    traceback: str | None
    """its innermost part, without secrets"""
    attempts: int
    accepted_at: float
    first_attempt_at: float | None
    last_attempt_at: float
    """when it was put aside"""
    replays: int = 0
    """how often it was sent again from the dead letters"""
    response: str | None = None
    """the beginning of what the destination answered, if the producer passes it on"""

    def content(self) -> dict[str, Any]:
        """The message as a dict."""
        decoded: dict[str, Any] = orjson.loads(self.payload)
        return decoded
