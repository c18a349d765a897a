"""Nodes to plain Python data and the position of every key and value; aliases and merges are expanded within a budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from standpipe.config.nodes import DEPTH_MAX, NODES_MAX, Entry, Node
from standpipe.config.problems import ConfigProblems, Path, Position, Problem


@dataclass
class Construction:
    """Plain data being built. `keys` and `values` map a path to where its key and its value stand; `broken` paths hold no usable value."""

    data: Any = None
    keys: dict[Path, Position] = field(default_factory=dict)
    values: dict[Path, Position] = field(default_factory=dict)
    broken: set[Path] = field(default_factory=set)


def construct(root: Node, problems: Sequence[Problem] = ()) -> Construction:
    """Plain data for the tree under `root`. Raises ConfigProblems, with `problems`, when aliases make it too large or too deep."""
    builder = _Builder(problems)
    builder.built.data = builder.value(root, ())
    return builder.built


class _Builder:
    def __init__(self, problems: Sequence[Problem]) -> None:
        self._problems = problems
        self.built = Construction()
        self._visited = 0

    def value(self, node: Node, path: Path) -> Any:
        self._count(node, len(path))
        self.built.values[path] = node.position
        if node.broken:
            self.built.broken.add(path)
            return None
        if isinstance(node.value, dict):
            return self._mapping(node, path)
        if isinstance(node.value, list):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return node.value

    def _count(self, node: Node, depth: int) -> None:
        # Every visit counts, also of an empty mapping that is merged: doubling aliases are stopped by their number.
        self._visited += 1
        if self._visited > NODES_MAX or depth > DEPTH_MAX:
            limit = f"more than {NODES_MAX} values" if self._visited > NODES_MAX else f"more than {DEPTH_MAX} levels"
            message = f"the aliases expand to {limit}"
            raise ConfigProblems([*self._problems, Problem.at(node.position, (), message, "use fewer aliases of aliases")])

    def _mapping(self, node: Node, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, entry in self._entries(node, len(path)):
            if key not in data:
                self.built.keys[*path, key] = entry.position
                data[key] = self.value(entry.node, (*path, key))
        return data

    def _entries(self, node: Node, depth: int) -> Iterator[tuple[str, Entry]]:
        """Own entries first, then those of `<<`; the first of a name counts, as the merge type asks for."""
        yield from cast(dict[str, Entry], node.value).items()
        for source in node.merged:
            self._count(source, depth + 1)
            for key, entry in self._entries(source, depth + 1):
                self._count(source, depth + 1)
                yield key, entry
