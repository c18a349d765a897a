"""Saying a thing once: a problem that lasts is logged when it begins and when it changes, not at every look."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

logger = logging.getLogger("standpipe.agents")

MAX_REMEMBERED = 10_000  # subjects; a directory with more broken files than this is complained about more than once


class Complaints:
    """Remembers what was complained about. `note` is told every new complaint, for the statistics. Not thread-safe."""

    def __init__(self, agent: str, note: Callable[[str], None]) -> None:
        self._agent = agent
        self._note = note
        self._said: dict[str, str] = {}

    def about(self, subject: str, problem: str) -> None:
        """Log that `subject` has `problem`, unless that was the last thing said about it."""
        if self._said.get(subject) == problem:
            return
        if len(self._said) >= MAX_REMEMBERED:
            self._said.clear()
        self._said[subject] = problem
        self.event(subject, problem)

    def event(self, subject: str, problem: str) -> None:
        """Log something that happened, every time it happens."""
        self._note(f"{printable(subject)}: {problem}")
        logger.warning("agent %r: %s: %s", self._agent, printable(subject), problem)

    def settled(self, subject: str) -> None:
        """The subject is well again; says so when there was a complaint."""
        if self._said and self._said.pop(subject, None) is not None:
            logger.info("agent %r: %s: all right again", self._agent, printable(subject))


def printable(path: str) -> str:
    """A path as text that every log and every JSON encoder takes: bytes of it that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")
