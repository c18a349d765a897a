"""What an expression may call, and the operators that need a bound.

Every function here works on data only (text, numbers, booleans, None, lists, mappings) and is bounded in time and memory:
whatever a record holds, one evaluation makes no text longer than `TEXT_MAX` and no number that JSON cannot carry.

There are two versions of each. The plain one raises for None and for wrong types. The careful one, used only after the plain
one has raised, gives None when an argument is None, and raises for what remains wrong.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from standpipe.pipelines.conversions import INTEGER_MAX, INTEGER_MIN
from standpipe.pipelines.fields import MISSING, find

TEXT_MAX = 1 << 20
"""Characters in a text that an expression makes (1 MiB is the usual bound of a whole message: Kafka, NATS)."""

ROUND_DIGITS_MAX = 30


@dataclass(frozen=True)
class Function:
    """A function for expressions: how many arguments it takes and what it does, in one line."""

    call: Callable[..., Any]
    arguments: tuple[int, int]
    summary: str
    takes_none: bool = False


# --- bounds ---------------------------------------------------------------------------------------------------------


def bounded_number(value: Any) -> Any:
    """`value` itself. Raises OverflowError for a number that JSON cannot carry."""
    if type(value) is float:
        if not math.isfinite(value):
            raise OverflowError("the result is not a finite number")
    elif not INTEGER_MIN <= value <= INTEGER_MAX:
        raise OverflowError("the result does not fit into 64 bits")
    return value


def check_sendable(value: Any) -> None:
    """Raises ValueError for a constant that JSON cannot carry, which would make every message impossible to send."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("the number is too large, infinite or NaN; JSON has finite numbers of 64 bits only")
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise ValueError(f"the value cannot be sent as JSON: {error}") from None


def _check_size(size: int) -> None:
    if size > TEXT_MAX:
        raise OverflowError(f"the result is longer than {TEXT_MAX}")


def _check_numbers(left: Any, right: Any) -> None:
    if not isinstance(left, (int, float)) or not isinstance(right, (int, float)):
        raise TypeError("arithmetic needs numbers")


# --- operators ------------------------------------------------------------------------------------------------------


def add(left: Any, right: Any) -> Any:
    """`left + right` of two numbers, two texts or two lists."""
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return bounded_number(left + right)
    if not isinstance(left, (str, list, tuple)):
        raise TypeError("'+' needs two numbers, two texts or two lists")
    _check_size(len(left) + len(right))
    return left + right


def subtract(left: Any, right: Any) -> Any:
    """`left - right` of two numbers."""
    _check_numbers(left, right)
    return bounded_number(left - right)


def multiply(left: Any, right: Any) -> Any:
    """`left * right` of two numbers; never repeats a text."""
    _check_numbers(left, right)
    return bounded_number(left * right)


def divide(left: Any, right: Any) -> Any:
    """`left / right` of two numbers."""
    _check_numbers(left, right)
    return bounded_number(left / right)


def floor_divide(left: Any, right: Any) -> Any:
    """`left // right` of two numbers."""
    _check_numbers(left, right)
    return bounded_number(left // right)


def modulo(left: Any, right: Any) -> Any:
    """`left % right` of two numbers; never formats a text."""
    _check_numbers(left, right)
    return bounded_number(left % right)


def negate(value: Any) -> Any:
    """`-value` of a number."""
    return bounded_number(-value)


def join_text(*parts: Any) -> str:
    """An f-string: each part as text, None as nothing."""
    text = "".join([part if type(part) is str else "" if part is None else to_text(part) for part in parts])
    _check_size(len(text))
    return text


# --- functions ------------------------------------------------------------------------------------------------------


def to_integer(value: Any, base: int | None = None) -> int:
    """A whole number from a number (cut towards zero) or a text, in `base` 2 to 36."""
    number: int = bounded_number(int(value) if base is None else int(value, base))
    return number


def to_float(value: Any) -> float:
    """A number from a number or a text; infinite and NaN are errors."""
    number: float = bounded_number(float(value))
    return number


def to_text(value: Any) -> str:
    """Text as it is, numbers as Python writes them, lists and mappings as JSON."""
    if value is None:
        raise TypeError("None has no text")
    text = str(value) if isinstance(value, (str, int, float)) else orjson.dumps(value).decode()
    _check_size(len(text))
    return text


def round_number(value: Any, digits: int = 0) -> Any:
    """`value` rounded to `digits` (default 0: a whole number)."""
    if not isinstance(value, (int, float)) or abs(digits) > ROUND_DIGITS_MAX:
        raise TypeError(f"round needs a number, and at most {ROUND_DIGITS_MAX} digits")
    return bounded_number(round(value, digits) if digits else round(value))


def contains(whole: Any, part: Any) -> bool:
    """Whether `part` occurs in a text, a list, or the keys of a mapping."""
    return part in whole


def replace(text: str, old: str, new: str) -> str:
    """`text` with every `old` replaced by `new`."""
    if type(text) is not str:
        raise TypeError("replace needs a text")
    _check_size(len(text) + text.count(old) * (len(new) - len(old)))
    return text.replace(old, new)


def join(separator: str, parts: Any) -> str:
    """The texts in the list `parts`, with `separator` between them."""
    if type(separator) is not str or not isinstance(parts, (str, list, tuple)):
        raise TypeError("join needs a text and a list")
    _check_size(len(separator) * len(parts) + sum(map(len, parts)))
    return separator.join(parts)


def has(record: dict[str, Any], name: str) -> bool:
    """Whether field `name` is there, also when it is None."""
    return find(record, name) is not MISSING


def get(record: dict[str, Any], name: str, default: Any = None) -> Any:
    """The value of field `name`, or `default` when it is not there."""
    value = find(record, name)
    return default if value is MISSING else value


def matches(search: Callable[[str], Any], text: Any) -> bool:
    """Whether a compiled pattern's `search` finds something in `text`."""
    return search(text) is not None


FUNCTIONS: dict[str, Function] = {
    "abs": Function(abs, (1, 1), "abs(number): the number without its sign"),
    "bool": Function(bool, (1, 1), "bool(value): whether it is not empty, zero, False or None", takes_none=True),
    "contains": Function(contains, (2, 2), "contains(whole, part): whether part occurs in a text, list or mapping"),
    "endswith": Function(str.endswith, (2, 2), "endswith(text, end): also a tuple of ends"),
    "float": Function(to_float, (1, 1), "float(value): a number from a text"),
    "get": Function(get, (1, 2), 'get("field", default): a field by any name; a.b is field b inside a', takes_none=True),
    "has": Function(has, (1, 1), 'has("field"): whether the record has it, also when it is None', takes_none=True),
    "int": Function(to_integer, (1, 2), "int(value, base): a whole number from a text or a number"),
    "len": Function(len, (1, 1), "len(value): characters of a text, items of a list or mapping"),
    "lower": Function(str.lower, (1, 1), "lower(text): in lower case"),
    "matches": Function(matches, (2, 2), 'matches(text, "pattern"): whether the regular expression is found anywhere in it'),
    "max": Function(max, (1, 16), "max(a, b, ...): the largest, also of one list"),
    "min": Function(min, (1, 16), "min(a, b, ...): the smallest, also of one list"),
    "now": Function(time.time, (0, 0), "now(): seconds since 1970, as a float"),
    "replace": Function(replace, (3, 3), "replace(text, old, new): with every old replaced"),
    "round": Function(round_number, (1, 2), "round(number, digits): rounded, by default to a whole number"),
    "split": Function(str.split, (1, 3), "split(text, separator): a list of texts; by default at white space"),
    "startswith": Function(str.startswith, (2, 2), "startswith(text, start): also a tuple of starts"),
    "str": Function(to_text, (1, 1), "str(value): as text; lists and mappings as JSON"),
    "strip": Function(str.strip, (1, 2), "strip(text, characters): without white space, or those characters, at both ends"),
    "upper": Function(str.upper, (1, 1), "upper(text): in upper case"),
}
"""The functions by name, sorted."""

METHODS: dict[str, tuple[int, int]] = {
    "capitalize": (0, 0),
    "casefold": (0, 0),
    "endswith": (1, 3),
    "find": (1, 3),
    "get": (1, 2),
    "isalnum": (0, 0),
    "isalpha": (0, 0),
    "isdigit": (0, 0),
    "islower": (0, 0),
    "isspace": (0, 0),
    "isupper": (0, 0),
    "join": (1, 1),
    "lower": (0, 0),
    "lstrip": (0, 1),
    "partition": (1, 1),
    "removeprefix": (1, 1),
    "removesuffix": (1, 1),
    "replace": (2, 2),
    "rpartition": (1, 1),
    "rsplit": (0, 2),
    "rstrip": (0, 1),
    "split": (0, 2),
    "splitlines": (0, 0),
    "startswith": (1, 3),
    "strip": (0, 1),
    "swapcase": (0, 0),
    "title": (0, 0),
    "upper": (0, 0),
}
"""Methods of text, and `get` of mappings, with the least and most arguments. `format` and `encode` are not among them."""

BOUNDED_METHODS: dict[str, Callable[..., Any]] = {"replace": replace, "join": join}
"""Methods whose result could be far longer than their text: called as these functions."""


# --- careful versions -----------------------------------------------------------------------------------------------


def null_safe(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, giving None where it would raise TypeError and an argument is None."""

    def careful(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except TypeError:
            if any(argument is None for argument in arguments):
                return None
            raise

    return careful


def item(base: Any, key: Any) -> Any:
    """`base[key]`, or None when there is no such thing."""
    if not isinstance(base, (str, list, tuple, Mapping)):
        return None
    try:
        return base[key]
    except (LookupError, TypeError):
        return None


def method(name: str, value: Any, *arguments: Any) -> Any:
    """`value.name(*arguments)` of a text, or `get` of a mapping; None where it would raise TypeError because of a None."""
    if name == "get":
        return _get_method(value, *arguments)
    call = BOUNDED_METHODS.get(name) or getattr(str, name)
    return null_safe(call)(value, *arguments)


def _get_method(value: Any, *arguments: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"get needs a mapping, not {type(value).__name__}")
    return value.get(*arguments)


def less(left: Any, right: Any) -> bool:
    """`left < right`; False when they cannot be ordered."""
    try:
        return bool(left < right)
    except TypeError:
        return False


def less_or_equal(left: Any, right: Any) -> bool:
    """`left <= right`; False when they cannot be ordered."""
    try:
        return bool(left <= right)
    except TypeError:
        return False


def more(left: Any, right: Any) -> bool:
    """`left > right`; False when they cannot be ordered."""
    try:
        return bool(left > right)
    except TypeError:
        return False


def more_or_equal(left: Any, right: Any) -> bool:
    """`left >= right`; False when they cannot be ordered."""
    try:
        return bool(left >= right)
    except TypeError:
        return False


def is_in(part: Any, whole: Any) -> bool:
    """`part in whole`; False when that cannot be asked."""
    try:
        return part in whole
    except TypeError:
        return False
