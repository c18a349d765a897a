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

Level = Literal["memory", "written", "synced", "spill"]
Style = Literal[
    "single", "several", "atomic", "concurrent", "concurrent batches", "confirming", "pipelined", "polling", "polling pipelined"
]
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
    style: Style = "single"
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
    in_flight: int = 64
    send_timeout: float | None = None
    spill_max_bytes: int = 2**30
    letters: Literal["memory", "sqlite"] = "memory"
    forgets: bool = False

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


STAGES = 2
"""How often something was added to what a seed means. Seeds that have found something are played as they were then."""


def make_plan(seed: int, *, stages: int = STAGES) -> Plan:
    """The run of a seed. `stages`: 0 has neither unusual setups nor crashes at chosen moments, 1 has no clients that confirm later."""
    chance = random.Random(seed)
    setup = _setup(chance)
    happenings = [(round(chance.uniform(0.0, HORIZON), 3), kind, details) for kind, details in _happenings(chance, setup)]
    if stages >= 1:
        more = random.Random(seed * 7 + 1)  # each stage has its own, so that the earlier ones stay as they were
        setup = _unusual(more, setup)
        happenings += _crashes(more, setup)
    if stages >= 2:
        late = random.Random(seed * 11 + 3)
        setup = _confirming(late, setup)
        happenings += _while_confirming(late, setup) + _damages(late, setup)
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


def _unusual(chance: random.Random, setup: Setup) -> Setup:
    """Some setups are made over: an asynchronous producer, a queue that spills, dead letters on disk, a disk that forgets."""
    pick = chance.choice
    styles: tuple[Style, ...] = ("concurrent", "concurrent", "concurrent batches")
    if chance.random() < 0.3:
        setup = replace(setup, style=pick(styles), in_flight=pick([1, 3, 64]), send_timeout=pick([None, 0.3, 2.0]))
    if setup.queue == "memory" and chance.random() < 0.6:
        setup = replace(
            setup,
            queue="spill",
            on_full="block",
            max_messages=pick([1, 3, 8]),
            max_bytes=pick([700, 2**20]),
            spill_max_bytes=pick([700, 4000, 2**20, 2**20]),
        )
    if chance.random() < 0.15:
        setup = replace(setup, letters="sqlite")
    return replace(setup, forgets=chance.random() < 0.4)


def _confirming(chance: random.Random, setup: Setup) -> Setup:
    """Some producers have a client that confirms later."""
    pick = chance.choice
    styles: tuple[Style, ...] = ("confirming", "pipelined", "polling", "polling pipelined")
    if chance.random() < 0.4:
        setup = replace(setup, style=pick(styles), in_flight=pick([1, 3, 64]), send_timeout=pick([None, 0.3, 2.0, 5.0]))
    return setup


def _while_confirming(chance: random.Random, setup: Setup) -> list[tuple[float, str, dict[str, Any]]]:
    """A destination that asks to be sent nothing; a connection that breaks while much is on its way."""
    found: list[tuple[float, str, dict[str, Any]]] = []
    if setup.style.startswith("polling"):
        for _ in range(chance.choice([0, 1, 2])):
            blocked = {"what": "blocked", "seconds": chance.choice([0.5, 4.0]), "share": 1.0, "value": 0.0}
            found.append((chance.uniform(0.0, HORIZON - 5.0), "fault", blocked))
    if setup.style in ("confirming", "pipelined", "polling", "polling pipelined") and chance.random() < 0.5:
        at = chance.uniform(0.0, HORIZON - 5.0)
        found += [(at + chance.uniform(0.0, 0.3), "produce", _messages(chance)) for _ in range(4)]
        found.append((at + 0.1, "fault", {"what": chance.choice(["gone", "down", "lost"]), "seconds": 0.3, "share": 0.3, "value": 0.0}))
    return [(round(moment, 3), kind, details) for moment, kind, details in found]


def _damages(chance: random.Random, setup: Setup) -> list[tuple[float, str, dict[str, Any]]]:
    """While messages wait the process is killed, and before the next one begins the disk damages some of them."""
    if setup.queue not in ("written", "synced") or chance.random() < 0.7:
        return []
    at = chance.uniform(0.0, HORIZON - 10.0)
    found: list[tuple[float, str, dict[str, Any]]] = [(at, "fault", {"what": "down", "seconds": 5.0, "share": 1.0, "value": 0.0})]
    found += [(at + chance.uniform(0.1, 3.0), "produce", _messages(chance)) for _ in range(4)]
    for _ in range(chance.choice([1, 2, 3])):
        damage = {"down": chance.choice([0.0, 0.2]), "which": chance.random(), "where": chance.random(), "bit": chance.randrange(8)}
        found.append((at + chance.choice([3.5, 3.5, 4.0]), "damage", damage))
    return [(round(moment, 3), kind, details) for moment, kind, details in found]


def _crashes(chance: random.Random, setup: Setup) -> list[tuple[float, str, dict[str, Any]]]:
    """Ends at moments that seldom come by chance."""
    found: list[tuple[float, str, dict[str, Any]]] = []
    if setup.queue != "memory" and chance.random() < 0.35:
        action = chance.choice(["remove", "remove", "create", "rename", "append", "sync_folder"])
        found.append(_end_after(chance, chance.uniform(0.0, HORIZON / 2), action))
    if setup.queue != "memory" and chance.random() < 0.3:
        found += _backlog(chance)
    if setup.queue != "memory" and chance.random() < 0.15:
        found += _outage(chance)
    if setup.style.startswith("concurrent") and chance.random() < 0.3:
        at = chance.uniform(0.0, HORIZON - 3.0)
        found.append((round(at, 3), "fault", {"what": "exit", "seconds": 2.0, "share": 0.5, "value": 0.0}))
        found.append((round(at + 0.1, 3), "produce", _messages(chance)))
    if setup.letters == "sqlite" and chance.random() < 0.7:
        kind = chance.choice(["kill at letter", "power cut at letter"])
        found.append((round(chance.uniform(0.0, HORIZON / 2), 3), kind, {"down": 0.2, "after": chance.randint(1, 3)}))
    return found


def _end_after(chance: random.Random, at: float, action: str) -> tuple[float, str, dict[str, Any]]:
    kind = chance.choice(["kill after", "kill after", "power cut after"])
    return round(at, 3), kind, {"down": chance.choice([0.0, 3.0]), "action": action, "steps": chance.choice([0, 0, 1, 2])}


def _backlog(chance: random.Random) -> list[tuple[float, str, dict[str, Any]]]:
    """Messages wait in several segments; when they are delivered and the first of those goes, the process dies."""
    at = chance.uniform(0.0, HORIZON - 12.0)
    found: list[tuple[float, str, dict[str, Any]]] = [(at, "fault", {"what": "down", "seconds": 4.0, "share": 1.0, "value": 0.0})]
    found += [(at + chance.uniform(0.1, 3.5), "produce", _messages(chance)) for _ in range(4)]
    found.append(_end_after(chance, at + 3.9, "remove"))
    return [(round(moment, 3), kind, details) for moment, kind, details in found]


def _outage(chance: random.Random) -> list[tuple[float, str, dict[str, Any]]]:
    """While messages wait the disk fails for a moment, and soon afterwards the power."""
    at = chance.uniform(0.0, HORIZON - 12.0)
    found: list[tuple[float, str, dict[str, Any]]] = [
        (at, "fault", {"what": "down", "seconds": 10.0, "share": 1.0, "value": 0.0}),
        (at + chance.uniform(0.5, 3.0), "disk fails", {"seconds": 2.0, "action": "sync", "times": chance.choice([1, 2])}),
        (at + chance.uniform(3.5, 8.0), "power cut", {"down": chance.choice([0.0, 3.0])}),
    ]
    found += [(at + chance.uniform(0.0, 4.0), "produce", _messages(chance)) for _ in range(3)]
    return [(round(moment, 3), kind, details) for moment, kind, details in found]


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
