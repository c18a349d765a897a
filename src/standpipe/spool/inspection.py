"""What looking into a spool finds: what waits, what is wrong, and an account of all numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from standpipe.spool.format import Record

Kind = Literal["damaged", "header", "foreign", "positions", "missing", "unfinished", "set_aside", "leftover", "unknown"]

SERIOUS: Final[frozenset[Kind]] = frozenset({"damaged", "header", "foreign", "positions", "missing"})
"""What must not be. The rest is to be expected after a crash, or has been dealt with."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a spool that a person should know. `offset` and `size` are in bytes, where there are any.

    `damaged`: no intact record; `header`: a segment does not say (twice) what it is; `foreign`: it says that it is another;
    `positions`: what is settled is not known for sure; `missing`: messages that are neither stored nor settled;
    `unfinished`: what a crash left of a record that nobody was promised; `set_aside`: damaged bytes kept by an earlier start or
    repair; `leftover`: a temporary file of a crash; `unknown`: not one of ours.
    """

    kind: Kind
    file: str
    text: str
    offset: int | None = None
    size: int | None = None

    @property
    def serious(self) -> bool:
        """Whether the spool is not sound."""
        return self.kind in SERIOUS

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at offset {self.offset:,}"
        return f"{self.file}{where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record with messages that are not settled: its `parts` from a position within it to another (excluded).

    Messages without an id of their own are `prefix` and their number.
    """

    record: Record
    prefix: str
    parts: Sequence[tuple[int, int]]

    @property
    def count(self) -> int:
        """How many messages wait."""
        if len(self.parts) == 1:
            start, stop = self.parts[0]
            return stop - start
        return sum(stop - start for start, stop in self.parts)

    @property
    def size(self) -> int:
        """Bytes of their payload; of a record that is settled in part, a share."""
        size, count = len(self.record.payload), self.count
        return size if count == self.record.count else size * count // self.record.count


@dataclass
class Inspection:
    """What is in a spool. `numbers = settled + waiting + missing`, whatever happened to it."""

    folder: Path | None = None
    owner: int | None = None
    """the process that owns it; 0: somebody unknown, None: nobody"""
    segments: int = 0
    disk_bytes: int = 0
    """bytes that its segments take"""
    records: int = 0
    """intact records, settled ones included"""
    numbers: int = 0
    """numbers that were given out: messages ever accepted, as far as files tell"""
    settled: int = 0
    """messages delivered, dead-lettered or dropped"""
    waiting: int = 0
    """messages to be delivered"""
    waiting_bytes: int = 0
    """bytes of their payloads"""
    in_flight: int = 0
    """those of them that may have been sent before"""
    oldest: float | None = None
    """when the oldest of them was accepted, in seconds since 1970"""
    missing: int = 0
    """messages neither stored nor settled"""
    missing_numbers: list[tuple[int, int]] = field(default_factory=list)
    """their numbers, from one to another (excluded)"""
    damaged_bytes: int = 0
    set_aside_bytes: int = 0
    """bytes in `*.corrupt`"""
    problems: list[Problem] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged and nothing is missing."""
        return not any(problem.serious for problem in self.problems)

    @property
    def adds_up(self) -> bool:
        """Whether every number is accounted for."""
        return self.numbers == self.settled + self.waiting + self.missing
