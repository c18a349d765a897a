"""What is in a store of dead letters, asked of SQLite read-only, also while others write to it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from standpipe.app.audit_findings import Findings
from standpipe.producers.dead_letters import FOLDER, SUFFIX
from standpipe.spool.dead_letter_table import APPLICATION_ID, VERSION, Status

BUSY_SECONDS: Final = 5.0
"""How long to wait for a writer; its transactions take milliseconds."""

IDS_MAX: Final = 100_000
"""Ids that are compared with those in the spool: some 15 MB."""


@dataclass
class DeadLetterAccount:
    """The dead letters of one producer. `added = letters + dropped + replayed + purged`."""

    letters: int = 0
    bytes: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    added: int = 0
    dropped: int = 0
    replayed: int = 0
    purged: int = 0
    ids: frozenset[str] = frozenset()


def stores(state_dir: Path) -> dict[str, Path]:
    """Every store, by the producer's name."""
    found = sorted((state_dir / FOLDER).glob(f"*{SUFFIX}"))
    return {path.name.removesuffix(SUFFIX): path for path in found if not path.name.startswith(".")}


def audit_dead_letters(path: Path, findings: Findings) -> DeadLetterAccount | None:
    """The account of one store; None if it cannot be read, which is a finding."""
    while True:
        quiet = not _log_of(path).exists()
        found = Findings()
        account = _look_at(path, found, quiet)
        if not quiet or not _log_of(path).exists():  # else somebody began to write meanwhile
            break
    findings.findings += found.findings
    findings.notes += found.notes
    return account


def _log_of(path: Path) -> Path:
    """SQLite's log: there as long as somebody has the database open, and after a crash."""
    return path.with_name(f"{path.name}-wal")


def _look_at(path: Path, findings: Findings, quiet: bool) -> DeadLetterAccount | None:
    where = f"{FOLDER}/{path.name}"
    try:
        with _reading(path, quiet) as db:
            problem = _problem(db)
            if problem is not None:
                findings.add("dead_letters", where, problem)
                return None
            account = _account(db)
            _compare(db, account, where, findings)
            return account
    except sqlite3.Error as error:
        findings.add("dead_letters", where, f"it cannot be read ({error}); `sqlite3 FILE .recover` saves what can be")
        return None


@contextlib.contextmanager
def _reading(path: Path, quiet: bool) -> Iterator[sqlite3.Connection]:
    # A database that nobody has open is read without locks: taking them would leave two more files behind.
    how = "mode=ro&immutable=1" if quiet else "mode=ro"
    db = sqlite3.connect(f"file:{quote(str(path.absolute()))}?{how}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("BEGIN")  # all that follows sees one state
        yield db
    finally:
        db.close()


def _problem(db: sqlite3.Connection) -> str | None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        return "it is a database of another program; move it away"
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        return f"it is of version {version}, this Standpipe knows {VERSION}; use the newer one"
    checked = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    return None if checked == "ok" else f"it is damaged ({checked}); `sqlite3 FILE .recover` saves what can be read"


def _account(db: sqlite3.Connection) -> DeadLetterAccount:
    names = ("letters", "bytes", "added", "dropped", "replayed", "purged")
    totals = db.execute(f"SELECT {', '.join(names)} FROM totals").fetchone() or (0,) * len(names)
    account = DeadLetterAccount(**dict(zip(names, totals, strict=True)))
    account.reasons = dict(db.execute("SELECT reason, count(*) FROM letters GROUP BY reason ORDER BY reason").fetchall())
    account.ids = frozenset(id for (id,) in db.execute("SELECT id FROM letters ORDER BY seq DESC LIMIT ?", (IDS_MAX,)))
    return account


def _compare(db: sqlite3.Connection, account: DeadLetterAccount, where: str, findings: Findings) -> None:
    there = sum(account.reasons.values())
    if there != account.letters:
        findings.add("dead_letters", where, f"it holds {there:,} letters and counts {account.letters:,}")
    gone = account.added - account.letters - account.dropped - account.replayed - account.purged
    if gone:
        findings.note("dead_letters", where, f"{gone:,} letter(s) were removed by hand")
    if account.dropped:
        findings.note("dead_letters", where, f"{account.dropped:,} letter(s) were dropped, as the bounds under `dead_letters` say")
    replaying = db.execute("SELECT count(*) FROM letters WHERE status = ?", (Status.REPLAYING.value,)).fetchone()[0]
    if replaying:
        findings.note("dead_letters", where, f"{replaying:,} letter(s) are being replayed, or a replay of them was interrupted")
