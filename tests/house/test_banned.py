"""Calls and words that have no place here, each with what to write instead."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.house.source import Module, modules, texts


@dataclass(frozen=True)
class Ban:
    """A call that is banned in the package (or in the part of it that starts with `room`), but for the files in `allowed`."""

    name: str
    instead: str
    allowed: tuple[str, ...] = ()
    room: str = ""

    def concerns(self, path: str) -> bool:
        return path.startswith(self.room) and not path.startswith(self.allowed)


BANS = (
    Ban("time.sleep", "wait for an Event or a Condition with a timeout, so that shutdown ends the wait at once"),
    Ban("datetime.datetime.utcnow", "datetime.now(UTC): a naive time is wrong on every other machine"),
    Ban("datetime.datetime.utcfromtimestamp", "datetime.fromtimestamp(seconds, UTC)"),
    Ban("yaml.load", "the loader in config, which keeps positions and finds duplicate keys; or yaml.safe_load"),
    Ban("pickle.*", "orjson: what comes from disk or the network must not be able to run code"),
    Ban("marshal.*", "orjson: what comes from disk or the network must not be able to run code"),
    Ban("eval", "standpipe.pipelines.expression", allowed=("pipelines/expression.py",)),
    Ban("exec", "standpipe.pipelines.expression", allowed=("pipelines/expression.py",)),
    Ban("print", "a logger under standpipe.*; only the command line and the console producer write to the terminal",
        allowed=("cli/", "producers/console.py")),
    Ban("*.splitlines", "split on b'\\n': splitlines also splits on form feeds, separators and other characters of a line", room="agents/"),
)  # fmt: skip

every_module = pytest.mark.parametrize("module", modules(), ids=lambda module: module.path)


@every_module
def test_no_banned_call(module: Module) -> None:
    assert list(_banned_calls(module)) == []


@every_module
def test_no_assert_that_python_may_leave_out(module: Module) -> None:
    """`python -O` removes assertions. The test kit is for tests, where they are the point."""
    found = [module.at(node) for node in ast.walk(module.tree) if isinstance(node, ast.Assert) and not module.path.startswith("testing/")]
    assert found == [], "raise an error that names the thing, the value and the remedy"


@every_module
def test_no_bare_except(module: Module) -> None:
    found = [module.at(node) for node in ast.walk(module.tree) if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert found == [], "name the exceptions; a bare except also swallows Ctrl-C"


@every_module
def test_every_logger_is_under_standpipe(module: Module) -> None:
    known = _imported_names(module.tree)
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call) and _name(node.func, known) == "logging.getLogger"]
    found = [module.at(call) for call in calls if not _is_our_logger(call, module)]
    assert found == [], "the library's loggers are standpipe.*; only the command line may configure others, through telemetry"


def test_nothing_is_left_for_later() -> None:
    marker = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
    assert _lines_with(marker) == [], "finish it, or leave it out"


def test_nothing_tells_where_packages_came_from_or_where_this_was_built() -> None:
    address = r"(?:extra-)?index-url\b|find-links\b|trusted-host\b|pypi\.org/simple|pythonhosted\.org"
    build_machine = r"(?<![\w.~-])/(?:root|work|opt/pypi\S*|opt/wheels)(?=/|\s|$|['\"`])"
    found = _lines_with(re.compile(f"{address}|{build_machine}"))
    own = ("scripts/lock:", "tests/house/test_banned.py:", ".git:")  # two name what to keep out; in a second work tree .git is a file
    assert [line for line in found if not line.startswith(own)] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.sleep(1)", "time.sleep"),
        ("from time import sleep as doze\ndoze(1)", "time.sleep"),
        ("from datetime import datetime\ndatetime.utcnow()", "datetime.datetime.utcnow"),
        ("import yaml\nyaml.load('')", "yaml.load"),
        ("import pickle\npickle.loads(b'')", "pickle.*"),
        ("from pickle import loads\nloads(b'')", "pickle.*"),
        ("print(1)", "print"),
        ("eval('1')", "eval"),
        ("'a b'.strip().splitlines()", "*.splitlines"),
    ],
)
def test_the_search_for_banned_calls_finds_each(source: str, found: str) -> None:
    assert [found in line for line in _banned_calls(Module("agents/example.py", source, ast.parse(source)))] == [True]


def _banned_calls(module: Module) -> Iterator[str]:
    known = _imported_names(module.tree)
    bans = [ban for ban in BANS if ban.concerns(module.path)]
    for call in (node for node in ast.walk(module.tree) if isinstance(node, ast.Call)):
        name = _name(call.func, known)
        yield from (f"{module.at(call)}: {ban.name}: instead: {ban.instead}" for ban in bans if _matches(ban.name, name))


def _matches(banned: str, name: str) -> bool:
    if banned.startswith("*"):
        return name.endswith(banned[1:])
    return name == banned or (banned.endswith(".*") and name.startswith(banned[:-1]))


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for, in full: `{"doze": "time.sleep"}`."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom):
            known.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return known


def _name(function: ast.expr, known: dict[str, str]) -> str:
    """The dotted name that is called; what stands before the last dots and is no name becomes `?`."""
    if isinstance(function, ast.Attribute):
        return f"{_name(function.value, known)}.{function.attr}"
    return known.get(function.id, function.id) if isinstance(function, ast.Name) else "?"


def _is_our_logger(call: ast.Call, module: Module) -> bool:
    if not call.args:
        return False
    name = call.args[0]
    if isinstance(name, ast.Name):
        name = _constants(module.tree).get(name.id, name)
    if isinstance(name, ast.JoinedStr) and name.values:
        name = name.values[0]
    if isinstance(name, ast.Constant):
        return str(name.value) == "standpipe" or str(name.value).startswith("standpipe.")
    return isinstance(name, ast.Name) and name.id == "__name__"


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {target.id: node.value for node in assigned for target in node.targets if isinstance(target, ast.Name)}


def _lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for path, text in texts().items()
        for number, line in enumerate(text.split("\n"), 1)
        if pattern.search(line)
    ]
