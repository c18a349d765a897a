"""`standpipe audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.options import AsJson
from standpipe.cli.output import say, show, show_json
from standpipe.cli.spool import Config, StateDir

if TYPE_CHECKING:
    from standpipe.app.audit import Audit


def audit(config: Config = None, state_dir: StateDir = None, json: AsJson = False) -> int:
    """Check that every message on the disk is accounted for.

    Spools, dead letters and checkpoints are compared. Nothing is changed, and it may be done while `standpipe run` is running.
    Exit status 0: it all adds up; 1: there are differences, each with its place.
    """
    from standpipe.app import audit as auditing
    from standpipe.cli.dead_stores import find_place

    place = find_place(config, state_dir)
    if state_dir is not None and not state_dir.is_dir():
        raise CommandFailed(f"--state-dir {state_dir}: there is no such folder", ExitCode.USAGE)
    found = auditing.audit(place.state_dir, place.plan)
    if json:
        show_json(found.as_dict())
    else:
        _tell(found)
    return ExitCode.DELIVERED if found.clean else ExitCode.UNDELIVERED


def _tell(found: Audit) -> None:
    from standpipe.cli.audit_text import audit_lines, finding_lines, note_lines

    show("\n".join(audit_lines(found)))
    for line in note_lines(found):
        say(line)
    for line in finding_lines(found):
        say(line)
