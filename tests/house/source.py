"""The repository as data: its text files, and the syntax trees of the package."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "standpipe"

MADE_BY_TOOLS = {"build", "dist", "site", "results", "__pycache__"}
"""Folders that tools write; what is in them is not ours. `results` are measurements, with the machine's own texts."""


@dataclass(frozen=True)
class Module:
    """One source file of the package: where it is (relative to the package), its text and its tree."""

    path: str
    text: str
    tree: ast.Module

    def at(self, node: ast.AST) -> str:
        return f"src/standpipe/{self.path}:{getattr(node, 'lineno', 1)}"


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package, parsed once."""
    files = sorted(PACKAGE.rglob("*.py"))
    return tuple(Module(str(file.relative_to(PACKAGE)), text := file.read_text("utf-8"), ast.parse(text)) for file in files)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method in the tree, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


@cache
def texts() -> dict[str, str]:
    """Every text file of the repository by its path; files that are not UTF-8 are no text of ours."""
    found = {}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if _is_ours(name))
        for name in sorted(files):
            path = Path(folder, name)
            try:
                found[str(path.relative_to(ROOT))] = path.read_text("utf-8")
            except (UnicodeDecodeError, FileNotFoundError):
                continue
    return found


def _is_ours(folder: str) -> bool:
    return folder == ".ci" or not (folder.startswith(".") or folder in MADE_BY_TOOLS or folder.endswith(".egg-info"))
