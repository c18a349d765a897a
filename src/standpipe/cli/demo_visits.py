"""The access log that grows while the demo runs: made-up visits, each with a number, so that any that is missing is noticed."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

from standpipe.agents.generator import AccessLog

ERROR_RATIO, MALFORMED_RATIO = 0.05, 0.01
TICK = 0.05
"""Seconds between two portions of lines."""

_NOBODY = " - - ["
_NUMBER = re.compile(r"\bvisit-([0-9]+)\b")


class VisitLog(threading.Thread):
    """Appends `count` lines to `path`, `rate` a second, whatever happens to those who read them. `written` says how many so far."""

    def __init__(self, path: Path, count: int, rate: float) -> None:
        super().__init__(name="standpipe-demo-visits", daemon=True)
        self.written = 0
        self._path = path
        self._count = count
        self._rate = rate
        self._ended = threading.Event()
        self._lines = AccessLog(ERROR_RATIO, MALFORMED_RATIO, None)

    def run(self) -> None:
        """The body of the thread."""
        started = time.monotonic()
        with self._path.open("a", encoding="utf-8") as file:
            while self.written < self._count and not self._ended.wait(TICK):
                due = min(self._count, int((time.monotonic() - started) * self._rate))
                lines = self._lines.take(due - self.written, time.time())
                file.write("".join(f"{numbered(line, self.written + index)}\n" for index, line in enumerate(lines, 1)))
                file.flush()
                self.written = due

    def stop(self) -> None:
        """Write no more; returns when the last line is written."""
        self._ended.set()
        if self.is_alive():
            self.join()


def numbered(line: str, number: int) -> str:
    """The line with the number of the visit: as its user if it is a whole line, in front of it if it is a broken one."""
    named = line.replace(_NOBODY, f" - visit-{number} [", 1)
    return named if named != line else f"visit-{number} {line}"


def number_in(text: str) -> int | None:
    """The number of the visit that `text` is about; None if it is about something else."""
    found = _NUMBER.search(text)
    return int(found[1]) if found is not None else None
