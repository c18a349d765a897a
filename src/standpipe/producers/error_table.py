"""What the errors of a client mean for the messages: one table per producer, each row with its reason.

The first row that fits decides. What no row fits may have arrived, and is tried again under the same message id: an unknown
error is never a drop. The tables are printed in the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from standpipe.core.errors import ConfigurationError, Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError

ErrorMatch = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Types of exceptions, or a question about one."""

TEXT_MAX = 300
"""Characters of the client's own text in a reason; the rest is noise, or the message itself."""

NOTICE = 10.0
"""Seconds until it is tried again whether somebody has mended what only a person can mend: soon enough for whoever waits for it, and
seldom enough not to have an account locked."""

_WORDS: dict[type[SendError], str] = {
    Reject: "rejected: to the dead letters",
    RetryAfter: "tried again after a pause",
    Misconfigured: "kept until the configuration or the service is mended, with an alarm",
    Disconnected: "connection reset, then tried again",
    NotSent: "tried again; it cannot have arrived",
    SendError: "tried again; it may have arrived",
}


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One kind of error: `when` in words, how it is recognised, what is done, and why."""

    when: str
    """the error in words, for the reference: `message larger than the broker takes`"""
    match: ErrorMatch
    """recognises it"""
    outcome: type[SendError]
    """`Reject`, `RetryAfter`, `Misconfigured`, `Disconnected`, `NotSent`, or `SendError` (it may have arrived)"""
    reason: str
    """why, and the remedy; the beginning of the error that people see"""
    seconds: float | Callable[[BaseException], float] | None = None
    """of `RetryAfter` and `Misconfigured`: the pause; None: a second, and `NOTICE` for what somebody has to mend"""
    arrived: bool | None = None
    """of `Disconnected`: False claims that nothing can have arrived"""

    def _pause(self, error: BaseException) -> float:
        if self.seconds is None:
            return NOTICE if issubclass(self.outcome, Misconfigured) else 1.0
        return self.seconds(error) if callable(self.seconds) else self.seconds

    def fits(self, error: BaseException) -> bool:
        """Whether the row is for `error`."""
        if isinstance(self.match, (type, tuple)):
            return isinstance(error, self.match)
        return self.match(error)

    def made(self, text: str, error: BaseException) -> SendError:
        """The error for the engine, saying `text`."""
        if issubclass(self.outcome, RetryAfter):
            return self.outcome(self._pause(error), text)
        if issubclass(self.outcome, Disconnected):
            return self.outcome(text, arrived=self.arrived)
        return self.outcome(text)


class ErrorTable:
    """The errors of one service. Immutable, thread-safe."""

    def __init__(self, service: str, *rows: ErrorRow) -> None:
        self.service = service
        self.rows = rows

    def translate(self, error: BaseException, response: str | bytes | None = None) -> SendError:
        """What `error` says about the message, for the engine; `error` becomes its cause. What is one of ours stays as it is.

        `response`: what the service answered, kept with a dead letter.
        """
        if isinstance(error, SendError):
            return error
        if isinstance(error, ConfigurationError):
            return Misconfigured(message=str(error))
        row = next((row for row in self.rows if row.fits(error)), None)
        text = f"{row.reason if row is not None else f'{self.service} failed'} ({_said(error)})"
        made = row.made(text, error) if row is not None else SendError(text)
        made.__cause__ = error
        if response is not None:
            made.response = response
        return made

    def described(self) -> Iterator[tuple[str, str, str]]:
        """For the reference: error, what is done, why."""
        for row in self.rows:
            yield row.when, outcome_words(row.outcome), row.reason


def outcome_words(outcome: type[SendError]) -> str:
    """What the engine does about an error, in words."""
    return next(words for kind in outcome.__mro__ if (words := _WORDS.get(kind)) is not None)


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
