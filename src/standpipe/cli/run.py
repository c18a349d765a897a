"""`standpipe run`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.log_options import LogFormat, LogLevel
from standpipe.cli.options import DEFAULT_FILE, AsJson, ConfigFile, seconds
from standpipe.cli.output import show_json

if TYPE_CHECKING:
    from standpipe.app.configuration import Plan

_log = logging.getLogger("standpipe.cli")


def run(
    file: ConfigFile = DEFAULT_FILE,
    state_dir: Annotated[Path | None, typer.Option("--state-dir", metavar="DIR", help="Folder for checkpoints.")] = None,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="How the log is written.")] = LogFormat.HUMAN,
    log_level: Annotated[
        LogLevel | None,
        typer.Option("--log-level", help="Least important log lines; default: info, on a terminal warning.", show_default=False),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="DURATION", help="Time to deliver what is pending when stopped; default: the producers'."),
    ] = None,
    json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what goes wrong.")] = False,
) -> int:
    """Run pipelines until they are stopped or their sources end.

    SIGTERM and Ctrl-C stop reading and deliver what is pending, a second one stops at once. At the end the ledger
    says what became of every message: on standard error for people, with --json on standard output.
    """
    from standpipe.app.application import Application
    from standpipe.app.configuration import read_plan
    from standpipe.cli.log_output import logging_to
    from standpipe.cli.progress import choose_progress
    from standpipe.cli.run_end import report
    from standpipe.cli.runner import Runner
    from standpipe.cli.stop_signals import StopSignals

    limit = seconds(timeout, "--timeout")
    plan = read_plan(file)
    _check_there_is_something_to_run(file, plan)
    progress = choose_progress(plan, wanted=not quiet and log_format is LogFormat.HUMAN)
    level = log_level or (LogLevel.WARNING if quiet or progress.is_live else LogLevel.INFO)
    with StopSignals() as signals, logging_to(progress.log_stream, log_format, level):
        for warning in plan.warnings:
            _log.warning("%s: %s", file, warning)
        application = Application(plan, state_dir=state_dir)
        with progress:
            runner = Runner(application, signals, limit, progress.watch)
            ledger = runner.run()
        if json:
            show_json(ledger.as_dict(), indent=False)
        as_log = log_format is LogFormat.JSON
        return report(application, ledger, stopped_early=runner.stopped_early, as_log=as_log, tables=not (quiet or json))


def _check_there_is_something_to_run(file: Path, plan: Plan) -> None:
    if not plan.pipelines:
        raise CommandFailed(
            f"{file}: there is nothing to run: no pipeline leads from an agent to a producer; add one under `pipelines:` "
            "(`standpipe init` writes an example), or send single messages with `standpipe send`",
            ExitCode.USAGE,
        )
