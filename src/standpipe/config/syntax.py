"""A YAML syntax error in words that help: the parser's complaint, its place, and what to do about it."""

from __future__ import annotations

import re

import yaml
from yaml.reader import ReaderError

from standpipe.config.problems import Position, Problem

# What the parser says, what that means (None: as it says), and what to do. The first that fits counts.
_TRANSLATIONS: tuple[tuple[str, str | None, str], ...] = (
    (r"found character '\\t'", "a tab cannot start a value", "indent with spaces"),
    (r"found character '([%@`])'", "a value cannot start with this character", "put the value in quotes"),
    (
        r"mapping values are not allowed",
        "a second ': ' does not fit here",
        "put a value that contains ': ' in quotes, or mend the indentation",
    ),
    (r"could not find expected ':'", "a key without a colon", "write 'key: value', with a space after the colon"),
    (r"expected ',' or '[]}]', but got '\{'", "a '{' does not fit here", "put ${...} in quotes inside [...] and {...}"),
    (r"expected ',' or '[]}]'", "a bracket is not closed, or a comma is missing", "close the bracket, and put commas between the items"),
    (r"expected <block end>, but found '-'", "a list item does not fit here", "put the list under its key, each '-' in the same column"),
    (r"expected <block end>, but found '\?'", "a key does not fit here", "mend the indentation"),
    (r"expected <block end>", "a value does not fit here", "mend the indentation, or the quotes of this line"),
    (r"unexpected end of stream", "the quotes are not closed", "close the quotes"),
    (r"found unknown escape character", None, "write the text in single quotes, or double the backslash"),
    (r"expected the node content", "a value is missing", "write a value, or put it in quotes"),
    (r"special characters are not allowed", None, "remove it, or write it as an escape in double quotes"),
)


def syntax_problem(error: Exception, name: str, text: str, mark: yaml.Mark | None) -> Problem:
    """The problem for an exception of the YAML parser; `mark` is where it stood when the error names no place."""
    message, remedy = _translated(_complaint(error))
    return Problem.at(_position(error, name, text, mark), (), f"not valid YAML: {message}", remedy)


def _translated(complaint: str) -> tuple[str, str | None]:
    for pattern, meaning, remedy in _TRANSLATIONS:
        if re.search(pattern, complaint):
            return meaning or complaint, remedy
    return _without_control_characters(complaint), None


def _complaint(error: Exception) -> str:
    if isinstance(error, ReaderError):
        return f"special characters are not allowed, found {_character(error.character)}"
    if not isinstance(error, yaml.MarkedYAMLError):
        return "a number in an escape or directive is out of range"
    return str(error.problem or error.context).replace(r"'\x00'", "the end of the file")


def _character(character: object) -> str:
    code = character if isinstance(character, int) else ord(str(character)[:1] or "\0")
    return f"U+{code:04X}"


def _without_control_characters(text: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _position(error: Exception, name: str, text: str, mark: yaml.Mark | None) -> Position:
    if isinstance(error, ReaderError):
        before = text[: error.position]
        return Position(name, before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
    if isinstance(error, yaml.MarkedYAMLError):
        # An open quote is noticed at the end of the file; the place to mend is where it was opened.
        unclosed = "unexpected end of stream" in (error.problem or "")
        mark = (error.context_mark if unclosed else error.problem_mark) or error.problem_mark or mark
    return Position(name, mark.line + 1, mark.column + 1) if mark is not None else Position(name, 1, 1)
