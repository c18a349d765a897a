"""An audit in words: the ledger of the disk, and every difference."""

from __future__ import annotations

from collections.abc import Iterator

from standpipe.app.audit import Audit, AuditRow
from standpipe.app.audit_checkpoints import CheckpointRow
from standpipe.cli.output import number_of, table

_PLACES = {"renamed": " (renamed)", "replaced": " (replaced)", "gone": " (gone)", "unreadable": " (unreadable)", "there": ""}


def audit_lines(found: Audit) -> Iterator[str]:
    """The tables of producers and checkpoints, and the verdict."""
    yield f"state folder {found.state_dir}"
    if found.rows:
        header = ("producer", "given out", "settled", "waiting", "missing", "dead letters", "damaged bytes")
        yield from ["", *table(header, map(_row, found.rows))]
    if found.checkpoints:
        columns = ("pipeline", "agent", "file", "settled bytes", "size", "lag")
        yield from ["", *table(columns, map(_checkpoint, found.checkpoints), text_columns=3)]
    yield from ["", _verdict(found)]


def _row(row: AuditRow) -> tuple[object, ...]:
    if row.spool is None:
        return (row.producer, "-", "-", "-", "-", row.dead_letters, "-")
    return (row.producer, row.given_out, row.settled, row.waiting, row.missing, row.dead_letters, row.damaged_bytes)


def _checkpoint(row: CheckpointRow) -> tuple[object, ...]:
    size, lag = ("-" if value is None else value for value in (row.size, row.lag))
    return (row.pipeline, row.agent, f"{row.path}{_PLACES[row.state]}", row.offset, size, lag)


def _verdict(found: Audit) -> str:
    if not found.rows and not found.checkpoints and found.clean:
        return "There is nothing here: no spool, no dead letters, no checkpoint."
    return _judgement(found) + _running(found)


def _judgement(found: Audit) -> str:
    if found.clean:
        return "It adds up: every message is accounted for."
    differences = number_of(len(found.findings.findings), "difference")
    if found.accounted:
        return f"Every message is accounted for, but {differences} should be looked at."
    return f"It does NOT add up: {differences}."


def _running(found: Audit) -> str:
    if not found.running:
        return ""
    named = ", ".join(str(pid) for pid in found.running if pid) or "unknown"
    return f" A daemon is at work (process {named}): this is how it was a moment ago."


def note_lines(found: Audit) -> Iterator[str]:
    """What a person may want to know."""
    for note in found.findings.notes:
        yield f"note: {note}"


def finding_lines(found: Audit) -> Iterator[str]:
    """Every difference."""
    for finding in found.findings.findings:
        yield f"standpipe: {finding}"
