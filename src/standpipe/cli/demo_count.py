"""Counting what the demo did without asking Standpipe: in the logs it read and in the files it wrote."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from dataclasses import dataclass
from typing import Any

from standpipe.cli.demo_setup import Scene, count_lines
from standpipe.cli.demo_visits import number_in


@dataclass(frozen=True)
class Count:
    """What was found. `package_lines` is what the package log had when it was read, `package_lines_now` what it has now."""

    package_lines: int
    package_lines_now: int
    packages_arrived: int
    visits: int
    visits_arrived: int
    repeated: int
    archived: int
    alerts: int

    @property
    def nothing_is_missing(self) -> bool:
        """Whether each visit is there, and of the package log each line once."""
        return self.visits_arrived == self.visits and self.package_lines <= self.packages_arrived <= self.package_lines_now


def count_independently(scene: Scene) -> Count:
    """Read both destinations through and compare them with both logs."""
    archived = _query(scene, "SELECT user, count(*) FROM messages GROUP BY user")
    alerts = _alerts(scene)
    seen: Counter[int | None] = Counter()
    for user, times in archived:
        seen[number_in(str(user))] += times
    seen.update(number_in(f"{alert.get('user')} {alert.get('message')}") for alert in alerts)
    packages = seen.pop(None, 0)
    return Count(
        package_lines=scene.log_lines,
        package_lines_now=count_lines(scene.log),
        packages_arrived=packages,
        visits=count_lines(scene.visits),
        visits_arrived=len(seen),
        repeated=seen.total() - len(seen),
        archived=sum(times for _, times in archived),
        alerts=len(alerts),
    )


class Arrivals:
    """How much has arrived so far; cheap enough to be looked at ten times a second."""

    def __init__(self, scene: Scene) -> None:
        self.archived = 0
        self.packages = 0
        self.alerts = 0
        self._scene = scene
        self._complete = 0

    def look(self) -> None:
        """Count again."""
        for rows, visits in _query(self._scene, "SELECT count(*), count(user) FROM messages"):
            self.archived, self.packages = rows, rows - visits
        if self._scene.alerts.exists():
            self.alerts = count_lines(self._scene.alerts)

    def visits(self, written: int) -> bool:
        """Whether each of the `written` visits has arrived. Reads everything through, so only when there are enough lines."""
        lines = self.archived - self.packages + self.alerts
        if lines < written or lines == self._complete:
            return False
        self._complete = lines
        return count_independently(self._scene).visits_arrived == written


def _query(scene: Scene, query: str) -> list[tuple[Any, ...]]:
    """The rows; none as long as there is no database, or no table in it."""
    try:
        with contextlib.closing(sqlite3.connect(f"{scene.archive.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            return list(database.execute(query))
    except sqlite3.OperationalError:
        return []


def _alerts(scene: Scene) -> list[dict[str, Any]]:
    """The lines of the file; a line that is not whole is none."""
    found = []
    if scene.alerts.exists():
        for line in scene.alerts.read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found
