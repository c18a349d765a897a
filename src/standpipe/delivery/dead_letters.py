"""Messages put aside for good, with their reason and history."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import orjson

from standpipe.core.redaction import redact_text

TRACEBACK_MAX = 4096
"""Characters of traceback kept per dead letter; Sentry keeps 250 frames, but the innermost lines are what people read."""


class Reason(Enum):
    """Why a message was put aside."""

    REJECTED = "rejected"
    """the destination will never take it"""
    EXPIRED = "expired"
    """it waited longer than its `deadline`"""
    EXHAUSTED = "exhausted"
    """its retries were used up `max_resets` + 1 times"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message put aside. `payload` is what would have been sent; times are seconds since 1970."""

    id: str
    producer: str
    destination: str
    reason: Reason
    is_error: bool
    payload: bytes
    key: str | None
    headers: Mapping[str, str] | None
    error: str | None
    traceback: str | None
    attempts: int
    accepted_at: float
    first_attempt_at: float | None
    last_attempt_at: float
    replays: int = 0

    def content(self) -> dict[str, Any]:
        """The message as a dict."""
        decoded: dict[str, Any] = orjson.loads(self.payload)
        return decoded


class DeadLetters(Protocol):
    """Where dead letters go. `add` returns only when they are as safe as the store makes them; it may raise, and then the
    messages stay pending. Thread-safe."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[DeadLetter]: ...


class MemoryDeadLetters:
    """Dead letters in memory: bounded in number and bytes; when the bound bites the oldest go, and `dropped` counts them."""

    def __init__(self, max_letters: int = 10_000, max_bytes: int = 64 * 2**20) -> None:
        self.max_letters = max_letters
        self.max_bytes = max_bytes
        self.dropped = 0
        self._bytes = 0
        self._letters: deque[DeadLetter] = deque()
        self._lock = threading.Lock()

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these; the oldest make room."""
        with self._lock:
            for letter in letters:
                self._letters.append(letter)
                self._bytes += len(letter.payload)
            while self._letters and (len(self._letters) > self.max_letters or self._bytes > self.max_bytes):
                self._bytes -= len(self._letters.popleft().payload)
                self.dropped += 1

    def clear(self) -> list[DeadLetter]:
        """Take all of them out, oldest first."""
        with self._lock:
            letters = list(self._letters)
            self._letters.clear()
            self._bytes = 0
            return letters

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        with self._lock:
            return iter(list(self._letters))


def describe(error: BaseException, secrets: Sequence[str] = ()) -> str:
    """An exception as one line of at most 500 characters, without secrets."""
    try:
        text = redact_text(str(error), secrets).replace("\n", " ").strip()
    except Exception:  # somebody's `__str__` is broken; what the exception says must not decide what becomes of the message
        text = "(its text cannot be had)"
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return line if len(line) <= 500 else line[:497] + "..."


def bounded_traceback(error: BaseException, secrets: Sequence[str] = ()) -> str:
    """The innermost part of the traceback, without secrets."""
    return redact_text("".join(traceback.format_exception(error)), secrets)[-TRACEBACK_MAX:]
