"""The page of the command line, made from the program itself."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer

from scripts.reference_fields import sentence, table
from standpipe.cli.exit_codes import MEANINGS


def program() -> Any:
    """The command line as the library that runs it sees it."""
    return typer.main.get_command(importlib.import_module("standpipe.cli.main").app)


def verbs(command: Any, name: str = "standpipe") -> Iterator[tuple[str, Any]]:
    """Every verb with its full name, such as `standpipe new producer`."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    else:
        for word, verb in inner.items():
            yield from verbs(verb, f"{name} {word}")


def command_line() -> str:
    """Every verb, option and exit code."""
    command = program()
    parts = [
        "<!-- Made by scripts/docs.py from the code: change the code, then run `make docs`. -->",
        "# Command line",
        inspect.cleandoc(command.help or ""),
        "## Options before the verb",
        _options(command),
        *(part for name, verb in verbs(command) for part in _verb(name, verb)),
        "## Exit codes",
        table(("code", "name", "meaning"), [(f"`{code.value}`", code.name.lower(), sentence(text)) for code, text in MEANINGS.items()]),
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _verb(name: str, verb: Any) -> Iterator[str]:
    arguments = "".join(f" {param.metavar or param.name.upper()}" for param in verb.params if not _is_option(param))
    yield f"## `{name}`"
    yield f"```text\n{name}{arguments} [OPTIONS]\n```"
    yield inspect.cleandoc(verb.help or "")
    yield _options(verb)


def _options(command: Any) -> str:
    rows = [(_written(param), _default(param), sentence(param.help or "")) for param in command.params]
    return table(("option or argument", "default", "meaning"), rows) if rows else ""


def _is_option(param: Any) -> bool:
    return bool(param.opts[0].startswith("-"))


def _written(param: Any) -> str:
    if not _is_option(param):
        return f"`{param.metavar or param.name.upper()}`"
    names = ", ".join(f"`{name}`" for name in param.opts)
    if getattr(param, "is_flag", False):
        return names
    kind = getattr(getattr(param, "type_descriptor", None), "annotation", None)
    choices = "\\|".join(str(member.value) for member in kind) if isinstance(kind, type) and issubclass(kind, Enum) else None
    return f"{names} `{param.metavar or choices or 'TEXT'}`".replace("\\|", "|")


def _default(param: Any) -> str:
    if param.required:
        return "**required**"
    value = param.default
    if value is None or value is False or value == () or value == []:
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"
