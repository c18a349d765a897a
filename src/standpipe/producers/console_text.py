"""Messages as text that is safe to show: nothing in a message can move the cursor, change colours or hide other lines."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import orjson

# DEL, the C1 controls (some terminals take U+009B for "ESC ["), line separators, and marks that reorder text.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
_PLAIN = re.compile(r"[^\s\"'={}\[\],]+")

RESET, DIM, RED, CYAN = "\x1b[0m", "\x1b[2m", "\x1b[31;1m", "\x1b[36m"


def escaped(text: str) -> str:
    """`text` with every character that a terminal would act on as `\\u009b`, as JSON writes it."""
    return _HARMFUL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def pretty(message: dict[str, Any], is_error: bool, key: str | None, time: float, colours: bool) -> str:
    """One line for people: the time (UTC), `ERROR` for error messages, the key, then the fields."""
    parts = [_coloured(datetime.fromtimestamp(time, UTC).strftime("%H:%M:%S.%f")[:-3], DIM, colours)]
    if is_error:
        parts.append(_coloured("ERROR", RED, colours))
    if key is not None:
        parts.append(_coloured(f"[{_value(key)}]", DIM, colours))
    parts += [f"{_coloured(_value(name), CYAN, colours)}={_value(value)}" for name, value in message.items()]
    return " ".join(parts)


def _value(value: Any) -> str:
    """A text without quotes where nothing can be misunderstood, otherwise JSON."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) is not None and _HARMFUL.search(value) is None:
        return value
    return escaped(orjson.dumps(value).decode())


def _coloured(text: str, colour: str, colours: bool) -> str:
    return f"{colour}{text}{RESET}" if colours else text
