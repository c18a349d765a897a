"""Callers that wait for the disk share what it costs: one of them, the leader, syncs for all who wait by then.

No lock is held while somebody waits, but the lead itself, which its owner can take twice: a signal handler may produce in the
middle of any line here. Nobody waits in vain: a caller first puts itself into `_waiting` and then tries to lead; a leader first
gives up the lead and then wakes one who waits. Whoever takes a waiter out of `_waiting` must wake it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

PATIENCE_MAX: Final = 0.001
"""Most seconds that a leader waits for others to come back, and never more than half of what the last sync took. Callers are
back some ten microseconds after their release; without this pause they just miss the next sync, and each has half of them."""


class _Waiter:
    """A caller who waits until every message below `number` is on the disk."""

    __slots__ = ("number", "woken")

    def __init__(self, number: int) -> None:
        self.number = number
        self.woken = threading.Lock()
        self.woken.acquire()


class GroupCommit:
    """`durable()` tells below which number everything is on the disk; `sync()` brings there what was written before.

    Thread-safe. `sync` is called by one thread at a time; a signal handler may call it again in the middle.
    """

    def __init__(self, durable: Callable[[], int], sync: Callable[[], None]) -> None:
        self._durable = durable
        self._sync = sync
        self._lead = threading.RLock()
        self._waiting: dict[_Waiter, None] = {}  # in the order in which they came
        self._expected = 0  # so many others seem to be about
        self._gate: threading.Lock | None = None  # opened when they have come
        self._sync_seconds = 0.0

    def commit(self, number: int) -> None:
        """Return when every message below `number` is on the disk. Raises what `sync` raises."""
        while self._durable() < number:
            waiter = _Waiter(number)
            self._waiting[waiter] = None
            if self._lead.acquire(blocking=False):
                try:
                    self._waiting.pop(waiter, None)
                    self._sync_for_all(number)
                finally:
                    self._lead.release()
                    self._wake_one()
            else:
                self._open_gate()
                self._wait(waiter)

    def _wait(self, waiter: _Waiter) -> None:
        try:
            waiter.woken.acquire()
        except BaseException:  # Ctrl-C; if it was our turn to lead, it is another's now
            if self._waiting.pop(waiter, waiter) is waiter:
                self._wake_one()
            raise

    def _sync_for_all(self, number: int) -> None:
        if self._durable() >= number:
            return
        self._gather()
        began = monotonic()
        self._sync()
        self._sync_seconds = monotonic() - began
        durable = self._durable()
        waiting = list(self._waiting)
        self._expected = len(waiting)
        for waiter in waiting:
            if waiter.number <= durable:
                self._wake(waiter)

    def _gather(self) -> None:
        """Give those who were about a moment to come back."""
        if len(self._waiting) >= self._expected:
            return
        gate = threading.Lock()
        gate.acquire()
        self._gate = gate
        if len(self._waiting) < self._expected:
            gate.acquire(timeout=min(PATIENCE_MAX, self._sync_seconds / 2))
        self._gate = None

    def _open_gate(self) -> None:
        gate = self._gate
        if gate is not None and len(self._waiting) >= self._expected:
            self._gate = None
            try:
                gate.release()
            except RuntimeError:  # another one has opened it
                pass

    def _wake(self, waiter: _Waiter) -> bool:
        if self._waiting.pop(waiter, waiter) is waiter:
            return False  # somebody else has, or it has gone
        waiter.woken.release()
        return True

    def _wake_one(self) -> None:
        """The first who waits sees for itself whether it has to lead."""
        for waiter in list(self._waiting):
            if self._wake(waiter):
                return
