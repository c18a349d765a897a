"""Everything public says what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from tests.house.source import Module, modules

Documentable = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

NEEDS_NONE = {"overload", "override", "setter", "deleter", "field_validator", "model_validator", "field_serializer", "model_serializer"}
"""Decorators whose functions are documented elsewhere: the implementation, the base class, the property, the model's fields."""


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.path)
def test_everything_public_has_a_docstring(module: Module) -> None:
    undocumented = [f"{module.at(node)} {name}" for name, node in _public(module) if ast.get_docstring(node) is None]
    assert undocumented == []


def _public(module: Module) -> Iterator[tuple[str, ast.Module | Documentable]]:
    yield module.path, module.tree
    if any(part.startswith("_") and part != "__init__.py" for part in module.path.split("/")):
        return
    for node in _public_in(module.tree.body):
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{method.name}", method) for method in _public_in(node.body) if not _is_inherited(node, method.name))


def _public_in(body: list[ast.stmt]) -> Iterator[Documentable]:
    for node in body:
        if isinstance(node, Documentable) and not node.name.startswith("_") and not NEEDS_NONE.intersection(_decorators(node)):
            yield node


def _decorators(node: Documentable) -> set[str]:
    """The last part of each decorator's name."""
    called = [decorator.func if isinstance(decorator, ast.Call) else decorator for decorator in node.decorator_list]
    return {ast.unparse(name).rpartition(".")[2] for name in called}


def _is_inherited(owner: ast.ClassDef, method: str) -> bool:
    """Whether a base class of ours, however far up, documents the method: an override needs to say nothing again."""
    return any(method in _documented_methods(ast.unparse(base).partition("[")[0].rpartition(".")[2]) for base in owner.bases)


@cache
def _documented_methods(class_name: str) -> frozenset[str]:
    owner = _classes().get(class_name)
    if owner is None:
        return frozenset()
    own = {node.name for node in owner.body if isinstance(node, Documentable) and ast.get_docstring(node) is not None}
    bases = (ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in owner.bases)
    # A class may have the name of a library's class that it extends.
    return frozenset(own).union(*(_documented_methods(base) for base in bases if base != class_name))


@cache
def _classes() -> dict[str, ast.ClassDef]:
    return {node.name: node for module in modules() for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)}
