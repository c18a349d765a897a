"""What happens in one run, drawn from its seed beforehand: a setup and a list of events. A run of a part of the events is a run
like any other, so that a failing one can be made smaller."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

HORIZON = 30.0
"""Seconds of virtual time in which events happen; then everything heals."""

NUMBERS_EACH = 16
"""Numbers of messages set aside for each event, so that a message keeps its number when other events are left out."""

_MASK = 2**64 - 1

Level = Literal["memory", "written", "synced"]
OnFull = Literal["block", "raise", "drop_newest", "drop_oldest"]


def draw(*parts: int) -> float:
    """A number in 0 ... 1 that depends on `parts` alone (the mixing steps of splitmix64): what becomes of one message does not
    depend on which other messages there are, nor on the process."""
    mixed = 0x9E3779B97F4A7C15
    for part in parts:
        mixed = ((mixed ^ part) * 0xBF58476D1CE4E5B9) & _MASK
        mixed ^= mixed >> 29
        mixed = (mixed * 0x94D049BB133111EB) & _MASK
        mixed ^= mixed >> 32
    return mixed / 2**64


@dataclass(frozen=True, slots=True)
class Setup:
    """How the producer, its queue and its destination are configured."""

    queue: Level = "memory"
    style: Literal["single", "several", "atomic"] = "single"
    ordering: Literal["key", "fifo", "none"] = "key"
    on_full: OnFull = "block"
    max_messages: int = 1000
    max_bytes: int = 2**20
    max_retries: int = 2
    max_resets: int | None = None
    deadline: float | None = None
    rate: float | None = None
    batch: int = 4
    linger: float = 0.0
    reconnect_wait: float = 10.0
    segment_bytes: int = 2000
    window_bytes: int = 2**24
    read_bytes: int = 2**20
    journal_max: int = 2**20
    sync_interval: float = 1.0
    held_max: int = 2**20
    holds: bool = True

    def told(self) -> str:
        """What is not as usual."""
        usual = asdict(Setup())
        return " ".join(f"{name}={value}" for name, value in asdict(self).items() if value != usual[name]) or "as usual"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens at a moment (seconds of virtual time). `index` is its place in the whole plan."""

    at: float
    kind: str
    index: int
    details: dict[str, Any]

    def told(self) -> str:
        """As one line."""
        return f"{self.at:7.3f}  {self.kind}" + "".join(f" {name}={value!r}" for name, value in self.details.items())


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    setup: Setup
    events: tuple[Event, ...]

    def only(self, events: Sequence[Event]) -> Plan:
        """The same run with these events alone."""
        return replace(self, events=tuple(events))


def make_plan(seed: int) -> Plan:
    """The run of a seed."""
    chance = random.Random(seed)
    setup = _setup(chance)
    happenings = [(round(chance.uniform(0.0, HORIZON), 3), kind, details) for kind, details in _happenings(chance, setup)]
    happenings.sort(key=lambda happening: happening[0])
    return Plan(seed, setup, tuple(Event(at, kind, index, details) for index, (at, kind, details) in enumerate(happenings)))


def _setup(chance: random.Random) -> Setup:
    pick = chance.choice
    queue: Level = pick(["memory", "written", "written", "synced", "synced"])
    on_full: OnFull = pick(["block", "block", "block", "raise", "drop_newest", "drop_oldest"])
    return Setup(
        queue=queue,
        style=pick(["single", "several", "atomic"]),
        ordering=pick(["key", "key", "key", "fifo", "none"]),
        on_full=on_full,
        max_messages=pick([8, 30, 1000, 1000]),
        max_bytes=pick([700, 4000, 2**20, 2**20]),
        max_retries=pick([1, 2, 3]),
        max_resets=pick([None, None, None, 0, 1, 2]),
        deadline=pick([None, None, None, 2.0, 8.0]),
        rate=pick([None, None, None, 5.0, 40.0]),
        batch=pick([2, 4, 10]),
        linger=pick([0.0, 0.0, 0.3]),
        reconnect_wait=pick([3.0, 10.0]),
        segment_bytes=pick([300, 700, 2000, 8000]),
        window_bytes=pick([1, 2000, 2**24]),
        read_bytes=pick([1, 300, 2**20]),
        journal_max=pick([100, 1000, 2**20]),
        sync_interval=pick([0.3, 1.0, 5.0]),
        held_max=pick([300, 2**20]),
        holds=on_full.startswith("drop") or chance.random() < 0.5,
    )


def _happenings(chance: random.Random, setup: Setup) -> list[tuple[str, dict[str, Any]]]:
    found = [("produce", _messages(chance)) for _ in range(chance.randint(4, 24))]
    if chance.random() < 0.6:
        found += [("lines", _messages(chance)) for _ in range(chance.randint(1, 8))]
    found += [("fault", _fault(chance)) for _ in range(chance.randint(0, 8))]
    found += [_end(chance, setup) for _ in range(chance.choice([0, 1, 1, 2, 4]))]
    found += [("jump", {"seconds": chance.choice([-86400.0, -5.0, 5.0, 3600.0])}) for _ in range(chance.choice([0, 0, 1]))]
    found += [("letters fail", {"seconds": chance.choice([1.0, 8.0])}) for _ in range(chance.choice([0, 0, 1]))]
    if setup.queue != "memory":
        found += [_disk(chance) for _ in range(chance.choice([0, 0, 1, 2]))]
    return found


def _messages(chance: random.Random) -> dict[str, Any]:
    count = chance.choice([1, 1, 1, 2, 5, 12])
    details: dict[str, Any] = {
        "keys": [chance.choice([None, "a", "b", "c"]) for _ in range(count)],
        "bad": chance.random() < 0.2,
        "size": chance.choice([0, 0, 40, 300]),
    }
    if count > 1:
        details["together"] = chance.random() < 0.6
    if chance.random() < 0.1:
        details["poison"] = chance.choice(["reject", "reject", "raise"])
    if chance.random() < 0.15:
        details["own"] = True  # an id and headers of the caller's
    return details


def _fault(chance: random.Random) -> dict[str, Any]:
    kind = chance.choice(
        ["down", "fail", "lost", "busy", "gone", "gone clean", "not sent", "exit", "slow", "slow", "half", "garbage", "reject all"]
    )
    return {
        "what": kind,
        "seconds": chance.choice([0.1, 0.5, 2.0, 8.0]),
        "share": chance.choice([0.2, 0.5, 1.0]),
        "value": chance.choice([0.01, 0.3, 2.0]),
    }


def _end(chance: random.Random, setup: Setup) -> tuple[str, dict[str, Any]]:
    """One way for the process to end, and how long it takes until the next one starts."""
    kind = chance.choice(["shutdown", "kill", "kill at send", "kill at step", "power cut", "power cut at step"])
    details: dict[str, Any] = {"down": chance.choice([0.0, 0.2, 3.0])}
    if kind == "shutdown":
        details["timeout"] = chance.choice([0.0, 0.2, 2.0, 8.0])
    if kind.endswith(("send", "step")):
        details["after"] = chance.randint(1, 12)
    if kind != "shutdown" and setup.queue != "memory" and chance.random() < 0.3:
        details["again"] = chance.randint(1, 14)  # the next process dies, too, while it recovers
    return kind, details


def _disk(chance: random.Random) -> tuple[str, dict[str, Any]]:
    kind = chance.choice(["disk full", "disk fails", "disk fails", "write back"])
    if kind == "write back":
        return kind, {}
    details: dict[str, Any] = {"seconds": chance.choice([0.2, 2.0, 6.0])}
    if kind == "disk fails":
        details |= {
            "action": chance.choice(["sync", "sync", "append", "create", "sync_folder", "rename", "remove", "read", "open"]),
            "times": chance.choice([1, 1, 3, None]),
        }
    return kind, details
