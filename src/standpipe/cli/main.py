"""The entry point: which verbs there are, and how every way in which they can end becomes one line and an exit status."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from standpipe.cli.audit import audit
from standpipe.cli.check import check
from standpipe.cli.conformance import conformance
from standpipe.cli.dead import dead_app
from standpipe.cli.demo import demo
from standpipe.cli.doctor import doctor
from standpipe.cli.exit_codes import EPILOG, CommandFailed, ExitCode
from standpipe.cli.init import init
from standpipe.cli.list import list_types
from standpipe.cli.new import new_app
from standpipe.cli.options import GlobalOptions, require_verb
from standpipe.cli.output import prepare_streams, say
from standpipe.cli.run import run
from standpipe.cli.schema import schema
from standpipe.cli.send import send
from standpipe.cli.spool import spool_app
from standpipe.cli.version import show_version, version
from standpipe.core.errors import ConfigurationError, StandpipeError

_EXTRA = re.compile(r"Got unexpected extra arguments? ?(?:\(s\))? ?\((.*)\)")

app = typer.Typer(
    name="standpipe",
    help="Delivers messages through slow links, broken brokers and restarts, and can say where each one is.",
    epilog=EPILOG,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(check)
app.command()(doctor)
app.command()(init)
app.command()(send)
app.command("list")(list_types)
app.command()(schema)
app.add_typer(dead_app, name="dead")
app.add_typer(spool_app, name="spool")
app.command()(audit)
app.add_typer(new_app, name="new")
app.command()(conformance)
app.command()(demo)
app.command()(version)


@app.callback(invoke_without_command=True)
def _before_the_verb(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version_: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=lambda given: _version_if(given))
    ] = False,
) -> None:
    del version_
    context.obj.debug = debug
    require_verb(context)


def _version_if(given: bool) -> None:
    if given:
        show_version(False)
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; `arguments` default to those of the process. Never raises for a mistake of the user's."""
    prepare_streams()
    options = GlobalOptions()
    try:
        code = _invoke(arguments, options)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BaseException as error:
        if options.debug and sys.stderr is not None and not isinstance(error, SystemExit):
            with contextlib.suppress(OSError):
                traceback.print_exception(error)
        return _tell(error)


def _invoke(arguments: Sequence[str] | None, options: GlobalOptions) -> int:
    command = typer.main.get_command(app)
    result = command.main(None if arguments is None else list(arguments), prog_name="standpipe", standalone_mode=False, obj=options)
    return result if isinstance(result, int) else ExitCode.DELIVERED


def _tell(error: BaseException) -> int:
    """Say what went wrong, in one line where one is enough; returns the exit status."""
    if isinstance(error, SystemExit):  # standard output is a pipe that nobody reads any more: nothing is left to be said
        _abandon_stdout()
        return error.code if isinstance(error.code, int) else ExitCode.UNDELIVERED
    if isinstance(error, BrokenPipeError):
        _abandon_stdout()
        return ExitCode.UNDELIVERED
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return ExitCode.INTERRUPTED
    if isinstance(error, CommandFailed):
        say(f"standpipe: {error}")
        return error.exit_code
    if isinstance(error, ConfigurationError):
        return _tell_configuration(error)
    say(f"standpipe: {_in_words(error)}")
    return ExitCode.USAGE if isinstance(error, typer.TyperException) else ExitCode.UNDELIVERED


def _tell_configuration(error: ConfigurationError) -> int:
    problems = getattr(error, "problems", None)
    if problems is None:
        say(f"standpipe: {error}")
    else:
        say(str(error))
        number = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        say(f"standpipe: the configuration has {number}; nothing was started")
    return ExitCode.CONFIGURATION


def _in_words(error: BaseException) -> str:
    if isinstance(error, typer.TyperException):
        return _usage(error)
    if isinstance(error, StandpipeError):
        return str(error)
    if isinstance(error, OSError):
        _abandon_stdout()
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return f"{where}{(error.strerror or str(error)).lower()}"
    return f"internal error: {type(error).__name__}: {error}; `standpipe --debug ...` shows where, please report it"


def _usage(error: typer.TyperException) -> str:
    message = (
        _EXTRA.sub("unexpected argument \\1", error.format_message())
        .replace(". Did you mean", "; did you mean")
        .replace(": Value error, ", ": ")
        .rstrip(".")
    )
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "standpipe"
    if (
        message.startswith("unexpected argument")
        and context is not None
        and any("--config" in each.opts for each in context.command.params)
    ):
        message += "; name the configuration with --config"
    return f"{message[:1].lower()}{message[1:]}{'' if message.endswith('?') else ';'} see `{path} --help`"


def _abandon_stdout() -> None:
    """What is still buffered cannot be written: keep the end of the process from trying and complaining."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
