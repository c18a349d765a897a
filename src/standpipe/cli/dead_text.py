"""Dead letters for people and for programs."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson

from standpipe.cli.output import number_of, printable, table
from standpipe.core.dead_letter import DeadLetter
from standpipe.spool.dead_letter_table import Status, StoredLetter

ERROR_WIDTH = 60
"""Characters of an error in the list; `show` has all of it."""


def entry(letter: DeadLetter, *, with_payload: bool = True) -> dict[str, Any]:
    """Everything about a letter, for JSON; times are seconds since 1970. A payload that is no JSON is given in base64."""
    found: dict[str, Any] = {
        "id": letter.id,
        "producer": letter.producer,
        "destination": letter.destination,
        "reason": letter.reason.value,
        "error": letter.error,
        "attempts": letter.attempts,
        "accepted_at": letter.accepted_at,
        "first_attempt_at": letter.first_attempt_at,
        "last_attempt_at": letter.last_attempt_at,
        "replays": letter.replays,
        "is_error": letter.is_error,
        "key": letter.key,
        "headers": dict(letter.headers) if letter.headers is not None else None,
    }
    if isinstance(letter, StoredLetter):
        found |= {"times": letter.times, "status": letter.status.value}
    if with_payload:
        found |= {"response": letter.response, "traceback": letter.traceback} | _payload("message", letter.payload)
        if isinstance(letter, StoredLetter) and letter.original is not None:
            found |= _payload("original", letter.original)
    return found


def _payload(name: str, payload: bytes) -> dict[str, Any]:
    if decoded(payload) is None:
        return {f"{name}_base64": base64.b64encode(payload).decode()}
    return {name: orjson.Fragment(payload)}


def decoded(payload: bytes) -> dict[str, Any] | None:
    """The message in a payload, None if there is none."""
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def pretty(payload: bytes) -> str:
    """A payload for reading and editing: JSON with indents, or, if it is none, what can be shown of it."""
    content = decoded(payload)
    if content is None:
        return payload.decode("utf-8", "backslashreplace")
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()


def list_lines(letters: Sequence[StoredLetter]) -> list[str]:
    """A table of letters."""
    header = ("id", "producer", "reason", "put aside", "error", "attempts", "replays")
    return table(header, map(_row, letters), text_columns=5)


def _row(letter: StoredLetter) -> tuple[object, ...]:
    error = letter.error or ""
    shown = error if len(error) <= ERROR_WIDTH else error[: ERROR_WIDTH - 3] + "..."
    reason = letter.reason.value + (", being replayed" if letter.status is Status.REPLAYING else "")
    return (letter.id, letter.producer, reason, _time(letter.last_attempt_at), shown, letter.attempts, letter.replays)


def show_lines(letter: StoredLetter) -> list[str]:
    """Everything about a letter."""
    lines = [f"{name:<13} {printable(value)}" for name, value in _facts(letter)]
    for title, text in _texts(letter):
        lines += ["", f"{title}:", *(f"  {printable(line)}" for line in text.rstrip("\n").split("\n"))]
    return lines


def _facts(letter: StoredLetter) -> Iterator[tuple[str, str]]:
    yield "id", letter.id
    yield "producer", letter.producer
    yield "destination", letter.destination
    yield "reason", letter.reason.value
    if letter.error is not None:
        yield "error", letter.error
    yield "attempts", str(letter.attempts)
    yield "accepted", _time(letter.accepted_at)
    if letter.first_attempt_at is not None:
        yield "first attempt", _time(letter.first_attempt_at)
    again = f", {number_of(letter.times, 'time')} in all" if letter.times > 1 else ""
    yield "put aside", _time(letter.last_attempt_at) + again
    if letter.replays or letter.status is Status.REPLAYING:
        yield (
            "replayed",
            number_of(letter.replays, "time") + (", the last one is under way or was interrupted" * (letter.status is Status.REPLAYING)),
        )
    yield "is error", "yes" if letter.is_error else "no"
    if letter.key is not None:
        yield "key", letter.key
    for name, value in (letter.headers or {}).items():
        yield "header", f"{name}: {value}"


def _texts(letter: StoredLetter) -> Iterator[tuple[str, str]]:
    kind = "" if decoded(letter.payload) is not None else ", no JSON"
    yield f"message ({number_of(len(letter.payload), 'byte')}{kind})", pretty(letter.payload)
    if letter.original is not None:
        yield "message before it was edited", pretty(letter.original)
    if letter.response:
        yield "response", letter.response
    if letter.traceback:
        yield "traceback", letter.traceback


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):  # somebody's clock was far off
        return f"{seconds:.0f} s"
