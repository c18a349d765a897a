"""What is wrong with a configuration: each problem with its place in the file, its path and its remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from standpipe.core.errors import ConfigurationError

Path = tuple[str | int, ...]
"""The way from the top of a document to a value: keys of mappings and indices of lists."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)
_QUOTED_CHARACTERS_MAX = 60  # a value in a message is a reminder, not a dump; about half a terminal line


@dataclass(frozen=True, order=True)
class Position:
    """A place in a file; `line` and `column` count from 1, line 0 stands for the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Problem:
    """One thing to mend.

    `line` and `column` count from 1; both are 0 when the file as a whole is meant. `path` is empty when no field is meant.
    `str()` is the line a user reads: `standpipe.yaml:14:5: producers[1].max_retires: unknown field; did you mean 'max_retries'?`
    """

    file: str
    line: int
    column: int
    path: Path
    message: str
    remedy: str | None = None

    @classmethod
    def at(cls, position: Position, path: Path, message: str, remedy: str | None = None) -> Problem:
        """The problem standing at `position`."""
        return cls(position.file, position.line, position.column, path, message, remedy)

    @property
    def position(self) -> Position:
        """Where the problem stands."""
        return Position(self.file, self.line, self.column)

    def __str__(self) -> str:
        where = f"{self.position}: {format_path(self.path)}: " if self.path else f"{self.position}: "
        return f"{where}{self.message}" + (f"; {self.remedy}" if self.remedy else "")


class ConfigProblems(ConfigurationError):
    """the configuration has problems

    `problems` holds all of them, sorted by file, line and column; `str()` has one line for each.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.position))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def format_path(path: Path) -> str:
    """The path as people write it: `producers[1].headers."x y"`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _PLAIN_KEY.fullmatch(step) else quoted(step, '"')
            text += f".{key}" if text else key
    return text


def quoted(value: str, mark: str = "'", *, whole: bool = False) -> str:
    """`value` in quotes for a message: on one line, control characters escaped, cut when it is long unless the `whole` is wanted."""
    cut = value if whole or len(value) <= _QUOTED_CHARACTERS_MAX else value[:_QUOTED_CHARACTERS_MAX] + "..."
    escaped = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in cut)
    return f"{mark}{escaped}{mark}"
