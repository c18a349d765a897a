"""`include:` at the top of a configuration: other files whose lists and mappings are added to its own."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from standpipe.config.problems import ConfigProblems, Path, Position, Problem, quoted
from standpipe.config.wording import found

if TYPE_CHECKING:
    from standpipe.config.document import Document

INCLUDE = "include"
FILES_MAX = 1000  # one file per team in a large house; a glob in the wrong folder finds more

Load = Callable[[str, list[Problem]], "Document"]


def with_includes(document: Document, load: Load, problems: list[Problem]) -> Document:
    """`document` with everything it includes, directly or through others, and without the key `include`.

    Lists of the same name are joined, the including file's own entries first, then the others in the order they are named
    (globs alphabetically). Mappings of the same name are joined key by key; whatever is defined twice is a problem.
    """
    if INCLUDE not in document.data:
        return document
    _Inclusion(document, load, problems).run()
    return document


@dataclass(frozen=True)
class _File:
    """A file being included: what it is called, and the chain of files that led to it."""

    name: str
    chain: tuple[str, ...]


class _Inclusion:
    def __init__(self, document: Document, load: Load, problems: list[Problem]) -> None:
        self._document = document
        self._load = load
        self._problems = problems
        self._seen: dict[str, Position] = {_identity(document.name): Position(document.name)}

    def run(self) -> None:
        self._include_into(self._document, (self._document.name,))

    def _include_into(self, document: Document, chain: tuple[str, ...]) -> None:
        patterns = self._patterns(document) if INCLUDE in document.data else ()
        for path, pattern in patterns:
            for name in self._files(document, path, pattern):
                self._add(document, path, _File(name, (*chain, name)))
        _forget_include(document)

    def _report(self, document: Document, path: Path, message: str, remedy: str) -> None:
        self._problems.append(Problem.at(document.value_position(path), path, message, remedy))

    def _patterns(self, document: Document) -> Iterator[tuple[Path, str]]:
        given = document.data.get(INCLUDE)
        listed = [((INCLUDE, index), item) for index, item in enumerate(given)] if isinstance(given, list) else [((INCLUDE,), given)]
        for path, item in listed:
            if isinstance(item, str) and item:
                yield path, item
            elif not document.is_broken(path):
                self._report(document, path, f"expected the path of a file, found {found(item)}", "write a path, or a list of paths")

    def _files(self, document: Document, path: Path, pattern: str) -> list[str]:
        fault = _pattern_fault(pattern)
        if fault is not None:
            self._report(document, path, *fault)
            return []
        folder = os.path.dirname(document.name)
        if not glob.has_magic(pattern):
            return [os.path.join(folder, pattern)]
        # A glob in the folder of the file itself would find that file too; nobody means that.
        matches = sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))
        names = [name for name in matches if _identity(name) != _identity(document.name) and not os.path.isdir(name)]
        if not names:
            self._report(document, path, f"no file matches {quoted(pattern)}", f"the pattern is taken relative to {folder or os.getcwd()}")
        return names

    def _add(self, document: Document, path: Path, file: _File) -> None:
        if self._is_repeated(document, path, file):
            return
        self._seen[_identity(file.name)] = document.value_position(path)
        if len(self._seen) > FILES_MAX:
            self._report(document, path, f"more than {FILES_MAX} files are included", "name fewer files")
            return
        other = self._loaded(document, path, file)
        if other is not None:
            self._include_into(other, file.chain)
            _Merge(document, other, self._problems).run()

    def _is_repeated(self, document: Document, path: Path, file: _File) -> bool:
        if any(_identity(name) == _identity(file.name) for name in file.chain[:-1]):
            self._report(document, path, f"the file includes itself: {' -> '.join(file.chain)}", "remove one of these includes")
            return True
        first = self._seen.get(_identity(file.name))
        if first is not None:
            self._report(document, path, f"{quoted(file.name, whole=True)} is included already at {first}", "include it once")
        return first is not None

    def _loaded(self, document: Document, path: Path, file: _File) -> Document | None:
        try:
            return self._load(file.name, self._problems)
        except ConfigProblems as error:
            known = set(self._problems)
            new = [problem for problem in error.problems if problem not in known]
            self._problems.extend(self._located(document, path, problem) for problem in new)
            return None

    def _located(self, document: Document, path: Path, problem: Problem) -> Problem:
        """A problem with a file as a whole is mended where that file is named."""
        if problem.line:
            return problem
        return Problem.at(document.value_position(path), path, f"{quoted(problem.file, whole=True)}: {problem.message}", problem.remedy)


def _pattern_fault(pattern: str) -> tuple[str, str] | None:
    if "${" in pattern:
        return "references are not resolved in an include", "write the path itself"
    if "\0" in pattern:
        return "a path cannot contain U+0000", "remove it"
    if "**" in pattern:
        return "'**' is not supported", "name the folders, such as 'conf.d/*.yaml'"
    return None


def _identity(name: str) -> str:
    return os.path.realpath(name)


class _Merge:
    """Adds everything of `other` to `document`; both keep their own positions."""

    def __init__(self, document: Document, other: Document, problems: list[Problem]) -> None:
        self._document = document
        self._other = other
        self._problems = problems
        self._moves: dict[Path, Path] = {}

    def run(self) -> None:
        for key, theirs in self._other.data.items():
            ours = self._document.data.get(key)
            if ours is None:
                self._document.data[key] = theirs
                self._moves[key,] = (key,)
            elif isinstance(ours, list) and isinstance(theirs, list):
                self._join_lists(key, ours, theirs)
            elif isinstance(ours, dict) and isinstance(theirs, dict):
                self._join_mappings(key, ours, theirs)
            elif theirs is not None:
                self._report_twice((key,))
        self._move_positions()

    def _join_lists(self, key: str, ours: list[Any], theirs: list[Any]) -> None:
        for index, item in enumerate(theirs):
            self._moves[key, index] = (key, len(ours))
            ours.append(item)

    def _join_mappings(self, key: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        for name, value in theirs.items():
            if name in ours:
                self._report_twice((key, name))
            else:
                ours[name] = value
                self._moves[key, name] = (key, name)

    def _report_twice(self, path: Path) -> None:
        first = self._document.key_position(path)
        remedy = f"it is set at {first} already; keep one of the two"
        self._problems.append(Problem.at(self._other.key_position(path), path, f"{quoted(str(path[-1]))} is set twice", remedy))

    def _move_positions(self) -> None:
        ours, theirs = self._document, self._other
        ours.keys.update((self._moved(path), place) for path, place in theirs.keys.items() if self._is_moved(path))
        ours.values.update((self._moved(path), place) for path, place in theirs.values.items() if self._is_moved(path))
        ours.broken.update(self._moved(path) for path in theirs.broken if self._is_moved(path))

    def _is_moved(self, path: Path) -> bool:
        return path[:1] in self._moves or path[:2] in self._moves

    def _moved(self, path: Path) -> Path:
        size = 1 if path[:1] in self._moves else 2
        return self._moves[path[:size]] + path[size:]


def _forget_include(document: Document) -> None:
    document.data.pop(INCLUDE, None)
    document.broken = {path for path in document.broken if path[:1] != (INCLUDE,)}
    for places in (document.keys, document.values):
        for path in [path for path in places if path[:1] == (INCLUDE,)]:
            del places[path]
