"""Reconciling what is in a state folder: spools, dead letters, checkpoints. Read-only; a running daemon is not disturbed."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from standpipe.app.audit_checkpoints import CheckpointRow, audit_checkpoints
from standpipe.app.audit_dead_letters import DeadLetterAccount, audit_dead_letters, stores
from standpipe.app.audit_findings import Findings
from standpipe.app.configuration import Plan
from standpipe.app.spools import SpoolPlace, find_spools, messages_of
from standpipe.spool.errors import SpoolTooNew
from standpipe.spool.inspect import Survey
from standpipe.spool.inspection import SERIOUS, Inspection, Problem

_NOTES = ("unfinished", "unknown")
_SERIOUS = {*SERIOUS, "does_not_add_up", "too_new", "unreadable", "dead_letters", "beyond_end"}


@dataclass(frozen=True)
class AuditRow:
    """One spool and the dead letters of its producer. `given_out = settled + waiting + missing`."""

    producer: str
    spool: str | None
    """folder of the spool; None: there is none"""
    owner: int | None
    """the process that uses it now; 0: somebody unknown, None: nobody"""
    given_out: int = 0
    """numbers given to messages: all that were ever accepted, as far as files tell"""
    settled: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    in_flight: int = 0
    """those that wait and may have been sent before"""
    missing: int = 0
    damaged_bytes: int = 0
    set_aside_bytes: int = 0
    dead_letters: int = 0
    dead_letter_reasons: dict[str, int] = field(default_factory=dict)

    @property
    def adds_up(self) -> bool:
        """Whether every number is accounted for."""
        return self.given_out == self.settled + self.waiting + self.missing


@dataclass
class Audit:
    """The ledger of a state folder. `clean`: there are no findings."""

    state_dir: Path
    rows: list[AuditRow]
    checkpoints: list[CheckpointRow]
    findings: Findings

    @property
    def clean(self) -> bool:
        """Whether everything is as it should be."""
        return not self.findings.findings

    @property
    def accounted(self) -> bool:
        """Whether no message is missing, and everything could be read."""
        return not any(finding.kind in _SERIOUS for finding in self.findings.findings)

    @property
    def running(self) -> list[int]:
        """The processes that are at work in the folder; 0 for one that cannot be named."""
        owners = [row.owner for row in self.rows] + [row.owner for row in self.checkpoints]
        return sorted({owner for owner in owners if owner is not None})

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "state_dir": str(self.state_dir),
            "clean": self.clean,
            "running": self.running,
            "producers": [asdict(row) | {"adds_up": row.adds_up} for row in self.rows],
            "checkpoints": [asdict(row) | {"lag": row.lag} for row in self.checkpoints],
            "findings": [finding.as_dict() for finding in self.findings.findings],
            "notes": [note.as_dict() for note in self.findings.notes],
        }


def audit(state_dir: Path, plan: Plan | None = None) -> Audit:
    """Compare everything in `state_dir`. With the configuration (`plan`) also spools of producers that do not exist are found.

    Raises nothing for what is damaged or unreadable: that is what it is for.
    """
    findings = Findings()
    letters = {name: audit_dead_letters(path, findings) for name, path in stores(state_dir).items()}
    if plan is not None:
        for name in letters.keys() - plan.producers.keys():
            findings.note(
                "unknown", f"dead/{name}.sqlite", "no producer of this name is configured; `standpipe dead list` shows its letters"
            )
    rows = [_row(place, letters.pop(place.producer, None), findings) for place in find_spools(plan, state_dir)]
    rows += [AuditRow(name, None, None, **_of(account)) for name, account in letters.items()]
    return Audit(state_dir, rows, audit_checkpoints(state_dir, plan, findings), findings)


def _row(place: SpoolPlace, letters: DeadLetterAccount | None, findings: Findings) -> AuditRow:
    found = _inspected(place, letters, findings) if place.exists else Inspection()
    if found is None:
        return AuditRow(place.label, str(place.folder), None, **_of(letters))
    if place.configured is False:
        _tell_unknown(place, found, findings)
    for problem in found.problems:
        _tell_problem(place, problem, findings)
    if not found.adds_up:
        findings.add("does_not_add_up", place.label, "given out is not settled + waiting + missing; please report this")
    return AuditRow(
        place.label,
        str(place.folder),
        found.owner,
        found.numbers,
        found.settled,
        found.waiting,
        found.waiting_bytes,
        found.in_flight,
        found.missing,
        found.damaged_bytes,
        found.set_aside_bytes,
        **_of(letters),
    )


def _of(letters: DeadLetterAccount | None) -> dict[str, Any]:
    return {} if letters is None else {"dead_letters": letters.letters, "dead_letter_reasons": letters.reasons}


def _inspected(place: SpoolPlace, letters: DeadLetterAccount | None, findings: Findings) -> Inspection | None:
    """The spool, and which of its messages that wait are dead letters as well; None if it cannot be read, which is a finding."""
    dead = letters.ids if letters is not None else frozenset()
    both: Counter[bool] = Counter()
    try:
        survey = Survey.of(place.folder)
        for waiting in survey.waiting():
            if dead:
                both.update(message.id in dead for message in messages_of(waiting))
    except SpoolTooNew as error:
        findings.add("too_new", place.label, str(error))
        return None
    except OSError as error:
        findings.add("unreadable", place.label, f"{place.folder}: {(error.strerror or str(error)).lower()}")
        return None
    if both[True]:
        text = f"{both[True]:,} message(s) are dead letters and wait as well: being replayed, or put aside just before a crash"
        findings.note("in_both", place.label, text)
    return survey.result()


def _tell_unknown(place: SpoolPlace, found: Inspection, findings: Findings) -> None:
    text = f"no producer that is configured uses this spool ({place.folder})"
    if found.waiting:
        remedy = "configure one of this name with `queue: {type: spool}` to deliver them"
        findings.add("unknown_producer", place.label, f"{text}, and {found.waiting:,} message(s) wait in it; {remedy}")
    else:
        findings.add("unknown_producer", place.label, f"{text}; nothing waits in it, remove it if it is not needed")


def _tell_problem(place: SpoolPlace, problem: Problem, findings: Findings) -> None:
    tell = findings.note if problem.kind in _NOTES else findings.add
    tell(problem.kind, place.label, str(problem))
