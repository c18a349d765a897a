"""The language of `columns`, for all databases: which fields of a message become columns of a table, under which names.

And what SQLite makes of them: columns that it computes from the payload.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from standpipe.producers.config import Section

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
"""Names of tables and columns: short and plain, so that every tool and every query can name them without quotes."""

_STEP = re.compile(r"([^.\[\]\"'\\\x00-\x1f]+)((?:\[[0-9]{1,9}\])*)")
_NUMBER = re.compile(r"[0-9]+")


class FieldColumn(Section):
    """One column that holds a field of the message."""

    path: str = Field(description="where in the message: `user.id`, `items[0].name`")

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        field_steps(value)
        return value


class ColumnConfig(FieldColumn):
    """One column that is computed from the payload."""

    type: Literal["text", "integer", "real", "any"] = Field(
        default="any", description="affinity of the column: text that looks like a number is stored as one in `integer` and `real`"
    )
    index: bool = Field(default=False, description="keep an index on the column: faster queries, slower writing")

    @property
    def expression(self) -> str:
        """What the column is computed by, as SQL."""
        return f"json_extract(payload, '{json_path(self.path)}')"

    def definition(self, name: str) -> str:
        """The column as SQL, for CREATE TABLE and ALTER TABLE."""
        affinity = "" if self.type == "any" else f" {self.type.upper()}"
        return f"{quoted(name)}{affinity} GENERATED ALWAYS AS ({self.expression}) VIRTUAL"


def json_path(path: str) -> str:
    """`user.id` as SQLite writes it: `$."user"."id"`. Raises ValueError if it is no path of names and numbers."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f'."{step}"' for step in field_steps(path))


def field_steps(path: str) -> tuple[str | int, ...]:
    """`items[0].name` as its steps: `items`, 0, `name`. Raises ValueError if it is no path of names and numbers."""
    steps: list[str | int] = []
    for part in path.split("."):
        match = _STEP.fullmatch(part)
        if match is None:
            raise ValueError(f"{path!r} is not the path of a field; write names with dots between, such as user.id or items[0].name")
        steps += [match[1], *map(int, _NUMBER.findall(match[2]))]
    return tuple(steps)


def columns_from(value: object) -> object:
    """What may be written in short: a list of names, or a mapping from names to paths."""
    if isinstance(value, list):
        return {name: {"path": name} if isinstance(name, str) else name for name in value if _hashable(name)}
    if isinstance(value, dict):
        return {name: {"path": column} if isinstance(column, str) else column for name, column in value.items()}
    return value


def _hashable(name: Any) -> bool:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is not the name of a field; write a list of names, or a mapping from column names to paths")
    return True


def quoted(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def check_identifier(name: str, what: str, reserved: str = "sqlite_") -> str:
    """`name`, if it can be the name of a table or column, and does not begin with `reserved`. Raises ValueError otherwise."""
    if IDENTIFIER.fullmatch(name) is None or name.lower().startswith(reserved):
        raise ValueError(
            f"{name!r} cannot be the name of a {what}; use up to 63 letters, digits and '_', not beginning with a digit or {reserved}"
        )
    return name
