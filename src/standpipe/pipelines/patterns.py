"""Compiling the regular expressions that people write into a configuration, and refusing those that can hang.

A pattern comes from whoever runs Standpipe, but the text that it is matched against comes from anybody. Python's matcher
backtracks and cannot be interrupted, so the patterns known to take exponential time are refused when they are compiled:
a repetition that can split the same text among its rounds in many ways, such as `(a+)+`, `(.*,)*` or `(.|\\s)*`.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from standpipe.core.errors import ConfigurationError

PATTERN_LENGTH_MAX = 8192
"""Characters; the longest published log patterns (grok's, expanded) have around 4,000."""

UNBOUNDED_FROM = 25
"""A repetition allowed this often counts as unbounded: 2**25 ways to split a text take a second or more."""

_REPEATS = {"MAX_REPEAT", "MIN_REPEAT"}
_CATEGORIES = {"CATEGORY_DIGIT": r"\d", "CATEGORY_SPACE": r"\s", "CATEGORY_WORD": r"\w"}
# Characters by which two classes are compared; ASCII and Latin decide for the classes that people write.
_SAMPLE = frozenset(map(chr, range(0x250)))


class PatternError(ConfigurationError, ValueError):
    """the regular expression cannot be used

    `problem` says why, `column` where (from 1; None when it concerns the whole pattern).
    """

    def __init__(self, pattern: str, problem: str, column: int | None = None) -> None:
        shown = pattern if len(pattern) <= 80 else f"{pattern[:77]}..."
        where = "" if column is None else f", column {column}"
        super().__init__(f"pattern {shown!r}{where}: {problem}")
        self.pattern = pattern
        self.problem = problem
        self.column = column


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The compiled `pattern`. Raises PatternError when it is too long, not a regular expression, or can hang."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise PatternError(pattern, f"is {len(pattern)} characters long; at most {PATTERN_LENGTH_MAX} are allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = re.compile(pattern)
    except re.error as error:
        raise PatternError(pattern, f"is not a regular expression: {error.msg}", None if error.pos is None else error.pos + 1) from None
    except (OverflowError, RecursionError, MemoryError) as error:
        raise PatternError(pattern, f"is not a regular expression: {error}") from None
    if _can_hang(pattern):
        raise PatternError(
            pattern,
            "repeats a repetition, which can take for ever on some lines; make the inner one possessive (++ or *+), "
            "or let each round begin or end with a character that the inner one cannot match",
        )
    return compiled


def _can_hang(pattern: str) -> bool:
    try:
        parser: Any = importlib.import_module("re._parser")
    except ImportError:  # private to Python: without it there is no check, and nothing else depends on it
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return any(map(_is_ambiguous, _repeated_sequences(parser.parse(pattern))))


def _repeated_sequences(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Every alternative of every body that is repeated without a bound, at any depth."""
    for operation, argument in items:
        if _is_unbounded(operation, argument):
            yield from _alternatives(argument[2])
            if (joined := _overlapping_branches(argument[2])) is not None:
                yield joined
        for inner in _bodies(argument):
            yield from _repeated_sequences(inner)


def _is_unbounded(operation: Any, argument: Any) -> bool:
    return str(operation) in _REPEATS and int(argument[1]) >= UNBOUNDED_FROM


def _bodies(argument: Any) -> Iterator[Any]:
    """The sequences inside one item of the parsed pattern, whatever its kind."""
    if hasattr(argument, "data"):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for part in argument:
            yield from _bodies(part)


def _alternatives(body: Any) -> Iterator[list[Any]]:
    """The sequences of `body`, with groups that are only brackets opened; a choice as the whole of it yields each branch."""
    items = list(_opened(body))
    if len(items) == 1 and str(items[0][0]) == "BRANCH":
        for branch in items[0][1][1]:
            yield list(_opened(branch))
    else:
        yield items


def _opened(body: Any) -> Iterator[Any]:
    for operation, argument in body:
        if str(operation) == "SUBPATTERN":
            yield from _opened(argument[3])
        else:
            yield operation, argument


def _overlapping_branches(body: Any) -> list[Any] | None:
    """For `(.|\\s)*`: None unless two single-character branches share a character; else something ambiguous."""
    seen: set[str] = set()
    branches = list(_alternatives(body))
    for branch in branches if len(branches) > 1 else ():
        chars = _chars(*branch[0]) if len(branch) == 1 else None
        if chars and chars & seen:
            return [("MAX_REPEAT", (1, UNBOUNDED_FROM, branch))]
        seen |= chars or set()
    return None


def _is_ambiguous(sequence: list[Any]) -> bool:
    """Whether one round of `sequence` can end where the next could as well have: nothing fixed separates the rounds."""
    for position, (operation, argument) in enumerate(sequence):
        if _is_unbounded(operation, argument) and (chars := _only_chars(argument[2])):
            others = sequence[:position] + sequence[position + 1 :]
            if not any(_separates(item, chars) for item in others):
                return True
    return False


def _only_chars(body: Any) -> frozenset[str] | None:
    items = list(_opened(body))
    return _chars(*items[0]) if len(items) == 1 else None


def _separates(item: Any, chars: frozenset[str]) -> bool:
    """Whether `item` must match a character outside `chars`; what is not a single character gets the benefit of the doubt."""
    operation, argument = item
    name = str(operation)
    if name in _REPEATS or name == "POSSESSIVE_REPEAT":
        return argument[0] > 0 and all(_separates(inner, chars) for inner in list(_opened(argument[2]))[:1])
    if name in {"AT", "ASSERT", "ASSERT_NOT"}:
        return False
    own = _chars(operation, argument)
    return own is None or not own & chars


def _chars(operation: Any, argument: Any) -> frozenset[str] | None:
    """The sample characters that one item matches; None when it is not a single-character item."""
    match str(operation):
        case "LITERAL":
            return frozenset(chr(argument))
        case "NOT_LITERAL":
            return _SAMPLE - {chr(argument)}
        case "ANY":
            return _SAMPLE - {"\n"}
        case "IN":
            return _class_chars(argument)
        case _:
            return None


def _class_chars(items: list[Any]) -> frozenset[str]:
    found: set[str] = set()
    negated = False
    for operation, argument in items:
        match str(operation):
            case "NEGATE":
                negated = True
            case "RANGE":
                found.update(char for char in _SAMPLE if argument[0] <= ord(char) <= argument[1])
            case "CATEGORY":
                found |= _category_chars(str(argument))
            case _:
                found.add(chr(argument))
    return _SAMPLE - found if negated else frozenset(found)


def _category_chars(category: str) -> frozenset[str]:
    plain = re.compile(_CATEGORIES[category.replace("_NOT_", "_")])
    matched = frozenset(char for char in _SAMPLE if plain.match(char))
    return _SAMPLE - matched if "_NOT_" in category else matched
