"""From records to encoded parcels for producers: which messages take which route, in what order, as what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from standpipe.core.errors import EncodingError
from standpipe.core.payload import encode, encode_many
from standpipe.pipelines.config import RouteConfig
from standpipe.pipelines.expression import Expression, compile_expression
from standpipe.pipelines.records import Records

ENCODE_ERROR_FIELD = "encode_error"
SHOWN_MAX = 2000
"""Characters kept of a record that cannot be encoded as JSON; it goes on as an error message that shows what it was."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Messages for one producer, encoded, that are handed over together. `payload` has one JSON object a line."""

    is_error: bool
    payload: bytes
    count: int
    keys: list[str | None] | None = None

    def halves(self) -> tuple[Parcel, Parcel]:
        """Two parcels with the same messages in order, for a queue that this one can never fit into."""
        lines = self.payload.split(b"\n")
        middle = self.count // 2
        keys = (None, None) if self.keys is None else (self.keys[:middle], self.keys[middle:])
        first = Parcel(self.is_error, b"\n".join(lines[:middle]), middle, keys[0])
        return first, Parcel(self.is_error, b"\n".join(lines[middle:]), self.count - middle, keys[1])


class Route:
    """One route, compiled. `in_order`: the producer keeps a total order, so that error and normal messages must not be sorted apart."""

    def __init__(self, config: RouteConfig, in_order: bool) -> None:
        self.to = config.to
        self.otherwise = config.otherwise
        self.messages = 0
        self.unencodable = 0
        self._when = compile_expression(config.when) if config.when is not None else None
        self._is_error = compile_expression(config.is_error) if isinstance(config.is_error, str) else config.is_error
        self._key = compile_expression(config.key) if config.key is not None else None
        self._in_order = in_order or self._key is not None

    @property
    def errors(self) -> int:
        """How many times an expression of this route had no result for a message."""
        return sum(expression.errors for expression in (self._when, self._is_error, self._key) if isinstance(expression, Expression))

    def mask(self, records: Records) -> list[bool] | None:
        """For each record whether it takes this route; None: all do."""
        if self._when is None:
            return None
        return self._when.filter_mask(records.as_records(), records.errors, records.source)

    def parcels(self, records: Records) -> list[Parcel]:
        """The records that take this route, encoded."""
        rows = records.as_records()
        if not rows:
            return []
        self.messages += len(rows)
        keys = self._keys(records)
        flags = self._flags(records)
        if flags is None or not any(flags):
            return self._encoded(False, rows, keys)
        if all(flags):
            return self._encoded(True, rows, keys)
        return [parcel for group in self._groups(flags) for parcel in self._part(group, rows, keys)]

    def _flags(self, records: Records) -> list[bool] | None:
        is_error = self._is_error
        if is_error is None:
            return records.errors
        if isinstance(is_error, bool):
            return [is_error] * len(records)
        return is_error.filter_mask(records.as_records(), records.errors, records.source)

    def _keys(self, records: Records) -> list[str | None] | None:
        if self._key is None:
            return None
        values = self._key.map(records.as_records(), records.errors, records.source)
        return [value if value is None or isinstance(value, str) else str(value) for value in values]

    def _groups(self, flags: Sequence[bool]) -> Iterator[tuple[bool, list[int]]]:
        """Positions of the normal and of the error messages; where order matters, of each run of one kind."""
        if self._in_order:
            for flag, run in groupby(enumerate(flags), key=itemgetter(1)):
                yield flag, [position for position, _ in run]
        else:
            for flag in (False, True):
                yield flag, [position for position, found in enumerate(flags) if found is flag]

    def _part(self, group: tuple[bool, list[int]], rows: list[dict[str, Any]], keys: list[str | None] | None) -> list[Parcel]:
        flag, positions = group
        chosen = None if keys is None else [keys[position] for position in positions]
        return self._encoded(flag, [rows[position] for position in positions], chosen)

    def _encoded(self, is_error: bool, rows: list[dict[str, Any]], keys: list[str | None] | None) -> list[Parcel]:
        try:
            return [Parcel(is_error, encode_many(rows), len(rows), keys)]
        except EncodingError:
            # One record at fault must not hold up the others: each goes by itself, the culprit as what could be made of it.
            return [self._single(is_error, row, None if keys is None else [keys[at]]) for at, row in enumerate(rows)]

    def _single(self, is_error: bool, row: dict[str, Any], keys: list[str | None] | None) -> Parcel:
        try:
            return Parcel(is_error, encode(row), 1, keys)
        except EncodingError as error:
            self.unencodable += 1
            shown = repr(row)[:SHOWN_MAX].encode("utf-8", "replace").decode()
            return Parcel(True, encode({"message": shown, ENCODE_ERROR_FIELD: str(error)[:200]}), 1, keys)


def assign(routes: Sequence[Route], records: Records) -> tuple[list[tuple[Route, list[Parcel]]], int]:
    """Send `records` down `routes`: the parcels of each route that got something, and how many messages took no route."""
    assigned: list[tuple[Route, list[Parcel]]] = []
    taken: list[bool] | None = [False] * len(records)  # None: every message has taken a route
    for route in routes:
        mask = route.mask(records)
        if route.otherwise:
            mask = [not was for was in taken] if taken is not None else [False] * len(records)
        if mask is None or all(mask):
            taken = None
            chosen = records
        else:
            if taken is not None:
                taken = [was or now for was, now in zip(taken, mask, strict=True)]
            chosen = records.select(mask)
        if len(chosen):
            assigned.append((route, route.parcels(chosen)))
    return assigned, 0 if taken is None else taken.count(False)
