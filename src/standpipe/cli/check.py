"""`standpipe check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from standpipe.cli.exit_codes import ExitCode
from standpipe.cli.options import DEFAULT_FILE, AsJson, ConfigFile

if TYPE_CHECKING:
    from standpipe.app.configuration import Plan
    from standpipe.config import ConfigProblems


def check(
    file: ConfigFile = DEFAULT_FILE,
    json: AsJson = False,
    print_: Annotated[bool, typer.Option("--print", help="Print the configuration with its includes, secrets hidden.")] = False,
) -> int:
    """Check a configuration: valid, or its problems and remedies.

    Nothing is opened, connected or started.
    """
    from standpipe.app.configuration import read_plan
    from standpipe.cli.output import show_json
    from standpipe.config import ConfigProblems

    try:
        plan = read_plan(file)
    except ConfigProblems as error:
        if not json:
            raise
        show_json(_invalid(file, error))
        return ExitCode.CONFIGURATION
    if json:
        show_json(_valid(file, plan) | ({"configuration": plan.effective} if print_ else {}))
    else:
        _tell(file, plan, print_)
    return ExitCode.DELIVERED


def _tell(file: Path, plan: Plan, print_: bool) -> None:
    from standpipe.cli.output import number_of, printable, say, show

    for warning in plan.warnings:
        say(f"{file}: warning: {warning}")
    if print_:
        import yaml

        show(yaml.safe_dump(plan.effective, sort_keys=False, allow_unicode=True, width=120).rstrip())
        return
    counts = ", ".join(number_of(count, noun[:-1]) for noun, count in _counts(plan).items())
    show(printable(f"{file}: valid: {counts}"))


def _counts(plan: Plan) -> dict[str, int]:
    return {"producers": len(plan.producers), "agents": len(plan.agents), "pipelines": len(plan.pipelines)}


def _valid(file: Path, plan: Plan) -> dict[str, Any]:
    return {"file": str(file), "valid": True, "problems": [], "warnings": plan.warnings, **_counts(plan)}


def _invalid(file: Path, error: ConfigProblems) -> dict[str, Any]:
    from standpipe.config import format_path

    problems = [
        {
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "path": format_path(problem.path),
            "message": problem.message,
            "remedy": problem.remedy,
        }
        for problem in error.problems
    ]
    return {"file": str(file), "valid": False, "problems": problems, "warnings": []}
