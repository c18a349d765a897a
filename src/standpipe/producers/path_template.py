"""Paths with fields in them: `logs/{service}/{time:%Y-%m-%d}.jsonl`.

Rules, so that no message decides where it is written but only under which name inside the folder that the user named:

1. What stands before the first field names a folder, the base. Nothing is ever written outside of it.
2. The value of a field becomes part of one file or folder name: everything but letters, digits, `_`, `-` and inner dots is
   written as `%2F` and the like. Different values never get the same name.
3. Folders, links and special files that somebody planted inside are not followed (see `confined_folder.py`).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from standpipe.producers.template_fields import MESSAGE_ID, MESSAGE_KEY, ErrorField, MessageField, TimeField, Times, parse_template

NAME_BYTES_MAX = 255
"""Bytes of a file name on every common file system (NAME_MAX of Linux and macOS)."""
RESERVED_BYTES = 40
"""Bytes kept free for what rotation appends: `.20261123T130000Z-0000.gz.tmp`."""
VALUE_LENGTH_MAX = 100
"""Characters of one value in a name; longer ones are cut and get a digest. A name that people can still read in a listing."""
VALUE_LENGTH_MIN = 48
"""A value must have room for its beginning and 32 digits of digest, else the template puts too much into one name."""

_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\..*)?", re.IGNORECASE)
_LOOKS_ROTATED = re.compile(r"\.(?:torn|[0-9]{8}T[0-9]{6}Z-[0-9]{4}(?:\.gz(?:\.tmp)?)?)\Z")

_SAMPLE_TIME = datetime(2026, 11, 23, 13, 5, 9, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Value:
    names: tuple[str, ...]
    longest: int


_Part = str | TimeField | ErrorField | _Value


@lru_cache(maxsize=4096)
def escape(value: str, longest: int = VALUE_LENGTH_MAX) -> str:
    """`value` as a part of a file name: safe on every system, different for different values, at most `longest` characters.

    `%` and two digits stand for a byte (as in URLs), `%empty` for no text, `%~` and a digest for the rest of a long text.
    """
    if not value:
        return "%empty"
    safe = _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], value.encode("utf-8", "surrogatepass")).decode("ascii")
    if safe[0] in ".-" or _DEVICE.fullmatch(safe):
        safe = f"%{ord(safe[0]):02X}{safe[1:]}"
    if safe[-1] == ".":
        safe = f"{safe[:-1]}%2E"
    if len(safe) <= longest:
        return safe
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{safe[: longest - 34]}%~{digest}"


class PathTemplate:
    """A path that the user wrote, with or without fields. Raises ValueError, with the remedy, if it cannot be one.

    Not thread-safe: it remembers the last time it wrote out.
    """

    def __init__(self, text: str, missing: str = "_") -> None:
        self.text = text
        self._missing = missing
        self._times = Times()
        parts = _parse(os.path.expanduser(_checked(text)))
        self.is_plain = all(isinstance(part, str) for part in parts)
        """Whether there are no fields: one file."""
        values = [part.names for part in parts if isinstance(part, _Value)]
        self.uses_message = any(names not in (MESSAGE_ID, MESSAGE_KEY) for names in values)
        """Whether the message itself has to be looked at."""
        self.uses_details = any(names in (MESSAGE_ID, MESSAGE_KEY) for names in values)
        """Whether the message's id or key has to be known."""
        self.base, self._parts = ("", parts) if self.is_plain else _split_base(text, parts)
        """The folder that nothing leaves; of a plain path it is empty."""
        if not self.is_plain:
            self._parts = _with_room(text, self._parts)
            _check_names(text, self.render({}, False, _SAMPLE_TIME.timestamp()))

    def render(self, message: Mapping[str, Any], is_error: bool, time: float, *, id: str = "", key: str | None = None) -> str:
        """The path of one message, relative to `base`. `time` is seconds since 1970; fields of time are in UTC."""
        if self.uses_details:
            message = {**message, MESSAGE_ID[0]: id, MESSAGE_KEY[0]: key}
        path = "".join([part if isinstance(part, str) else self._text(part, message, is_error, time) for part in self._parts])
        if (self.uses_message or self.uses_details) and _LOOKS_ROTATED.search(path):
            return path + "%"  # never the name of a file that rotation made, which would be compressed and removed
        return path

    def _text(self, part: _Part, message: Mapping[str, Any], is_error: bool, time: float) -> str:
        if isinstance(part, _Value):
            return self._value(part, message)
        if isinstance(part, TimeField):
            return self._times.text(part, time)
        return "error" if is_error else "normal"

    def _value(self, part: _Value, message: Mapping[str, Any]) -> str:
        found: Any = message
        for name in part.names:
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, str):
            return escape(found, part.longest)
        if isinstance(found, bool):
            return "true" if found else "false"
        if isinstance(found, (int, float)):
            return escape(repr(found), part.longest)
        return self._missing


def _checked(text: str) -> str:
    if not text.strip():
        raise ValueError("the path is empty; name a file such as logs/app.jsonl")
    if "\x00" in text:
        raise ValueError(f"{text!r} cannot be a path: it contains a NUL character")
    if text.endswith("/"):
        raise ValueError(f"{text!r} names a folder; add a file name, such as {text}app.jsonl")
    return text


def _parse(text: str) -> list[_Part]:
    return [_Value(part.names, VALUE_LENGTH_MAX) if isinstance(part, MessageField) else part for part in parse_template(text, "paths")]


def _split_base(text: str, parts: list[_Part]) -> tuple[str, list[_Part]]:
    """What stands before the last slash before the first field, and the rest."""
    count = next(index for index, part in enumerate(parts) if not isinstance(part, str))
    folder, slash, begin = "".join(str(part) for part in parts[:count]).rpartition("/")
    if not slash or not folder.strip("/"):
        example = f"logs/{text.lstrip('/')}"
        raise ValueError(f"{text!r} must begin with a folder of its own, which no message can leave; write for example {example}")
    return folder, [begin, *parts[count:]] if begin else parts[count:]


def _with_room(text: str, parts: list[_Part]) -> list[_Part]:
    """The parts, each value limited so that no name gets longer than a file system can hold."""
    pieces: list[list[_Part]] = [[]]
    for part in parts:
        if not isinstance(part, str):
            pieces[-1].append(part)
            continue
        first, *others = part.split("/")
        pieces[-1].append(first)
        for other in others:
            pieces.append([other])
    for number, piece in enumerate(pieces):
        pieces[number] = _limited(text, piece)
    joined: list[_Part] = []
    for number, piece in enumerate(pieces):
        joined += ["/", *piece] if number else piece
    return [part for part in joined if part != ""]


def _limited(text: str, piece: list[_Part]) -> list[_Part]:
    values = sum(isinstance(part, _Value) for part in piece)
    fixed = sum(_fixed_length(part) for part in piece)
    room = NAME_BYTES_MAX - RESERVED_BYTES - fixed
    longest = min(VALUE_LENGTH_MAX, room // values) if values else VALUE_LENGTH_MAX
    if room < 0 or longest < VALUE_LENGTH_MIN:
        raise ValueError(f"{text!r} puts too much into one name; put a slash between the fields, so that each gets a folder")
    return [_Value(part.names, longest) if isinstance(part, _Value) else part for part in piece]


def _fixed_length(part: _Part) -> int:
    if isinstance(part, str):
        return len(part.encode())
    if isinstance(part, TimeField):
        return len(_SAMPLE_TIME.strftime(part.format))
    return len("normal") if isinstance(part, ErrorField) else 0


def _check_names(text: str, rendered: str) -> None:
    for name in rendered.split("/"):
        if name in ("", ".", ".."):
            raise ValueError(f"{text!r}: {name!r} cannot be a name after the first field; write the path without '//', '.' and '..'")
