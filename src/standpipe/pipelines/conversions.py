"""Turning parsed text into numbers and truth values, never by losing something: what does not convert exactly stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from standpipe.pipelines.fields import MISSING, find, put

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1
"""What fits into the JSON that is sent."""

_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def to_int(value: Any) -> int:
    """A whole number from a text in decimal or a number without a fraction. Raises ValueError."""
    if isinstance(value, str):
        if "_" in value:  # Python reads 1_000 as 1000
            raise ValueError("is not a whole number")
        number = int(value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise ValueError("is not a whole number")
    else:
        number = int(value)
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        raise ValueError("does not fit into 64 bits")
    return number


def to_float(value: Any) -> float:
    """A finite number from a text or a number. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or (isinstance(value, str) and "_" in value):
        raise ValueError("is not a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("is not a finite number")
    return number


def to_bool(value: Any) -> bool:
    """True or False from true/false, yes/no, on/off, 1/0 in any case. Raises ValueError."""
    known = _TRUTH.get(str(value).lower())
    if known is None:
        raise ValueError("is not true or false")
    return known


def to_str(value: Any) -> str:
    """Text from a text, a number or a truth value (true, false). Raises ValueError."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise ValueError("is not a single value")
    return str(value)


CONVERSIONS: dict[str, Callable[[Any], Any]] = {"int": to_int, "float": to_float, "bool": to_bool, "str": to_str}
"""The conversions by their name in a configuration."""


def convert_field(rows: Sequence[dict[str, Any]], name: str, convert: Callable[[Any], Any]) -> int:
    """Converts field `name` of each of `rows` in place; returns how many values did not convert and stay as they are.

    A field that is missing or None is left alone, and not counted.
    """
    if "." in name:
        return _convert_nested(rows, name, convert)
    failed = 0
    for row in rows:
        value = row.get(name)
        if value is not None:
            try:
                row[name] = convert(value)
            except (ValueError, OverflowError):
                failed += 1
    return failed


def _convert_nested(rows: Sequence[dict[str, Any]], name: str, convert: Callable[[Any], Any]) -> int:
    failed = 0
    for row in rows:
        value = find(row, name)
        if value is not None and value is not MISSING:
            try:
                put(row, name, convert(value))
            except (ValueError, OverflowError):
                failed += 1
    return failed
