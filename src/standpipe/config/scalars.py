"""What a bare word in YAML means, by the core schema of YAML 1.2.2, section 10.3.2.

`no` is text and not false, `1:30` is text and not 90, `2024-01-01` is text and not a date; `017` is 17 and octal numbers are `0o17`.
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

_NUMBER_CHARACTERS_MAX = 100  # no limit or size needs more; CPython itself refuses to print integers beyond 4300 digits
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NOT_A_NUMBER = re.compile(r"\.(nan|NaN|NAN)")


def read_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar. Raises ValueError for a number that is too long or too large to be held."""
    if _NULL.fullmatch(text):
        return None
    if _BOOLEAN.fullmatch(text):
        return text[0] in "tT"
    number = read_number(text)
    return text if number is None else number


def read_number(text: str) -> int | float | None:
    """The number that `text` writes, or None. Raises ValueError for one that is too long or too large."""
    integer = _is_integer(text)
    if not integer and not _FLOAT.fullmatch(text):
        return _special_float(text)
    if len(text) > _NUMBER_CHARACTERS_MAX:
        raise ValueError(f"a number of {len(text)} characters is too long, at most {_NUMBER_CHARACTERS_MAX} are allowed")
    if integer:
        return int(text, 10 if _DECIMAL.fullmatch(text) else 0)
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text} is too large")
    return value


def _is_integer(text: str) -> bool:
    return any(pattern.fullmatch(text) for pattern in (_DECIMAL, _OCTAL, _HEXADECIMAL))


def _special_float(text: str) -> float | None:
    if _NOT_A_NUMBER.fullmatch(text):
        return float("nan")
    match = _INFINITE.fullmatch(text)
    return float(f"{match[1]}inf") if match else None


def read_tagged(kind: str, text: str) -> Scalar:
    """The value of a scalar under the tag `!!kind` (str, int, float, bool, null). Raises ValueError if it is not of that kind."""
    if kind == "str":
        return text
    value = read_scalar(text)
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value).__name__ != {"null": "NoneType"}.get(kind, kind):
        raise ValueError(f"{text!r} is not a value of the type !!{kind}")
    return value
