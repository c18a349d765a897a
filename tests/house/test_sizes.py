"""Files and functions stay small enough to be read in one go, and files have names that say what is in them."""

from __future__ import annotations

import pytest

from tests.house.source import Module, functions, modules

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}

every_module = pytest.mark.parametrize("module", modules(), ids=lambda module: module.path)


@every_module
def test_no_file_is_too_long(module: Module) -> None:
    lines = module.text.count("\n")
    assert lines <= FILE_LINES_MAX, f"src/standpipe/{module.path} has {lines} lines; give each concept its own file"


@every_module
def test_no_function_is_too_long(module: Module) -> None:
    lengths = {f"{module.at(node)} {node.name}": (node.end_lineno or 0) - node.lineno + 1 for node in functions(module.tree)}
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES_MAX} == {}


@every_module
def test_name_says_what_is_inside(module: Module) -> None:
    parts = module.path.removesuffix(".py").split("/")
    assert not NAMES_THAT_SAY_NOTHING.intersection(part.strip("_") for part in parts), f"name {module.path} after the concept it holds"
