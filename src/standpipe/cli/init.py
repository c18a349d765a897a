"""`standpipe init`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.options import DEFAULT_FILE, ConfigFile
from standpipe.cli.output import program, say


def init(
    file: ConfigFile = DEFAULT_FILE,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
) -> None:
    """Write a commented configuration to start from.

    It is valid and runs as it stands.
    """
    from standpipe.cli.starter import STARTER

    _write_new(file, STARTER, force)
    standpipe = shlex.quote(program())
    say(f"wrote {file}; next:\n  {standpipe} check {shlex.quote(str(file))}\n  {standpipe} run {shlex.quote(str(file))}")


def _write_new(file: Path, text: str, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise CommandFailed(
            f"{file} exists already and stays as it is; name another file, or replace it with --force", ExitCode.USAGE
        ) from None
