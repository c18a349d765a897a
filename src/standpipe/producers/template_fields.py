"""The one syntax for texts with fields in them: `logs/{service}/{time:%Y-%m-%d}.jsonl`, `orders.{customer.region}`.

A field is one of the message (`{user.id}`), its id (`{@id}`) or key (`{@key}`), `{time}` with an optional format (when it
was accepted, UTC), or `{is_error}` (`error` or `normal`); `{{` and `}}` are braces. What a template may be used for, and
what values may stand in it, is decided where it is used: `path_template.py` for files, `text_template.py` for topics,
subjects and the like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_FIELD_NAME = re.compile(r"[^\s.{}:/\x00-\x1f]+(?:\.[^\s.{}:/\x00-\x1f]+)*")
_TIME_FORMAT = re.compile(r"(?:%[YmdHMSyjGVuUW]|[A-Za-z0-9._/=+-])+")

MESSAGE_ID = ("@id",)
MESSAGE_KEY = ("@key",)
"""Names of fields that are not in the message but beside it."""


@dataclass(frozen=True, slots=True)
class TimeField:
    """When the message was accepted, in UTC, as `strftime` writes it in `format`."""

    format: str


@dataclass(frozen=True, slots=True)
class ErrorField:
    """`error` or `normal`."""


@dataclass(frozen=True, slots=True)
class MessageField:
    """A field of the message; each of `names` leads one mapping deeper."""

    names: tuple[str, ...]


Part = str | TimeField | ErrorField | MessageField
"""What a template consists of; a str is text as it stands."""


def parse_template(text: str, purpose: str) -> list[Part]:
    """The parts of `text`, without empty ones. Raises ValueError that names the text and the remedy.

    `purpose`: what the template is for, in the plural, for errors: `paths`, `topics`.
    """
    parts: list[Part] = []
    position = 0
    for match in _FIELD.finditer(text):
        parts.append(text[position : match.start()])
        position = match.end()
        if match[0] in ("{{", "}}"):
            parts.append(match[0][0])
        elif match[1] is None:
            raise ValueError(f"{text!r}: a {match[0]!r} stands alone; write fields as {{name}}, and a brace as {match[0] * 2}")
        else:
            parts.append(_field(text, match[1], purpose))
    return [part for part in [*parts, text[position:]] if part != ""]


def _field(text: str, content: str, purpose: str) -> Part:
    name, colon, time_format = content.partition(":")
    if name == "time":
        return TimeField(_time_format(text, time_format if colon else "%Y-%m-%d", purpose))
    if colon:
        raise ValueError(f"{text!r}: only time takes a format, as in {{time:%Y-%m-%d}}; write {{{name}}}")
    if name == "is_error":
        return ErrorField()
    if _FIELD_NAME.fullmatch(name) is None:
        raise ValueError(f"{text!r}: {content!r} is not the name of a field; write a name such as {{service}} or {{user.id}}")
    return MessageField(tuple(name.split(".")))


def _time_format(text: str, time_format: str, purpose: str) -> str:
    if _TIME_FORMAT.fullmatch(time_format) is None:
        raise ValueError(
            f"{text!r}: {time_format!r} is not a time format for {purpose}; "
            "use %Y %m %d %H %M %S %j %G %V and letters, digits, and any of . _ / = + -"
        )
    return time_format


class Times:
    """Writes times out, remembering those of the last second. Not thread-safe."""

    def __init__(self) -> None:
        self._second = -1
        self._texts: dict[str, str] = {}

    def text(self, field: TimeField, time: float) -> str:
        """`time`, seconds since 1970, as `field` says."""
        second = int(time // 1)
        if second != self._second:
            self._second = second
            self._texts.clear()
        text = self._texts.get(field.format)
        if text is None:
            text = self._texts[field.format] = datetime.fromtimestamp(second, UTC).strftime(field.format)
        return text
