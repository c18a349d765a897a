"""The oracle: what was tried, promised and delivered, noted outside of what the faults can reach, and the rules it must obey.

Every process of a test appends to one file, a line per event and one `write` per line, so that the file is a history in order
and a kill can tear at most its last line. The parent is never killed and reads the file when the process is dead.

    S run               a process began
    A number            `produce` is about to be called with this message
    K number id time    `produce` has returned: the promise; `time` is the machine's monotonic clock
    X number text       `produce` has raised
    V number id digest  the message has arrived at the destination
    B backlog           what `start` found waiting from before
    L level text        a warning or error was logged
    R json              the report of `shutdown`, with statistics
"""

from __future__ import annotations

import json
import os
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

MARK = " .\n"
"""Ends every line, so that a torn one is known."""

RUN = 1_000_000
"""Message numbers of run `r` begin at `r * RUN`."""

KEYS = 5


def key_of(number: int, thread: int = 0) -> str | None:
    """The key of a message; some have none."""
    return None if number % 7 == 0 else f"k{thread}-{number % KEYS}"


def text_of(number: int) -> str:
    """The content of a message, from its number alone: mostly some hundred bytes, now and then more than a page or than 16 KiB."""
    digest = blake2b(number.to_bytes(8, "little"), digest_size=16)
    size = int.from_bytes(digest.digest()[:2], "little")
    repeat = 1 + size % 12 if size % 50 else 60 + size % 97 if size % 400 else 800
    return digest.hexdigest() * repeat


def digest_of(text: str) -> str:
    """What the destination notes of the content."""
    return f"{zlib.crc32(text.encode()):08x}"


class EventFile:
    """The writing side, in the process under test. Thread-safe: one `write` in append mode per call."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        os.write(self._descriptor, b"\n")  # a line that the former process could not end, ends here

    def write(self, *lines: str) -> None:
        """Append the lines."""
        os.write(self._descriptor, "".join(line + MARK for line in lines).encode())


@dataclass
class History:
    """What the event file says."""

    runs: int = 0
    attempted: dict[int, int] = field(default_factory=dict)
    """number -> position in the order of attempts"""
    promised: dict[int, tuple[str, float]] = field(default_factory=dict)
    """number -> id, time"""
    refused: dict[int, str] = field(default_factory=dict)
    delivered: list[tuple[int, int, str, str]] = field(default_factory=list)
    """run, number, id, digest"""
    backlogs: list[int] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    torn: int = 0

    @classmethod
    def read(cls, path: Path) -> History:
        """Read an event file. Raises ValueError for lines that no kill can explain."""
        history = cls()
        for line in path.read_bytes().split(b"\n"):
            if not line:
                continue
            if not line.endswith(b" ."):
                history.torn += 1
                continue
            kind, _, rest = line[:-2].decode().partition(" ")
            history._note(kind, rest)
        return history

    def _note(self, kind: str, rest: str) -> None:
        if kind == "S":
            self.runs += 1
        elif kind == "A":
            self.attempted.setdefault(int(rest), len(self.attempted))
        elif kind == "K":
            number, message_id, time = rest.split(" ")
            self.promised[int(number)] = (message_id, float(time))
        elif kind == "X":
            number, _, text = rest.partition(" ")
            self.refused[int(number)] = text
        elif kind == "V":
            number, message_id, digest = rest.split(" ")
            self.delivered.append((self.runs, int(number), message_id, digest))
        elif kind == "B":
            self.backlogs.append(int(rest))
        elif kind == "L":
            self.logged.append(rest)
        elif kind == "R":
            self.reports.append(json.loads(rest))
        else:
            raise ValueError(f"{kind!r} {rest!r} is no event")

    @property
    def arrived(self) -> set[int]:
        """The numbers of the messages that were delivered, at least once."""
        return {number for _, number, _, _ in self.delivered}

    @property
    def lost(self) -> set[int]:
        """Promised and never delivered."""
        return set(self.promised) - self.arrived

    @property
    def repeated(self) -> dict[int, int]:
        """For each run, how many deliveries were of messages that had been delivered before."""
        seen: set[int] = set()
        repeated: dict[int, int] = defaultdict(int)
        for run, number, _, _ in self.delivered:
            repeated[run] += number in seen
            seen.add(number)
        return repeated

    @property
    def not_noted(self) -> dict[int, int]:
        """For each run, how many of its deliveries were repeated by a later one: it died before it could note them. What failed and
        waits for a retry lets others pass, so that one run may have to repeat what several before it could not note."""
        delivered_by: dict[int, int] = {}
        not_noted: dict[int, int] = defaultdict(int)
        for run, number, _, _ in self.delivered:
            if number in delivered_by:
                not_noted[delivered_by[number]] += 1
            delivered_by[number] = run
        return not_noted

    @property
    def found_backlogs(self) -> int:
        """How many processes began with messages of their predecessor."""
        return sum(backlog > 0 for backlog in self.backlogs)


def check(history: History, *, window: int, may_be_lost: frozenset[int] = frozenset()) -> None:
    """The rules. `window`: how many messages that one process has delivered may at most be sent again."""
    lost = history.lost - may_be_lost
    assert not lost, f"{len(lost)} promised messages were never delivered: {_few(lost)}"
    unexpected = history.arrived - set(history.attempted)
    assert not unexpected, f"{len(unexpected)} messages arrived that nobody produced: {_few(unexpected)}"
    not_accepted = {number for number, text in history.refused.items() if "not accepted" in text} - set(history.promised)
    phantoms = not_accepted & history.arrived
    assert not phantoms, f"{len(phantoms)} messages arrived that were said not to be accepted: {_few(phantoms)}"
    altered = {number for _, number, _, digest in history.delivered if digest != digest_of(text_of(number))}
    assert not altered, f"{len(altered)} messages arrived changed: {_few(altered)}"
    check_ids(history)
    check_order(history)
    worst = max(history.not_noted.values(), default=0)
    assert worst <= window, f"{worst} messages of one process were sent again, more than the {window} that may have been in flight"


def check_ids(history: History) -> None:
    """A message has one id, at every delivery, in every process; and no two messages have the same."""
    ids: dict[int, str] = {number: message_id for number, (message_id, _) in history.promised.items()}
    for _, number, message_id, _ in history.delivered:
        if message_id != "-":
            known = ids.setdefault(number, message_id)
            assert known == message_id, f"message {number} was {known} and became {message_id}"
    assert len(set(ids.values())) == len(ids), "two messages have the same id"


def check_order(history: History) -> None:
    """Messages of one key: first deliveries in the order of `produce`, and so within each process what is repeated."""
    last_first: dict[str, int] = {}
    last_in_run: dict[tuple[int, str], int] = {}
    seen: set[int] = set()
    for run, number, _, _ in history.delivered:
        key = key_of(number)
        if key is None:
            continue
        position = history.attempted[number]
        if number not in seen:
            seen.add(number)
            assert last_first.get(key, -1) < position, f"message {number} of key {key} arrived after a later one"
            last_first[key] = position
        assert last_in_run.get((run, key), -1) < position, f"message {number} of key {key} was repeated out of order"
        last_in_run[run, key] = position


def _few(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)[:10]))
