"""Reaching into a record by a field's name, where `a.b` means field `b` of the mapping in field `a`.

A field whose own name is `a.b` is found before the nested one. Nothing that a record holds is changed in place on the way
down: two fields, or two records, may hold the same mapping.
"""

from __future__ import annotations

from typing import Any, Final

MISSING: Final = object()
"""What `find` and `take` return for a field that is not there, which differs from a field that is None."""


def check_field_name(name: str) -> str:
    """`name` itself. Raises ValueError when it is empty or has an empty part, such as `a..b`."""
    if not name:
        raise ValueError("a field name is empty; name the field")
    if not all(name.split(".")):
        raise ValueError(f"field name {name!r} has an empty part; write a.b for field b inside field a")
    return name


def find(record: dict[str, Any], name: str) -> Any:
    """The value of field `name`, or MISSING."""
    if name in record:
        return record[name]
    value: Any = record
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return MISSING
        value = value[part]
    return value


def put(record: dict[str, Any], name: str, value: Any) -> None:
    """Sets field `name`, creating the mappings on the way. Raises TypeError when something else is in the way."""
    path, last = ([], name) if name in record else _split(name)
    for part in path:
        below = record.get(part)
        if below is None:
            below = {}
        elif not isinstance(below, dict):
            raise TypeError(f"cannot set {name!r}: field {part!r} is not a mapping")
        below = dict(below)
        record[part] = below
        record = below
    record[last] = value


def take(record: dict[str, Any], name: str) -> Any:
    """Removes field `name` and returns its value; MISSING, with nothing changed, when it is not there."""
    if name in record:
        return record.pop(name)
    if find(record, name) is MISSING:
        return MISSING
    path, last = _split(name)
    for part in path:
        below = dict(record[part])
        record[part] = below
        record = below
    return record.pop(last)


def _split(name: str) -> tuple[list[str], str]:
    *path, last = name.split(".")
    return path, last
