"""Dead letters for tests."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

from standpipe.core.dead_letter import DeadLetter, Reason

NOW = 1_800_000_000.0

LETTER = DeadLetter(
    id="m0",
    producer="orders",
    destination="http:orders",
    reason=Reason.REJECTED,
    is_error=False,
    payload=b'{"n":0}',
    key=None,
    headers=None,
    error="Reject: no such topic",
    traceback="Traceback ...",
    attempts=3,
    accepted_at=NOW - 10,
    first_attempt_at=NOW - 5,
    last_attempt_at=NOW,
)


def letter(number: int, **changes: Any) -> DeadLetter:
    """The letter of message `m<number>`."""
    return dataclasses.replace(LETTER, **({"id": f"m{number}", "payload": b'{"n":%d}' % number} | changes))


def integrity(path: Path) -> str:
    """What SQLite itself says of the file."""
    db = sqlite3.connect(path)
    try:
        return str(db.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        db.close()
