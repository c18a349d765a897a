"""Metadata of messages inside their records: `{"is_error":false,` followed by what the application sent.

The payload is not decoded: the fields are spliced in behind its first brace. Only a record that seems to have a field of
the same name itself is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator

from standpipe.delivery.batch import Batch

Metadata = Literal["is_error", "id", "key", "time", "headers"]
"""What of a message, besides its payload, a record can have."""

FIELD_NAME = re.compile(r"[A-Za-z_@][A-Za-z0-9_@.-]{0,99}")
"""Names that metadata may get in a record: they need no escapes in JSON."""


def _named(value: list[Metadata] | dict[Metadata, str] | None) -> list[Metadata] | dict[Metadata, str] | None:
    names = list(value.values()) if isinstance(value, dict) else list(value or ())
    for name in names:
        if FIELD_NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} cannot name a field in a record; use up to 100 letters, digits and '_', '@', '.', '-'")
    if len(set(names)) != len(names):
        raise ValueError(f"{', '.join(names)}: each field needs a name of its own")
    return value


FieldsSetting = Annotated[list[Metadata] | dict[Metadata, str] | None, AfterValidator(_named)]
"""The setting `fields`: which metadata records have, under their own or other names; None: what the producer has by default."""


def field_names(fields: FieldsSetting, default: Mapping[Metadata, str]) -> dict[Metadata, str]:
    """What each record says about its message, under which name."""
    if fields is None:
        return dict(default)
    return dict(fields) if isinstance(fields, dict) else {name: name for name in fields}


class RecordFields:
    """Writes batches as JSON Lines with metadata in front. `names` maps each wanted metadata to the field's name.

    The metadata wins over a field of the same name in the message; no record ever has a field twice. Immutable, thread-safe.
    """

    def __init__(self, names: Mapping[Metadata, str]) -> None:
        self._names = dict(names)
        self._taken = frozenset(names.values())
        self._seek = re.compile(b'"(?:' + b"|".join(re.escape(name.encode()) for name in names.values()) + b')":').search
        self._flag_only = list(names) == ["is_error"]
        flag = names.get("is_error", "")
        self._prefixes = tuple(f'{{"{flag}":{word},'.encode() for word in ("false", "true"))

    def jsonl(self, batch: Batch) -> bytes:
        """The batch as JSON Lines, each line ended by a newline."""
        data = batch.jsonl()
        if not self._names:
            return data
        if not self._flag_only:
            return self._each(batch, self._all_prefixes(batch))
        flags = batch.is_errors()
        flag = flags[0]
        if (not flag) in flags or self._seek(data) is not None:
            return self._each(batch, [self._prefixes[flag] for flag in flags])
        return _splice_all(data, self._prefixes[flag])

    def _each(self, batch: Batch, prefixes: list[bytes]) -> bytes:
        records = [
            self._record(prefix, line) if self._seek(line) is not None else _splice(prefix, line)
            for prefix, line in zip(prefixes, batch.payloads(), strict=True)
        ]
        records.append(b"")
        return b"\n".join(records)

    def _record(self, prefix: bytes, line: bytes) -> bytes:
        """A record that mentions a name of ours: in the message itself, or deeper inside, where it does not matter."""
        message: dict[str, Any] = orjson.loads(line)
        if self._taken.isdisjoint(message):
            return _splice(prefix, line)
        return _splice(prefix, orjson.dumps({name: value for name, value in message.items() if name not in self._taken}))

    def _all_prefixes(self, batch: Batch) -> list[bytes]:
        columns = [self._column(metadata, batch) for metadata in self._names]
        names = list(self._names.values())
        return [orjson.dumps(dict(zip(names, values, strict=True)))[:-1] + b"," for values in zip(*columns, strict=True)]

    def _column(self, metadata: Metadata, batch: Batch) -> list[Any]:
        if metadata == "is_error":
            return list(batch.is_errors())
        if metadata == "id":
            return list(batch.ids())
        if metadata == "key":
            return list(batch.keys())
        if metadata == "time":
            return list(map(iso_time, batch.times()))
        return [dict(message.headers) if message.headers is not None else None for message in batch]


def iso_time(time: float) -> str:
    """Seconds since 1970 as `2026-11-23T13:00:00.123456Z`."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _splice(prefix: bytes, line: bytes) -> bytes:
    return prefix + line[1:] if line != b"{}" else prefix[:-1] + b"}"


def _splice_all(data: bytes, prefix: bytes) -> bytes:
    """`prefix` in place of the first brace of every line. A raw newline never stands inside a record, nor does the text that
    mends empty messages: within JSON its quotes would be escaped."""
    data = prefix + data[1:].replace(b"\n{", b"\n" + prefix)
    empty = prefix + b"}"
    return data.replace(empty, prefix[:-1] + b"}") if empty in data else data
