"""Callers that wait for the disk share what it costs: one of them, the leader, syncs for all who wait by then.

Released callers come back at different moments, some ten microseconds apart. If the first of them synced at once, the others would
just miss it, and each sync would serve half of them. So whoever completes the group (as many as were about at the last sync) leads,
and needs nobody to wake it; the first to come watches the clock, and leads if the others stay away.

No lock is held while somebody waits, but the lead itself, which its owner can take twice: a signal handler may produce in the
middle of any line here. Nobody waits in vain:

1. A caller first puts itself into `_waiting` and then looks who leads or watches. Only if somebody else does it waits without a
   limit.
2. Whoever stops leading or watching, or goes, says so first and then looks whether somebody is left whom nobody attends to, and
   wakes one of them: that one sees for itself what is to be done.
3. Whoever takes a caller out of `_waiting` must wake it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import Final

PATIENCE_MAX: Final = 0.001
"""Most seconds that a watcher waits at a time for others to come back, and never more than half of what the last sync took. If
somebody came meanwhile it waits once more: it costs at most as much again as the sync, and one sync less is what it may save."""

NOBODY: Final = 0
"""No thread has this id."""


class GroupCommit:
    """`durable()` tells below which number everything is on the disk; `sync()` brings there what was written before.

    Thread-safe. `sync` is called by one thread at a time; a signal handler may call it again in the middle.
    """

    def __init__(self, durable: Callable[[], int], sync: Callable[[], None]) -> None:
        self._durable = durable
        self._sync = sync
        self._lead = threading.RLock()
        self._leader = NOBODY  # the thread that syncs for all
        self._watcher = NOBODY  # the thread that watches the clock
        self._waiting: dict[threading.Lock, int] = {}  # in the order in which they came: what wakes them, the number they want
        self._complete = 1  # so many waited for the last sync, or led it, or came meanwhile
        self._sync_seconds = 0.0

    def commit(self, number: int) -> None:
        """Return when every message below `number` is on the disk. Raises what `sync` raises."""
        while self._durable() < number:
            woken = threading.Lock()
            woken.acquire()
            try:
                self._waiting[woken] = number
                if self._leads(woken):
                    self._waiting.pop(woken, None)
                    self._lead_all(number)
                else:
                    woken.acquire()
            except BaseException:  # the disk, or Ctrl-C
                self._waiting.pop(woken, None)
                if self._watcher == get_ident():
                    self._watcher = NOBODY
                self._leave()
                raise
        self._leave()

    def _leads(self, woken: threading.Lock) -> bool:
        """Whether it is this caller who leads now: then it has the lead. Else somebody wakes it, or has."""
        me = get_ident()  # who leads or watches may be us, interrupted by our own signal handler
        if self._leader not in (NOBODY, me):
            return False
        if len(self._waiting) < self._complete:
            if self._watcher not in (NOBODY, me):
                return False
            self._watcher = me
            others_lead = self._others_come(woken)
            if self._watcher == me:
                self._watcher = NOBODY
            if others_lead:
                woken.release()  # woken already: it need not wait
                return False
        return self._lead.acquire(blocking=False)

    def _others_come(self, woken: threading.Lock) -> bool:
        """Watch the clock; True when another one has led. One sync for many is worth a wait, but not much more than it takes."""
        patience = min(PATIENCE_MAX, self._sync_seconds / 2)
        here = len(self._waiting)
        if woken.acquire(timeout=patience):
            return True
        return len(self._waiting) > here and woken.acquire(timeout=patience)

    def _lead_all(self, number: int) -> None:
        """With the lead, which it gives up: sync, and wake whoever need not wait any more."""
        try:
            self._leader = get_ident()
            self._watcher = NOBODY  # who watched is among those we sync for, or sees for itself when it has waited long enough
            if self._durable() < number:
                self._sync_for_all()
        finally:
            self._leader = NOBODY
            self._lead.release()

    def _sync_for_all(self) -> None:
        began = monotonic()
        self._sync()
        self._sync_seconds = monotonic() - began
        durable = self._durable()
        waiting = list(self._waiting.items())
        self._complete = len(waiting) + 1
        for woken, number in waiting:
            if number <= durable:
                self._wake(woken)

    def _wake(self, woken: threading.Lock) -> bool:
        if self._waiting.pop(woken, None) is None:
            return False  # somebody else has, or it has gone
        woken.release()
        return True

    def _leave(self) -> None:
        """If callers wait and nobody leads or watches, the first of them must."""
        if self._waiting and self._leader == NOBODY and self._watcher == NOBODY:
            for woken in list(self._waiting):
                if self._wake(woken):
                    return
