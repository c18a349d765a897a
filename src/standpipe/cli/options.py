"""Options that several verbs have, and reading their values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from standpipe.cli.exit_codes import CommandFailed, ExitCode

DEFAULT_FILE = Path("standpipe.yaml")
"""The configuration that is meant when none is named."""

ConfigFile = Annotated[Path, typer.Argument(metavar="[FILE]", help="The configuration.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs.")]


@dataclass
class GlobalOptions:
    """Options that stand before the verb."""

    debug: bool = False


def require_verb(context: typer.Context) -> None:
    """Without a verb: show the help, and end as for any other command line that asks for nothing."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


def seconds(value: str | None, option: str) -> float | None:
    """The value of an option that is a duration such as `5s`, in seconds; None when it was not given."""
    if value is None:
        return None
    from standpipe.core.units import parse_duration

    try:
        return parse_duration(value)
    except ValueError as error:
        raise CommandFailed(f"{option}: {error}", ExitCode.USAGE) from None


def near(value: str, known: list[str]) -> str:
    """What to say after a name that does not exist: the nearest one, or all that there are."""
    import difflib

    close = difflib.get_close_matches(value, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
