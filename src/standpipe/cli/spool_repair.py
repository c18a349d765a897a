"""A repair as the user sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from standpipe.app.spools import SpoolPlace
from standpipe.cli.exit_codes import ExitCode
from standpipe.cli.output import number_of, printable, say, show, show_json
from standpipe.spool.files import RealFileSystem
from standpipe.spool.repair import Repair, repair


def repair_all(places: Sequence[SpoolPlace], *, json: bool) -> ExitCode:
    """Mend these spools and tell; DELIVERED when all are sound. Raises SpoolInUse, SpoolTooNew, SpoolError."""
    done = {place: repair(RealFileSystem(place.folder), place.label) for place in places if place.exists}
    if json:
        show_json({"spools": [_entry(place, each) for place, each in done.items()]})
    else:
        for place in places:
            _tell(place, done.get(place))
    return ExitCode.DELIVERED if all(each.after.sound for each in done.values()) else ExitCode.UNDELIVERED


def _entry(place: SpoolPlace, done: Repair) -> dict[str, Any]:
    return {
        "producer": place.producer,
        "part": place.part,
        "folder": str(place.folder),
        "actions": done.actions,
        "set_aside_bytes": done.set_aside_bytes,
        "written_off": done.written_off,
        "messages": done.after.waiting,
        "sound": done.after.sound,
    }


def _tell(place: SpoolPlace, done: Repair | None) -> None:
    if done is None:
        show(f"{place.label}: nothing to repair: nothing was stored yet")
        return
    for action in done.actions:
        show(printable(f"{place.label}: {action}"))
    waiting = f"{number_of(done.after.waiting, 'message')} waiting"
    show(f"{place.label}: {'sound again' if done.actions else 'nothing to repair'}: {waiting}")
    if done.written_off:
        say(f"standpipe: {place.label}: {number_of(done.written_off, 'message')} cannot be read any more and will not be delivered")
    for problem in done.after.problems:
        if problem.serious:
            say(f"standpipe: {place.label}: still wrong: {problem}")
