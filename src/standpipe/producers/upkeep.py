"""The file producer's second thread: compresses rotated files and syncs at intervals, so that the worker need not wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

CLOSE_GRACE = 1.0
"""Seconds that work under way may take when the producer closes; after that it is interrupted and done at the next start."""
JOIN_MAX = 5.0
"""Seconds to wait for the thread to notice: a disk that hangs in a sync must not hang the shutdown."""

_log = logging.getLogger("standpipe.producers.file")

J = TypeVar("J", bound=Hashable)


class Upkeep(Generic[J]):
    """Does jobs, each once however often it is asked for while it waits, and calls `sync` every `interval` seconds (None:
    never) while there is something to sync. `request` and `touched` start the thread. Thread-safe."""

    def __init__(self, name: str, do: Callable[[J, Callable[[], bool]], None], sync: Callable[[], None], interval: float | None) -> None:
        self._name = name
        self._do = do
        self._sync = sync
        self._interval = interval
        self._changed = threading.Condition()
        self._jobs: dict[J, None] = {}
        self._busy = False
        self._closing = False
        self._interrupted = False
        self._sync_at: float | None = None
        self._thread: threading.Thread | None = None

    def request(self, job: J) -> None:
        """Do `job` soon."""
        with self._changed:
            self._jobs[job] = None
            self._wake()

    def touched(self) -> None:
        """Something has to be synced within the interval."""
        if self._interval is not None and self._sync_at is None:
            with self._changed:
                self._sync_at = time.monotonic() + self._interval
                self._wake()

    def close(self) -> None:
        """Finish what can be finished within `CLOSE_GRACE`, interrupt the rest, end the thread."""
        thread = self._thread
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._jobs and not self._busy, CLOSE_GRACE if thread is not None else 0)
            self._interrupted = True
        if thread is not None:
            thread.join(JOIN_MAX)

    def _wake(self) -> None:
        if self._thread is None and not self._closing:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process is ending: what is left is done when the files are closed, or at the next start
                return
            self._thread = thread
        self._changed.notify_all()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception as error:
                _log.warning("%s: looking after rotated files failed (%s); it is tried again at the next rotation", self._name, error)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        """What to do now; waits for it. None: it is over."""
        with self._changed:
            while True:
                now = time.monotonic()
                if self._sync_at is not None and now >= self._sync_at and not self._closing:
                    self._sync_at, self._busy = None, True
                    return self._sync
                if self._jobs and not self._interrupted:
                    job = next(iter(self._jobs))
                    del self._jobs[job]
                    self._busy = True
                    return lambda: self._do(job, lambda: self._interrupted)
                if self._closing:
                    return None
                self._changed.wait(None if self._sync_at is None else self._sync_at - now)
