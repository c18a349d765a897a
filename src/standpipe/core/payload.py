"""From a dict to the bytes that are sent, with an error that names the field when it cannot be done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import orjson

from standpipe.core.errors import EncodingError

_dumps = orjson.dumps
_APPEND_NEWLINE = orjson.OPT_APPEND_NEWLINE
_BRACE = ord("{")


def encode(message: dict[str, Any]) -> bytes:
    """The JSON encoding (UTF-8, one line) of one message.

    Raises EncodingError for anything but a dict, for values JSON has no word for (sets, bytes, NaN, infinities, integers
    beyond 64 bits, lone surrogates) and for keys that are not text. Thread-safe.
    """
    try:
        # The slice is a copy on purpose: what orjson returns holds on to its working buffer, several times the size,
        # and keeping many of those makes the allocator ten times slower.
        payload = _dumps(message, None, _APPEND_NEWLINE)[:-1]
    except TypeError as error:
        raise _explain(message, error) from None
    if payload[0] != _BRACE:
        raise _explain(message, None)
    if payload.rfind(b"null") >= 0:  # orjson writes NaN and infinities as null; `rfind` is the quickest search for short bytes
        _refuse_non_finite(message)
    return payload


def encode_many(messages: Sequence[dict[str, Any]]) -> bytes:
    """The encodings of several messages, one a line, without a newline at the end. Raises as `encode`, for all or none."""
    try:
        payloads = [_dumps(message, None, _APPEND_NEWLINE)[:-1] for message in messages]
    except TypeError:
        return b"\n".join([encode(message) for message in messages])
    if set(map(type, messages)) - {dict} and not all(isinstance(message, dict) for message in messages):
        return b"\n".join([encode(message) for message in messages])
    joined = b"\n".join(payloads)
    if joined.rfind(b"null") >= 0:  # the quickest search for long bytes, too
        for message in messages:
            _refuse_non_finite(message)
    return joined


def _refuse_non_finite(message: dict[str, Any]) -> None:
    found = _find(message, "message", lambda value: isinstance(value, float) and not math.isfinite(value))
    if found is not None:
        raise EncodingError(f"{found[0]} is {found[1]!r}, which JSON cannot say; send a number, a text or None")


def _explain(message: object, error: Exception | None) -> EncodingError:
    if not isinstance(message, dict):
        return EncodingError(f"a message must be a dict, not {type(message).__name__}")
    found = _find(message, "message", _cannot_encode)
    if found is None:
        return EncodingError(f"the message cannot be encoded as JSON: {error}")
    return EncodingError(f"{found[0]} cannot be encoded as JSON: {error}")


def _cannot_encode(value: object) -> bool:
    if isinstance(value, (dict, list, tuple)):
        return False
    try:
        _dumps(value)
    except TypeError:
        return True
    return False


def _find(value: Any, path: str, is_fault: Any, depth: int = 0, seen: set[int] | None = None) -> tuple[str, Any] | None:
    """The path and value of the first fault within `value`, depth first."""
    if is_fault(value):
        return path, value
    # Each container is looked at once: something that contains itself twice has more paths than anybody can walk.
    seen = set() if seen is None else seen
    if depth > 100 or id(value) in seen:
        return None
    if isinstance(value, dict):
        seen.add(id(value))
        for key, inner in value.items():
            if not isinstance(key, str):
                return f"the key {key!r} of {path}", key
            if (found := _find(inner, f"{path}[{key!r}]", is_fault, depth + 1, seen)) is not None:
                return found
    elif isinstance(value, (list, tuple)):
        seen.add(id(value))
        for index, inner in enumerate(value):
            if (found := _find(inner, f"{path}[{index}]", is_fault, depth + 1, seen)) is not None:
                return found
    return None
