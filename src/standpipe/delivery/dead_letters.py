"""Where messages that are put aside for good go, and the store that keeps them in memory."""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from standpipe.core.clock import Clock, SystemClock
from standpipe.core.dead_letter import DeadLetter, Reason
from standpipe.core.redaction import redact_text

__all__ = ["DeadLetter", "DeadLetters", "Fault", "MemoryDeadLetters", "Reason", "bounded_traceback", "describe"]

TRACEBACK_MAX = 4096
"""Characters of traceback kept per dead letter; Sentry keeps 250 frames, but the innermost lines are what people read."""

RESPONSE_MAX = 4096
"""Characters of the destination's answer kept per dead letter: an error page's title and text; webhook services show 1 to 10 KB."""


class DeadLetters(Protocol):
    """Where dead letters go. `add` returns only when they are as safe as the store makes them; it may raise, and then the
    messages stay pending. Thread-safe."""

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[DeadLetter]: ...


class MemoryDeadLetters:
    """Dead letters in memory: bounded in number, bytes and age (seconds); when a bound bites, the oldest go (`drop_oldest`) or the
    new ones do (`drop_newest`), and `dropped` counts them."""

    def __init__(
        self,
        max_letters: int = 10_000,
        max_bytes: int = 64 * 2**20,
        max_age: float | None = None,
        on_full: Literal["drop_oldest", "drop_newest"] = "drop_oldest",
        clock: Clock | None = None,
    ) -> None:
        self.max_letters = max_letters
        self.max_bytes = max_bytes
        self.max_age = max_age
        self.on_full = on_full
        self.dropped = 0
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._bytes = 0
        self._letters: deque[DeadLetter] = deque()
        self._lock = threading.Lock()

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these; the oldest make room, or the new ones are dropped."""
        with self._lock:
            self._drop_aged()
            for letter in letters:
                if self.on_full == "drop_newest" and not self._fits(1, len(letter.payload)):
                    self.dropped += 1
                    continue
                self._letters.append(letter)
                self._bytes += len(letter.payload)
            while self._letters and not self._fits(0, 0):
                self._drop_first()

    def _fits(self, letters: int, size: int) -> bool:
        return len(self._letters) + letters <= self.max_letters and self._bytes + size <= self.max_bytes

    def _drop_aged(self) -> None:
        if self.max_age is not None:
            before = self._clock.time() - self.max_age
            while self._letters and self._letters[0].last_attempt_at < before:
                self._drop_first()

    def _drop_first(self) -> None:
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


@dataclass(frozen=True, slots=True)
class Fault:
    """What a dead letter says about the exception that made it one; all of it without secrets and bounded."""

    error: str | None = None
    traceback: str | None = None
    response: str | None = None

    @classmethod
    def of(cls, error: BaseException | None, secrets: Sequence[str] = ()) -> Fault:
        """The line, the traceback and, if the exception carries one as `response`, the destination's answer."""
        if error is None:
            return cls()
        return cls(describe(error, secrets), bounded_traceback(error, secrets), response_excerpt(error, secrets))


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


def response_excerpt(error: BaseException, secrets: Sequence[str] = ()) -> str | None:
    """The beginning of what the destination answered, where the exception has it as text or bytes in `response`."""
    try:
        response = getattr(error, "response", None)
    except Exception:  # somebody's property is broken
        return None
    if isinstance(response, (bytes, bytearray)):
        response = bytes(response[: 4 * RESPONSE_MAX]).decode("utf-8", "backslashreplace")
    if not isinstance(response, str) or not response:
        return None
    # Redacted before it is cut, with room for a secret at the edge: half a secret would not be recognised.
    return redact_text(response[: 4 * RESPONSE_MAX], secrets)[:RESPONSE_MAX]
