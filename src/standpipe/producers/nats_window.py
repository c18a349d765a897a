"""The messages that are published and not acknowledged, and what becomes of each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from standpipe.core.outcome import Outcome
from standpipe.producers.nats_errors import ERRORS, Denied, DeniedForIt, NoStream, NotAnAcknowledgement, Refused

NO_RESPONDERS = "503"
"""The status with which a server answers in place of a stream that is not there."""

Result = Outcome | BaseException


class Sending:
    """One batch on its way: what became of each message so far."""

    __slots__ = ("details", "done", "left", "number", "results", "subjects")

    def __init__(self, number: int, subjects: Sequence[str], details: bool, done: asyncio.Future[None]) -> None:
        self.number = number
        self.subjects = subjects
        self.results: list[Result | None] = [None] * len(subjects)
        self.details: list[dict[str, Any] | None] | None = [None] * len(subjects) if details else None
        self.left = len(subjects)
        self.done = done

    def settle(self, position: int, result: Result) -> None:
        """What became of a message; the first word counts."""
        if self.results[position] is None:
            self.results[position] = result
            self.left -= 1
            if not self.left and not self.done.done():
                self.done.set_result(None)

    def settle_all(self, result: Result) -> None:
        """The same for all messages that nothing is known of."""
        for position in range(len(self.results)):
            self.settle(position, result)


class Window:
    """Finds the message to an acknowledgement. Acknowledgements come to `inbox`; the end of their subject says which it is."""

    def __init__(self, inbox: str, details: bool, is_one_way: bool) -> None:
        self._inbox = inbox
        self._skip = len(inbox) + 1
        self._details = details
        self._is_one_way = is_one_way
        self._open: dict[int, Sending] = {}
        self._number = 0

    @property
    def filter(self) -> str:
        """The subjects to subscribe to."""
        return f"{self._inbox}.*.*"

    def begin(self, subjects: Sequence[str]) -> Sending:
        """A batch will be published."""
        self._number += 1
        sending = Sending(self._number, subjects, self._details, asyncio.get_running_loop().create_future())
        self._open[self._number] = sending
        return sending

    def end(self, sending: Sending) -> None:
        """Nothing is expected any more."""
        self._open.pop(sending.number, None)

    def reply_to(self, sending: Sending) -> str:
        """Where acknowledgements of a batch go; a dot and the position of the message follow."""
        return f"{self._inbox}.{sending.number}"

    def take(self, subject: str, data: bytes, headers: Mapping[str, str] | None) -> None:
        """An acknowledgement, or another answer. What is none of ours is ignored."""
        number, _, position = subject[self._skip :].partition(".")
        sending = self._open.get(int(number)) if number.isdecimal() else None
        if sending is not None and position.isdecimal() and int(position) < len(sending.results):
            self._read(sending, int(position), data, headers)

    def _read(self, sending: Sending, position: int, data: bytes, headers: Mapping[str, str] | None) -> None:
        subject = sending.subjects[position]
        if headers and headers.get("Status") == NO_RESPONDERS:
            sending.settle(position, ERRORS.translate(NoStream(subject)))
            return
        try:
            found = orjson.loads(data)
            if "error" in found:
                sending.settle(position, _refusal(found["error"], subject))
                return
            stream, sequence = found["stream"], found["seq"]
        except (ValueError, KeyError, TypeError, AttributeError):
            sending.settle(position, ERRORS.translate(NotAnAcknowledgement(subject)))
            return
        if sending.details is not None:
            sending.details[position] = {"stream": stream, "sequence": sequence, "duplicate": found.get("duplicate") is True}
        sending.settle(position, Outcome.DELIVERED)

    def on_denied(self, subject: str) -> None:
        """The server has thrown away messages of a subject, which is given in lower case."""
        failure = ERRORS.translate((Denied if self._is_one_way else DeniedForIt)(subject))
        for sending in list(self._open.values()):
            for position, other in enumerate(sending.subjects):
                if other.lower() == subject:
                    sending.settle(position, failure)

    def on_ended(self, error: BaseException) -> None:
        """The connection has ended: what is not acknowledged may have arrived."""
        failure = ERRORS.translate(error)
        for sending in list(self._open.values()):
            sending.settle_all(failure)


def _refusal(error: Any, subject: str) -> BaseException:
    code, status = int(error.get("err_code", 0)), int(error.get("code", 0))
    return ERRORS.translate(Refused(code, status, f"{subject}: {error.get('description', 'no reason given')}"))
