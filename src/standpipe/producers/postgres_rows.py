"""Messages as rows: for each column a list of texts, which the server reads as values of the column's type.

Everything travels as text, in parameters or in the data of COPY, never as a part of a statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import compress
from typing import Any

import orjson

from standpipe.core.errors import Reject
from standpipe.delivery.batch import Batch
from standpipe.producers.postgres_config import Meaning

Texts = list[str | None]

LAST_OF_MINUTE = 59.999999
"""Seconds from which on a time counts as the next minute's: rounded, it would have 60 seconds."""

SHOWN_MAX = 60
"""Characters of a value that are shown in a reason."""

RANGES = {"int2": 2**15, "int4": 2**31, "int8": 2**63}
"""Whole numbers of these types are from minus this up to, but not including, this."""

_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,30}\s*")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table, and what of a message goes into it."""

    name: str
    cast: str
    """its type as SQL, without length: what is too long must be an error, and a cast would cut it off"""
    category: str
    """of its type, one letter as in `pg_type`: S text, N number, B boolean, D date or time, A array, ..."""
    kind: str
    """the name of its type, or of the one under a domain: `int4`, `jsonb`"""
    required: bool
    """it takes no null"""
    meaning: Meaning | None
    """what it holds besides fields of the message; None: a field"""
    path: str = ""
    """of the field, as the user has written it"""
    steps: tuple[str | int, ...] = ()
    """the same, taken apart"""

    @property
    def is_payload(self) -> bool:
        """Whether it holds the whole message: a line of JSON."""
        return self.meaning == "payload"

    @property
    def is_field(self) -> bool:
        """Whether it holds a field, so that messages must be decoded."""
        return self.meaning is None

    @property
    def is_json(self) -> bool:
        """Whether its values are JSON."""
        return self.kind in ("json", "jsonb")


class Rows:
    """The rows of one table: `positions` are those of their messages in the batch."""

    def __init__(self, columns: Sequence[Column], texts: list[Texts], positions: Sequence[int]) -> None:
        self.columns = columns
        self.texts = texts
        self.positions = positions

    def part(self, start: int, stop: int) -> Rows:
        """Rows `start` to `stop` (excluded)."""
        return Rows(self.columns, [texts[start:stop] for texts in self.texts], self.positions[start:stop])

    def parameters(self) -> list[str]:
        """One for each column: the payloads line by line, the others as literals of arrays."""
        return [
            "\n".join(texts) if column.is_payload else array_literal(texts)  # type: ignore[arg-type]
            for column, texts in zip(self.columns, self.texts, strict=True)
        ]

    def copy_data(self) -> str:
        """All rows in the text format of COPY."""
        lines = map("\t".join, zip(*map(_for_copy, self.texts), strict=True))
        return "\n".join(lines) + "\n"


def rows_of(batch: Batch, columns: Sequence[Column], positions: Sequence[int], faults: dict[int, Reject]) -> Rows:
    """The messages of `batch` as rows, without those that cannot be: why stands in `faults`, under their position."""
    contents = batch.contents() if any(column.is_field for column in columns) else []
    texts = []
    bad: dict[int, Reject] = {}
    for column in columns:
        if column.is_field:
            texts.append(_fields(column, contents, bad))
        elif column.is_payload:
            texts.append(_payloads(batch, column, bad))
        else:
            texts.append(_metadata(batch, column))
            _check(column, texts[-1], bad)
    if bad:
        faults.update((positions[index], fault) for index, fault in bad.items())
        kept = [index not in bad for index in range(batch.count)]
        texts = [list(compress(each, kept)) for each in texts]
        positions = list(compress(positions, kept))
    return Rows(columns, texts, positions)


# --- what is beside the message ---------------------------------------------------------------------------------------


def _metadata(batch: Batch, column: Column) -> Texts:
    if column.meaning == "id":
        return list(batch.ids())
    if column.meaning == "time":
        return _times(batch, column)
    if column.meaning == "is_error":
        words = ("0", "1") if column.category == "N" else ("false", "true")
        return [words[flag] for flag in batch.is_errors()]
    if column.meaning == "key":
        return batch.keys()
    return _headers(batch)


def _payloads(batch: Batch, column: Column, bad: dict[int, Reject]) -> Texts:
    data = batch.jsonl()[:-1]
    texts: Texts = list(data.decode().split("\n"))
    if b"\\u0000" in data:
        _check(column, texts, bad)
    return texts


def _times(batch: Batch, column: Column) -> Texts:
    if column.category == "N":
        return [str(int(time)) if column.kind in RANGES else repr(time) for time in batch.times()]
    return time_texts(batch.times())


def _headers(batch: Batch) -> Texts:
    if [receipt._more for receipt, _, _ in batch.slices].count(None) == len(batch.slices):
        return [None] * batch.count
    found: Texts = []
    for receipt, start, stop in batch.slices:
        headers = receipt._more.headers if receipt._more is not None else None
        found += [orjson.dumps(headers).decode() if headers else None] * (stop - start)
    return found


def time_texts(times: Iterable[float]) -> Texts:
    """Seconds since 1970 as `2026-11-23 13:00:00.123456+00`."""
    found: Texts = []
    minute, shown = float("-inf"), ""
    last, text = None, ""
    for time in times:
        if time != last:  # what came together has the same
            last = time
            if not 0.0 <= (since := time - minute) < LAST_OF_MINUTE:
                minute = (time + 60.0 - LAST_OF_MINUTE) // 60.0 * 60.0
                since = max(0.0, time - minute)
                shown = datetime.fromtimestamp(minute, UTC).strftime("%Y-%m-%d %H:%M:")
            text = "%s%09.6f+00" % (shown, since)  # noqa: UP031 - this is made for every message, and quicker
        found.append(text)
    return found


def _check(column: Column, texts: Texts, bad: dict[int, Reject]) -> None:
    """What PostgreSQL cannot store as text or JSON; seldom there, and quickly not found."""
    if column.meaning in ("id", "key"):
        if _any_holds(texts, "\x00"):
            for index, text in enumerate(texts):
                if text is not None and "\x00" in text:
                    bad[index] = Reject(f"column {column.name!r}: {_shown(text)} holds the character U+0000, which PostgreSQL cannot store")
    elif column.kind == "jsonb" and _any_holds(texts, "\\u0000"):
        for index, text in enumerate(texts):
            if text is not None and _NUL.search(text) is not None:
                bad[index] = Reject(
                    f"column {column.name!r}: a text holds the character U+0000, which jsonb cannot; make the column json, or "
                    "remove the character before the message is produced"
                )
    if column.required and None in texts:
        for index, text in enumerate(texts):
            if text is None:
                bad[index] = Reject(f"column {column.name!r} must have a value, and the message has no {column.meaning}")


def _any_holds(texts: Texts, what: str) -> bool:
    return what in "".join(filter(None, texts))


# --- fields -----------------------------------------------------------------------------------------------------------


class _Unfit(Exception):
    """Why a value cannot go into a column."""


def _fields(column: Column, contents: list[dict[str, Any]], bad: dict[int, Reject]) -> Texts:
    steps, converted = column.steps, _converter(column)
    name = str(steps[0]) if len(steps) == 1 else None
    found: Texts = []
    for index, content in enumerate(contents):
        value = content.get(name) if name is not None else value_at(content, steps)
        text = None
        try:
            text = None if value is None else converted(value)
            if text is None and column.required:
                raise _Unfit("is missing, and the column must have a value")
        except _Unfit as why:
            bad[index] = Reject(f"column {column.name!r}: the field {column.path!r} {why}")
        found.append(text)
    return found


def value_at(content: Any, steps: Sequence[str | int]) -> Any:
    """What `steps` lead to; None if they lead nowhere."""
    for step in steps:
        if isinstance(step, str):
            content = content.get(step) if isinstance(content, dict) else None
        else:
            content = content[step] if isinstance(content, list) and step < len(content) else None
    return content


def _converter(column: Column) -> Callable[[Any], str | None]:
    """From a value of JSON to the text that the server reads; what is plainly wrong is found here, without asking the server."""
    if column.is_json:
        return _jsonb if column.kind == "jsonb" else _json
    if column.kind in RANGES:
        return lambda value: _whole(value, column.kind)
    by_category = {"N": _number, "B": _boolean, "D": _moment, "A": _array}
    return by_category.get(column.category, _text)


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return _json(value)
    if "\x00" in value:
        raise _Unfit(f"is {_shown(value)}: PostgreSQL cannot store the character U+0000")
    return value


def _json(value: Any) -> str | None:
    return orjson.dumps(value).decode()


def _jsonb(value: Any) -> str | None:
    text = orjson.dumps(value).decode()
    if "\\u0000" in text and _NUL.search(text) is not None:
        raise _Unfit("holds the character U+0000, which jsonb cannot store")
    return text


def _whole(value: Any, kind: str) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value) is not None:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Unfit(f"is {_shown(value)}, which is no whole number")
    if not -RANGES[kind] <= value < RANGES[kind]:
        raise _Unfit(f"is {value}, which is out of the range of {kind}")
    return str(value)


def _number(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _Unfit(f"is {_shown(value)}, which is no number")
    return _text(value) if isinstance(value, str) else repr(value)


def _boolean(value: Any) -> str | None:
    if not isinstance(value, (bool, str)) and value not in (0, 1):
        raise _Unfit(f"is {_shown(value)}, which is neither true nor false")
    return _text(value) if isinstance(value, str) else "true" if value else "false"


def _moment(value: Any) -> str | None:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Unfit(f"is {_shown(value)}, which is no time; write text such as 2026-11-23T13:00:00Z, or seconds since 1970")
    try:
        return datetime.fromtimestamp(value, UTC).isoformat(" ")
    except (OverflowError, ValueError, OSError):
        raise _Unfit(f"is {value!r}: that many seconds since 1970 are no time") from None


def _array(value: Any) -> str | None:
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, list):
        raise _Unfit(f"is {_shown(value)}, which is no list")
    return "{" + ",".join("NULL" if each is None else _element(each) for each in value) + "}"


def _element(value: Any) -> str:
    return (_array(value) or "") if isinstance(value, list) else _quoted(_text(value) or "")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "..."


# --- on the wire ------------------------------------------------------------------------------------------------------


def array_literal(texts: Sequence[str | None]) -> str:
    """A list as PostgreSQL writes arrays: `{"a","b",NULL}`."""
    if None not in texts:
        joined = '","'.join(texts)  # type: ignore[arg-type]
        if "\\" not in joined and joined.count('"') == 2 * len(texts) - 2:
            return '{"' + joined + '"}'
    return "{" + ",".join(["NULL" if text is None else _quoted(text) for text in texts]) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _for_copy(texts: Texts) -> list[str]:
    nulls = texts.count(None)
    if nulls == len(texts):
        return ["\\N"] * nulls
    joined = "".join(filter(None, texts))
    plain = not any(special in joined for special in "\\\t\n\r")
    if plain and not nulls:
        return texts  # type: ignore[return-value]
    return ["\\N" if text is None else text if plain else _escaped(text) for text in texts]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
