"""What flows through a pipeline: a chunk of records that came together from one place, never a single message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from types import MappingProxyType
from typing import Any

NO_SOURCE: Mapping[str, str] = MappingProxyType({})

TEXT_FIELD = "message"
"""The field a line of text is put into when it becomes a record."""


class Records:
    """One chunk, in one of two forms: text (`lines`, straight from an agent) or parsed (`records`, one dict each).

    - `lines`: the lines in text form, without line ends; None in parsed form.
    - `records`: the dicts in parsed form; None in text form. `as_records` turns text into them, once, when a step needs it.
    - `errors`: which of them are errors, parallel to them; None means that none is.
    - `extras`: fields that the agent adds to a few of them, by index (`{17: {"truncated": True}}`); None when there are
      none. They are merged by `as_records` and by parsing, and win over a field of the same name: they tell what happened
      to the line, and its content must not be able to hide that.
    - `source`: where the chunk came from, such as the agent's name and the path.

    A chunk belongs to whoever holds it last: steps change its dicts in place. Not safe for use by several threads at once.
    Steps go by the form that they find, so that another form (columns) can be added beside these two.
    """

    __slots__ = ("errors", "extras", "lines", "records", "source")

    def __init__(
        self,
        *,
        lines: list[str] | None = None,
        records: list[dict[str, Any]] | None = None,
        errors: list[bool] | None = None,
        extras: dict[int, dict[str, Any]] | None = None,
        source: Mapping[str, str] = NO_SOURCE,
    ) -> None:
        """Raises ValueError unless exactly one of `lines` and `records` is given, and `errors` has its length."""
        if (lines is None) == (records is None):
            raise ValueError("a chunk has either lines or records; give exactly one of them")
        self.lines = lines
        self.records = records
        self.errors = errors
        self.extras = extras
        self.source = source
        if errors is not None and len(errors) != len(self):
            raise ValueError(f"errors has {len(errors)} flags for {len(self)} records; give one each, or None")

    def __len__(self) -> int:
        if self.lines is not None:
            return len(self.lines)
        return len(self.records or ())

    def __repr__(self) -> str:
        form = "lines" if self.lines is not None else "records"
        return f"<Records {len(self)} {form}, {self.error_count()} errors, source={dict(self.source)!r}>"

    def as_records(self) -> list[dict[str, Any]]:
        """The records as dicts: a line becomes `{"message": line}`, extras are merged. The text form is given up."""
        if self.records is None:
            self.records = [{TEXT_FIELD: line} for line in self.lines or ()]
            self.lines = None
        if self.extras is not None:
            for index, fields in self.extras.items():
                self.records[index].update(fields)
            self.extras = None
        return self.records

    def error_flags(self) -> list[bool]:
        """One flag for each record, also when `errors` is None. The list may be the chunk's own: do not change it."""
        return self.errors if self.errors is not None else [False] * len(self)

    def error_count(self) -> int:
        """How many of the records are errors."""
        return 0 if self.errors is None else sum(self.errors)

    def select(self, mask: Sequence[bool]) -> Records:
        """A chunk of those whose place in `mask` is true, in the same order and form; the dicts are shared, not copied.

        Raises ValueError when `mask` has another length.
        """
        if len(mask) != len(self):
            raise ValueError(f"the mask has {len(mask)} places for {len(self)} records")
        return Records(
            lines=None if self.lines is None else list(compress(self.lines, mask)),
            records=None if self.records is None else list(compress(self.records, mask)),
            errors=None if self.errors is None else list(compress(self.errors, mask)),
            extras=self._selected_extras(mask),
            source=self.source,
        )

    def _selected_extras(self, mask: Sequence[bool]) -> dict[int, dict[str, Any]] | None:
        if not self.extras:
            return None
        place = {old: new for new, old in enumerate(compress(range(len(mask)), mask))}
        return {place[index]: fields for index, fields in self.extras.items() if index in place} or None
