"""`standpipe new`."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated

import typer

from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.options import require_verb
from standpipe.cli.output import say

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
NAME_MAX = 40
"""Characters in a name: it becomes part of a package's and a class's name, which people type."""

new_app = typer.Typer(help="Write something of your own to start from.", rich_markup_mode=None)


@new_app.callback(invoke_without_command=True)
def _before_the_verb(context: typer.Context) -> None:
    require_verb(context)


@new_app.command("producer")
def new_producer(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new type, such as pager or my-service.")],
    directory: Annotated[
        Path | None, typer.Option("--directory", metavar="DIR", help="Where to write it; default: standpipe-NAME.", show_default=False)
    ] = None,
) -> None:
    """Write a package with a producer of your own and its test.

    It is an HTTP producer that works as it stands, to be changed into yours.
    """
    from standpipe.cli.scaffold import producer_package

    _check_name(name)
    folder = directory if directory is not None else Path(f"standpipe-{name}")
    _check_folder(folder)
    files = producer_package(name)
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    listed = "\n".join(f"  {folder / path}" for path in files)
    say(f"wrote\n{listed}\nnext:\n  cd {folder} && python -m pip install -e '.[test]' && python -m pytest")


def _check_name(name: str) -> None:
    from standpipe.producers.registry import PRODUCERS

    if _NAME.fullmatch(name) is None or len(name) > NAME_MAX or keyword.iskeyword(name):
        raise CommandFailed(
            f"{name!r} cannot name a producer; use up to {NAME_MAX} lower-case letters, digits and '-', beginning with a letter, "
            "such as my-service",
            ExitCode.USAGE,
        )
    if name in PRODUCERS.built_in:
        raise CommandFailed(f"{name!r} is a built-in producer; choose another name, such as my-{name}", ExitCode.USAGE)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise CommandFailed(f"{folder} is not a folder; name another one with --directory", ExitCode.USAGE)
    if folder.is_dir() and any(folder.iterdir()):
        raise CommandFailed(f"{folder} is not empty and stays as it is; name another folder with --directory", ExitCode.USAGE)
