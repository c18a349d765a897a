"""A configuration file as plain data in which every key and value knows where it was written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from standpipe.config.construction import construct
from standpipe.config.include import with_includes
from standpipe.config.nodes import read_nodes
from standpipe.config.problems import ConfigProblems, Path, Position, Problem
from standpipe.config.reading import FileFault, read_text
from standpipe.config.wording import found

FILE_BYTES_MAX = 1 << 20  # a hundred components take about 20 KB; PyYAML reads a full mebibyte in two seconds


@dataclass
class Document:
    """What a configuration says and where it says it.

    `name` is what its file is called in messages. `data` is made of dict, list, str, int, float, bool and None.
    `keys` and `values` map a path to the position of its key and of its value. `broken` holds the paths whose value could
    not be read; that has been reported, so nothing more needs to be said about them. `secrets` maps a path to the secret
    texts its value was made of. Not meant for use by several threads while it changes.
    """

    name: str
    data: dict[str, Any]
    keys: dict[Path, Position]
    values: dict[Path, Position]
    broken: set[Path] = field(default_factory=set)
    secrets: dict[Path, tuple[str, ...]] = field(default_factory=dict)

    @property
    def secret_paths(self) -> frozenset[Path]:
        """The paths whose value must never be shown: made from a reference, or read into a secret field."""
        return frozenset(self.secrets)

    def at(self, path: Path) -> Any:
        """The value at `path`. Raises LookupError or TypeError if there is none."""
        value: Any = self.data
        for step in path:
            value = value[step]
        return value

    def key_position(self, path: Path) -> Position:
        """Where the key of `path` stands; for an item of a list where the item stands; else the nearest one around it."""
        return self.keys.get(path) or self.value_position(path)

    def value_position(self, path: Path) -> Position:
        """Where the value of `path` stands, else the nearest one around it."""
        for length in range(len(path), -1, -1):
            position = self.values.get(path[:length])
            if position is not None:
                return position
        return Position(self.name)

    def is_broken(self, path: Path) -> bool:
        """Whether the value at `path`, or one that holds it, could not be read."""
        return any(path[:length] in self.broken for length in range(len(path) + 1))

    def is_secret(self, path: Path) -> bool:
        """Whether the value at `path`, or one that holds it, is secret."""
        return any(path[:length] in self.secrets for length in range(len(path) + 1))


def load_document(path: str | os.PathLike[str], problems: list[Problem] | None = None) -> Document:
    """Read a YAML file and everything it includes.

    Problems that leave the rest readable (duplicate keys, unknown tags, a missing include) are appended to `problems`, so that
    they can be reported together with those found later; without a list they are raised as well. Raises ConfigProblems when
    nothing can be made of the file. References such as `${env:NAME}` are left as they stand, see `resolve_secrets`.
    """
    name = os.fspath(path)
    return _collecting(problems, lambda found: _load_file(name, found))


def load_document_text(text: str, name: str = "<text>", problems: list[Problem] | None = None) -> Document:
    """As `load_document`, for a text that `name` stands for in messages; what it includes is relative to the folder of `name`."""
    return _collecting(problems, lambda found: _with_includes(_parse(text, name, found), found))


def _collecting(problems: list[Problem] | None, load: Callable[[list[Problem]], Document]) -> Document:
    found: list[Problem] = []
    document = load(found)
    if problems is not None:
        problems.extend(found)
    elif found:
        raise ConfigProblems(found)
    return document


def _load_file(name: str, problems: list[Problem]) -> Document:
    return _with_includes(_load_one(name, problems), problems)


def _with_includes(document: Document, problems: list[Problem]) -> Document:
    return with_includes(document, _load_one, problems)


def _load_one(name: str, problems: list[Problem]) -> Document:
    try:
        text = read_text(name, FILE_BYTES_MAX)
    except FileFault as fault:
        raise ConfigProblems([*problems, Problem(name, 0, 0, (), fault.message, fault.remedy)]) from None
    return _parse(text, name, problems)


def _parse(text: str, name: str, problems: list[Problem]) -> Document:
    root = read_nodes(text, name, problems)
    if root is None:
        remedy = "'standpipe init' writes one to start from"
        raise ConfigProblems([*problems, Problem(name, 0, 0, (), "the file holds no configuration", remedy)])
    if root.broken:
        raise ConfigProblems(problems)
    built = construct(root, problems)
    if not isinstance(built.data, dict):
        message = f"expected a mapping at the top, found {found(built.data)}"
        raise ConfigProblems([*problems, Problem.at(root.position, (), message, "begin with 'producers:'")])
    return Document(name, built.data, built.keys, built.values, built.broken)
