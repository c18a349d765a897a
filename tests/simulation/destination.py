"""A destination that fails in every way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from standpipe.core.errors import Disconnected, NotSent, Reject, RetryAfter
from tests.simulation.plan import draw

UNCERTAIN = ("fail", "lost", "gone", "exit", "down", "half", "cancelled")
"""After these a message may have arrived, as far as the engine can know."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`share` of the attempts fare so until the moment `until`."""

    what: str
    until: float
    share: float
    value: float
    index: int


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one attempt; `slow`: seconds that it takes before that."""

    what: str
    value: float = 0.0
    slow: float = 0.0


class Destination:
    """What the messages meet. It outlives the processes; what becomes of an attempt depends on the seed and the message alone."""

    def __init__(self, seed: int) -> None:
        self.faults: list[Fault] = []
        self.healed = False
        self.dies_at: int | None = None  # the process dies at the so many-th message from now
        self._seed = seed
        self._tries: dict[int, int] = {}
        self._connects = 0

    def heal(self) -> None:
        """From now on everything works."""
        self.faults.clear()
        self.healed = True
        self.dies_at = None

    def connect(self, now: float) -> Fate:
        """Whether a connection can be had: ok, or down."""
        self._connects += 1
        return self._fate(now, 0, self._connects, ("down",))

    def whole(self, now: float, numbers: list[int]) -> str | None:
        """What becomes of a batch as a whole, if anything."""
        for fault in self._active(now, numbers[0], self._tries.get(numbers[0], 0) + 1):
            if fault.what in ("half", "garbage") or (fault.what == "reject all" and fault.share == 1.0):
                return fault.what
        return None

    def tried(self, number: int) -> None:
        """An attempt that is not asked about."""
        self._tries[number] = self._tries.get(number, 0) + 1

    def fate(self, now: float, content: dict[str, Any]) -> Fate:
        """What becomes of an attempt to send one message."""
        number = content["n"]
        self.tried(number)
        fate = self._fate(now, number, self._tries[number], None)
        poison = content.get("poison")
        if fate.what == "ok" and (poison == "reject" or (poison == "raise" and not self.healed)):
            return Fate("reject" if poison == "reject" else "fail", 0.0, fate.slow)
        return fate

    def _fate(self, now: float, number: int, attempt: int, among: tuple[str, ...] | None) -> Fate:
        slow = 0.0
        for fault in self._active(now, number, attempt):
            if fault.what == "slow":
                slow += fault.value
            elif fault.what in among if among is not None else fault.what not in ("half", "garbage", "blocked"):
                return Fate(fault.what, fault.value, slow)
        return Fate("ok", 0.0, slow)

    def tries(self, number: int) -> int:
        """How often a message was tried."""
        return self._tries.get(number, 0)

    def blocked(self, now: float) -> bool:
        """Whether it asks to be sent nothing."""
        return any(fault.what == "blocked" and fault.until > now for fault in self.faults)

    def latency(self, number: int, way: int) -> float:
        """Seconds that a message takes to get there, or its answer to come back."""
        share = self.luck(number, self._tries.get(number, 0), way)
        return 0.0 if share < 0.5 else 0.02 if share < 0.8 else 0.02 if self.healed else 0.4 if share < 0.95 else 3.0

    def strikes(self) -> bool:
        """Whether the process dies at this message."""
        if self.dies_at is None:
            return False
        self.dies_at -= 1
        if self.dies_at > 0:
            return False
        self.dies_at = None
        return True

    def luck(self, *parts: int) -> float:
        """A number in 0 ... 1 for these parts."""
        return draw(self._seed, *parts)

    def _active(self, now: float, number: int, attempt: int) -> list[Fault]:
        self.faults = [fault for fault in self.faults if fault.until > now]
        return [fault for fault in self.faults if draw(self._seed, fault.index, number, attempt) < fault.share]


def error_of(what: str, value: float) -> BaseException:
    """What the producer raises."""
    errors: dict[str, BaseException] = {
        "fail": OSError("failed before it arrived"),
        "lost": TimeoutError("no answer, but it arrived"),
        "busy": RetryAfter(value),
        "gone": Disconnected("gone"),
        "gone clean": Disconnected("gone, and nothing arrived", arrived=False),
        "not sent": NotSent("the buffer is full"),
        "exit": SystemExit(1),
        "down": ConnectionResetError("the destination went away"),
        "reject": Reject("never"),
        "reject all": Reject("never"),
    }
    return errors[what]
