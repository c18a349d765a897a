"""`standpipe doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from standpipe.cli.exit_codes import ExitCode
from standpipe.cli.options import DEFAULT_FILE, AsJson, ConfigFile, seconds
from standpipe.cli.spool import StateDir

if TYPE_CHECKING:
    from standpipe.app.doctor import Examination

DEFAULT_TIMEOUT = "20s"


def doctor(
    file: ConfigFile = DEFAULT_FILE,
    state_dir: StateDir = None,
    timeout: Annotated[str, typer.Option("--timeout", help="Longest time for a destination to answer, such as 5s.")] = DEFAULT_TIMEOUT,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings, too, make the exit status 1.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and what is critical.")] = False,
    json: AsJson = False,
) -> int:
    """Examine every destination: what would be lost when.

    Says what to do about each finding. Connects and looks; nothing is sent and nothing changed, here or there.
    Exit status 0: nothing critical was found; 1: messages would be lost in an event that has to be expected, or a destination cannot
    be reached.
    """
    from standpipe.app.configuration import read_plan
    from standpipe.app.doctor import examine
    from standpipe.cli.output import show_json

    limit = seconds(timeout, "--timeout")
    plan = read_plan(file)
    found = examine(plan, plan.state_dir(state_dir), 20.0 if limit is None else limit)
    if json:
        show_json({"file": str(file), "healthy": _healthy(found, strict), "producers": [each.as_dict() for each in found]})
    else:
        _tell(file, found, quiet)
    return ExitCode.DELIVERED if _healthy(found, strict) else ExitCode.UNDELIVERED


def _healthy(found: list[Examination], strict: bool) -> bool:
    bad = ("critical", "warning") if strict else ("critical",)
    return not any(finding.severity.value in bad for each in found for finding in each.findings)


def _tell(file: Path, found: list[Examination], quiet: bool) -> None:
    from standpipe.cli.doctor_text import lines
    from standpipe.cli.output import printable, show

    show(printable("\n".join(lines(file, found, quiet))))
