"""YAML text to a tree of nodes that know where they stand.

Built from PyYAML's events and not with its composer: nesting is bounded before the stack is, nothing is constructed
from tags, and every mistake that does not end the reading is collected with its position.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import yaml

from standpipe.config.problems import ConfigProblems, Path, Position, Problem, quoted
from standpipe.config.scalars import Scalar, read_scalar, read_tagged
from standpipe.config.syntax import syntax_problem

DEPTH_MAX = 64  # the deepest real configurations have about ten levels; serde_yaml stops at 128, JSON readers often at 100
NODES_MAX = 100_000  # two hundred times a configuration of a hundred components; a page of anchors can ask for billions
PROBLEMS_MAX = 500  # nobody reads more at once; a file of another kind is all problems

_SCALAR_TAGS = {f"tag:yaml.org,2002:{kind}": kind for kind in ("str", "int", "float", "bool", "null")}
_PLAIN_TAGS = (None, "!")


@dataclass(slots=True)
class Node:
    """A value and its position; `broken` if its problem has been reported and `value` means nothing."""

    position: Position
    value: Scalar | list[Node] | dict[str, Entry] = None
    merged: list[Node] = field(default_factory=list)
    broken: bool = False


@dataclass(slots=True)
class Entry:
    """One key of a mapping, where the key stands, and its node."""

    position: Position
    node: Node


def read_nodes(text: str, name: str, problems: list[Problem]) -> Node | None:
    """The root node of the only document in `text`, None if there is no document.

    Problems that leave the rest readable are appended to `problems`; the others raise ConfigProblems.
    """
    return _TreeBuilder(text, name, problems).root()


class _UnknownTag(ValueError):
    """a tag that constructs something else than plain data"""

    def __init__(self, tag: str) -> None:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        super().__init__(f"the tag {quoted(shown)} is not allowed, only !!str, !!int, !!float, !!bool, !!null, !!seq and !!map are")


class _TreeBuilder:
    def __init__(self, text: str, name: str, problems: list[Problem]) -> None:
        self._name = name
        self._problems = problems
        self._events = self._read_events(text)
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0
        self._depth = 0

    def _read_events(self, text: str) -> Iterator[yaml.Event]:
        # PyYAML lets some ValueErrors out: `"\UFFFFFFFF"` is not a character, `%YAML 9...9` not a number for int().
        loader: yaml.SafeLoader | None = None
        try:
            loader = yaml.SafeLoader(text)
            while loader.check_event():
                yield loader.get_event()  # type: ignore[no-untyped-call]
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            mark = loader.get_mark() if loader is not None else None
            raise ConfigProblems([*self._problems, syntax_problem(error, self._name, text, mark)]) from None

    def root(self) -> Node | None:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._fatal(event, "a second YAML document begins here", "keep one document in a file")
                root = self._node(next(self._events), ())
        return root

    def _fatal(self, event: yaml.Event, message: str, remedy: str) -> ConfigProblems:
        return ConfigProblems([*self._problems, Problem.at(self._position(event), (), message, remedy)])

    def _position(self, event: yaml.Event) -> Position:
        mark = event.start_mark
        return Position(self._name, mark.line + 1, mark.column + 1) if mark is not None else Position(self._name)

    def _report(self, position: Position, path: Path, message: str, remedy: str) -> None:
        self._problems.append(Problem.at(position, path, message, remedy))
        if len(self._problems) >= PROBLEMS_MAX:
            last = Problem.at(position, (), f"{PROBLEMS_MAX} problems so far, the rest was not read", "mend these first")
            raise ConfigProblems([*self._problems, last])

    def _node(self, event: yaml.Event, path: Path) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        # Counted here and not by the path: keys may be collections themselves and do not lengthen the path.
        self._nodes += 1
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._fatal(event, f"nested more than {DEPTH_MAX} levels deep", "make the configuration flatter")
        if self._nodes > NODES_MAX:
            raise self._fatal(event, f"more than {NODES_MAX} values", "split the configuration over several processes")
        node = self._anchored_node(cast(yaml.NodeEvent, event), path)
        self._depth -= 1
        return node

    def _anchored_node(self, event: yaml.NodeEvent, path: Path) -> Node:
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None
        node = self._fresh_node(event, path)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _fresh_node(self, event: yaml.Event, path: Path) -> Node:
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event, path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, path)
        return self._scalar(cast(yaml.ScalarEvent, event), path)

    def _alias(self, event: yaml.AliasEvent, path: Path) -> Node:
        anchor = event.anchor or ""
        node = self._anchors.get(anchor)
        if node is None:
            fault = "stands inside the value it names" if anchor in self._anchors else "names nothing"
            remedy = f"write the value here, or mark it with &{anchor} further up"
            self._report(self._position(event), path, f"the alias *{anchor} {fault}", remedy)
            return Node(self._position(event), broken=True)
        return Node(self._position(event), node.value, node.merged, node.broken)

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Node:
        position = self._position(event)
        try:
            return Node(position, self._scalar_value(event))
        except _UnknownTag as error:
            self._report(position, path, str(error), "remove the tag")
            return Node(position, broken=True)
        except ValueError as error:
            self._report(position, path, str(error), "mend the value, or put it in quotes if it is text")
            return Node(position, broken=True)

    def _scalar_value(self, event: yaml.ScalarEvent) -> Scalar:
        text = event.value
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError("half of a surrogate pair is not a character")
        if event.tag in _PLAIN_TAGS:
            return read_scalar(text) if event.tag is None and event.implicit[0] else text
        kind = _SCALAR_TAGS.get(event.tag)
        if kind is None:
            raise _UnknownTag(event.tag)
        return read_tagged(kind, text)

    def _check_tag(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent, kind: str, path: Path) -> bool:
        if event.tag in (*_PLAIN_TAGS, f"tag:yaml.org,2002:{kind}"):
            return True
        self._report(self._position(event), path, str(_UnknownTag(event.tag)), "remove the tag")
        return False

    def _sequence(self, event: yaml.SequenceStartEvent, path: Path) -> Node:
        items: list[Node] = []
        node = Node(self._position(event), items, broken=not self._check_tag(event, "seq", path))
        while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(inner, (*path, len(items))))
        return node

    def _mapping(self, event: yaml.MappingStartEvent, path: Path) -> Node:
        entries: dict[str, Entry] = {}
        node = Node(self._position(event), entries, broken=not self._check_tag(event, "map", path))
        merge: Position | None = None
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            position = self._position(inner)
            if _is_merge(inner):
                if merge is not None:
                    self._report_duplicate(position, (*path, "<<"), merge)
                merge = position
                node.merged += self._merge_sources(path)
                continue
            key = self._key(inner, path)
            value = self._node(next(self._events), path if key is None else (*path, key))
            if key is None:
                continue
            if key in entries:
                self._report_duplicate(position, (*path, key), entries[key].position)
            else:
                entries[key] = Entry(position, value)
        return node

    def _report_duplicate(self, position: Position, path: Path, first: Position) -> None:
        message = f"duplicate key {quoted(str(path[-1]))}"
        self._report(position, path, message, f"it stands at line {first.line}, column {first.column} already; keep one of the two")

    def _key(self, event: yaml.Event, path: Path) -> str | None:
        """The key, or None when it is none and that has been reported."""
        before = len(self._problems)
        node = self._node(event, path)
        if isinstance(node.value, str) and not node.broken:
            return node.value
        if len(self._problems) == before:
            written = event.value if isinstance(event, yaml.ScalarEvent) else None
            what = f"the key {quoted(written)} is not text" if written is not None else "a key must be text"
            remedy = f'write it in quotes: "{written}"' if written and written.isprintable() else "write a name before the colon"
            self._report(node.position, path, what, remedy)
        return None

    def _merge_sources(self, path: Path) -> list[Node]:
        node = self._node(next(self._events), (*path, "<<"))
        sources = node.value if isinstance(node.value, list) else [node]
        good = [source for source in sources if isinstance(source.value, dict)]
        if len(good) < len(sources) and not node.broken:
            self._report(node.position, (*path, "<<"), "only mappings can be merged with <<", "name one with *alias, or several in a list")
        return good


def _is_merge(event: yaml.Event) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.tag is None and event.implicit[0]
