"""The end of a run: keep what would be lost, tell what became of every message, choose the exit status."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator

from standpipe.app.application import Application
from standpipe.app.ledger import Ledger
from standpipe.cli.dead_letter_file import keep_dead_letters
from standpipe.cli.exit_codes import ExitCode
from standpipe.cli.ledger_text import ledger_lines, note_lines, trouble_lines
from standpipe.cli.output import number_of, program, say
from standpipe.delivery.dead_letters import MemoryDeadLetters

_log = logging.getLogger("standpipe.cli")


def report(application: Application, ledger: Ledger, *, stopped_early: bool, as_log: bool, tables: bool) -> ExitCode:
    """Tell people how it ended (`as_log`: programs that read the log), the `tables` if wanted and all troubles anyway."""
    troubles = [*trouble_lines(application, ledger), *_kept(application, ledger)]
    if stopped_early:
        troubles.insert(0, "stopped at once by a second signal")
    if as_log:
        _tell_log(ledger, troubles)
    else:
        _tell_people(ledger, troubles, tables)
    fine = ledger.all_delivered and ledger.adds_up and not stopped_early
    return ExitCode.DELIVERED if fine else ExitCode.UNDELIVERED


def _tell_log(ledger: Ledger, troubles: list[str]) -> None:
    _log.info("ledger", extra={"ledger": ledger.as_dict()})
    for note in note_lines(ledger):
        _log.warning("%s", note)
    for trouble in troubles:
        _log.error("%s", trouble)


def _tell_people(ledger: Ledger, troubles: list[str], tables: bool) -> None:
    if tables:
        say("\n".join(["", *ledger_lines(ledger)]))
        for note in note_lines(ledger):
            say(f"note: {note}")
    for trouble in troubles:
        say(f"standpipe: {trouble}")


def _kept(application: Application, ledger: Ledger) -> Iterator[str]:
    """Where the dead letters are, so that somebody looks at them."""
    counts = {row.producer: row.dead_lettered for row in ledger.rows if row.dead_lettered}
    in_memory = [name for name in counts if isinstance(application.producers[name].dead_letters, MemoryDeadLetters)]
    stored = sum(number for name, number in counts.items() if name not in in_memory)
    if stored:
        where = f"--config {shlex.quote(str(application.plan.path))} --state-dir {shlex.quote(str(application.state_dir.absolute()))}"
        yield f"{number_of(stored, 'dead letter')} kept; to look at them: {shlex.quote(program())} dead list {where}"
    yield from _kept_in_file(application, in_memory, sum(counts[name] for name in in_memory))


def _kept_in_file(application: Application, names: list[str], number: int) -> Iterator[str]:
    """Dead letters in memory would end with the process: into a file with them."""
    letters = [letter for name in names for letter in application.producers[name].dead_letters]
    if not letters:
        return
    folder = application.state_dir.absolute()
    try:
        path = keep_dead_letters(letters, folder)
    except OSError as error:
        yield f"{number_of(len(letters), 'dead letter')} could not be written to {folder} ({error.strerror or error}) and are gone"
        return
    yield f"{number_of(len(letters), 'dead letter')} with the reason and the message of each: {path}"
    lost = number - len(letters)
    if lost > 0:
        yield f"{number_of(lost, 'older dead letter')} had made room for these in memory and are gone"
