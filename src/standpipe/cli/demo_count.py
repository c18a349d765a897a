"""Counting what the demo did without asking Standpipe: in the log it read and in the files it wrote."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass

from standpipe.app.ledger import Ledger
from standpipe.cli.demo_setup import Scene, count_lines


@dataclass(frozen=True)
class Count:
    """What was found, and what the ledger says of the same."""

    log_lines: int
    made_up_lines: int
    archived: int
    alerts: int
    ledger_read: int
    ledger_delivered: dict[str, int]

    @property
    def agrees(self) -> bool:
        """Whether the files hold each line that was read once, and the ledger says the same."""
        found = {"archive": self.archived, "alerts": self.alerts}
        return self.ledger_delivered == found and self.ledger_read == self.log_lines + self.made_up_lines == self.archived + self.alerts


def count_independently(scene: Scene, ledger: Ledger) -> Count:
    """Count lines and rows."""
    read = {lane.agent: lane.read for lane in ledger.lanes}
    now = count_lines(scene.log)
    # The machine goes on writing its log: what matters is its length when it was read to its end, somewhere in between.
    log_lines = now if read.get("dpkg") == now else scene.log_lines
    return Count(
        log_lines=log_lines,
        made_up_lines=scene.made_up_lines,
        archived=_rows(scene),
        alerts=count_lines(scene.alerts) if scene.alerts.exists() else 0,
        ledger_read=sum(read.values()),
        ledger_delivered={row.producer: row.delivered for row in ledger.rows},
    )


def _rows(scene: Scene) -> int:
    with contextlib.closing(sqlite3.connect(scene.archive)) as database:
        try:
            return int(database.execute("SELECT count(*) FROM messages").fetchone()[0])
        except sqlite3.OperationalError:  # stopped before anything arrived
            return 0
