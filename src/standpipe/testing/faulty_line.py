"""One direction of one connection through the fault proxy: what was read, what may be passed on now, and what got lost.

Pure: no socket, no clock, no thread. `FaultProxy` gives it bytes and clock readings and does what it says.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from enum import Enum

LINE_BYTES = 256 * 1024
"""Bytes that one direction of one connection holds back at most; then nothing more is read, as with a full socket buffer."""
THROTTLE_BURST = 0.02
"""Seconds' worth of bytes that a throttled line passes on at once: small enough to be smooth, large enough not to spin."""


class End(Enum):
    """How a connection ends, as the other side gets to see it."""

    FIN = "fin"
    """in order, as after `close`"""
    RST = "rst"
    """by a reset: `ConnectionResetError`"""


@dataclass
class CutAfter:
    """Cut a connection when it has passed on so many bytes; so many times (None: always)."""

    count: int
    how: End
    times: int | None


@dataclass
class LineFaults:
    """What is wrong with one direction now, for all connections of a proxy."""

    delay: float = 0.0
    jitter: float = 0.0
    rate: float | None = None
    black_hole: bool = False
    stopped: bool = False
    corrupt_every: int | None = None
    cut_after: CutAfter | None = None


class FaultyLine:
    """Bytes on their way in one direction. Times are seconds of one monotonic clock."""

    def __init__(self, faults: LineFaults, chance: random.Random) -> None:
        self.faults = faults
        self.end: End | None = None
        """how the source has ended, once it has"""
        self.ended = False
        """the end was passed on, or is lost: nothing more will come out"""
        self.lost = False
        """something went into a black hole: the stream has a gap, and nothing behind a gap may ever be passed on"""
        self.corrupted = 0
        self.swallowed = 0
        self._chance = chance
        self._held: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._end_due = 0.0
        self._allowance = 0.0
        self._allowed_at = 0.0
        self._to_flip = 0
        self._passed = 0

    # --- in -----------------------------------------------------------------------------------------------------------

    def wants(self) -> bool:
        """Whether to read from the source now."""
        return self.end is None and not self.faults.stopped and self._size < LINE_BYTES

    def take(self, data: bytes, now: float) -> None:
        """Bytes have come from the source."""
        if self.ended:
            return
        if self._is_hole():
            self._lose(len(data))
            return
        if self.faults.corrupt_every is not None:
            data = self._corrupt(data, self.faults.corrupt_every)
        self._held.append((self._due(now), data))
        self._size += len(data)

    def take_end(self, how: End, now: float) -> None:
        """The source has ended; that too is delayed, or lost."""
        if self.end is None:
            self.end = how
            self._end_due = self._due(now)

    def forget(self) -> None:
        """Nobody is there any more to take what is on its way."""
        self._held.clear()
        self._size = 0
        self.ended = True

    def count_from_here(self) -> None:
        """A new `cut_after` counts what is passed on from now on."""
        self._passed = 0

    # --- out ----------------------------------------------------------------------------------------------------------

    def due(self, now: float) -> bytes:
        """What may be passed on now; nothing, or the beginning of what is held."""
        if self._is_hole():
            self._lose_everything()
        if not self._held or self._held[0][0] > now:
            return b""
        size = min(len(self._held[0][1]), self._allowed(now), self._until_cut())
        return self._held[0][1][:size]

    def passed(self, count: int) -> None:
        """So many bytes of what was due are passed on."""
        when, data = self._held[0]
        if count == len(data):
            self._held.popleft()
        else:
            self._held[0] = (when, data[count:])
        self._size -= count
        self._passed += count
        self._allowance -= count

    def cut(self) -> End | None:
        """Whether `cut_after` says that the connection ends here, and how."""
        fault = self.faults.cut_after
        if fault is None or fault.times == 0 or self._passed < fault.count or not (self._held or fault.count):
            return None
        fault.times = None if fault.times is None else fault.times - 1
        return fault.how

    def end_due(self, now: float) -> End | None:
        """The end of the source, when everything before it is passed on and it is time."""
        if self._is_hole() and self.end is not None and not self.ended:
            self.lost = self.ended = True
        if self.ended or self._held or self.end is None or self._end_due > now:
            return None
        return self.end

    def next_time(self, now: float) -> float | None:
        """When there will be something to do that time alone brings about; None: never."""
        if self.ended:
            return None
        if self._held:
            if self._until_cut() == 0:
                return None
            wait = 0.0 if self.faults.rate is None or self._allowance >= 1 else (self._step() - self._allowance) / self.faults.rate
            return max(self._held[0][0], now + wait)
        return self._end_due if self.end is not None else None

    # --- within -------------------------------------------------------------------------------------------------------

    def _is_hole(self) -> bool:
        return self.faults.black_hole or self.lost

    def _due(self, now: float) -> float:
        """Bytes never overtake each other, whatever the jitter."""
        due = now + self.faults.delay + self.faults.jitter * self._chance.random()
        return max(due, self._held[-1][0]) if self._held else due

    def _lose(self, count: int) -> None:
        self.lost = True
        self.swallowed += count

    def _lose_everything(self) -> None:
        if self._size:
            self._lose(self._size)
            self._held.clear()
            self._size = 0

    def _step(self) -> float:
        return max(1.0, (self.faults.rate or 0.0) * THROTTLE_BURST)

    def _allowed(self, now: float) -> int:
        rate = self.faults.rate
        if rate is None:
            self._allowance, self._allowed_at = 0.0, now
            return LINE_BYTES
        earned = rate * max(0.0, now - self._allowed_at)
        self._allowance, self._allowed_at = min(self._step(), self._allowance + earned), now
        return max(0, int(self._allowance))

    def _until_cut(self) -> int:
        fault = self.faults.cut_after
        return LINE_BYTES if fault is None or fault.times == 0 else max(0, fault.count - self._passed)

    def _corrupt(self, data: bytes, every: int) -> bytes:
        """Flip one bit in each stretch of `every` bytes, somewhere in it."""
        changed = bytearray(data)
        position = self._to_flip
        while position < len(changed):
            changed[position] ^= 1 << self._chance.randrange(8)
            self.corrupted += 1
            position += 1 + self._chance.randrange(2 * every - 1)
        self._to_flip = position - len(changed)
        return bytes(changed)
