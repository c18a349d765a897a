"""Running an application until its sources end or somebody stops it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from standpipe.app.application import Application
from standpipe.app.ledger import Ledger
from standpipe.cli.stdout_reader import StdoutReader
from standpipe.cli.stop_signals import StopSignals

TICK = 0.1
"""Seconds between two looks at whether the sources have ended; signals are heard at once."""

GIVE_UP = 1.0
"""Seconds that a second signal gives the application to stop; then the process ends although some call has not returned."""

_log = logging.getLogger("standpipe.cli")


class Runner:
    """Starts an application, watches it, and shuts it down. `stopped_early` says whether a second signal cut that short."""

    def __init__(self, application: Application, signals: StopSignals, timeout: float | None, watch: Callable[[Application], None]) -> None:
        self.stopped_early = False
        self._application = application
        self._signals = signals
        self._timeout = timeout
        self._watch = watch
        self._reader = StdoutReader(application)
        self._ledger: Ledger | None = None
        self._failure: BaseException | None = None

    def run(self) -> Ledger:
        """Returns when everything has ended, with the ledger. Call it from the main thread."""
        try:
            self._application.start()
            while not self._application.finished and not self._signals.wait(TICK) and not self._reader.gone:
                self._watch(self._application)
            if self._signals.received:
                _log.info("%s: reading no more, delivering what is pending", self._signals.received[0].name)
            elif not self._application.finished:
                _log.warning("nobody reads the standard output any more: stopping")
        except BaseException:
            self._application.shutdown(0)
            raise
        return self._shut_down()

    def _shut_down(self) -> Ledger:
        # In a thread of its own, because it may wait for long and the next signal must be heard meanwhile.
        ending = threading.Thread(target=self._end, name="standpipe-shutdown", daemon=True)
        ending.start()
        while ending.is_alive() and not self._signals.wait(TICK) and not self._reader.is_all_that_is_missing:
            self._watch(self._application)
        if ending.is_alive():
            self._stop_now(ending)
        self._watch(self._application)
        if self._failure is not None:
            raise self._failure
        return self._ledger if self._ledger is not None else self._application.ledger()

    def _end(self) -> None:
        try:
            self._ledger = self._application.shutdown(self._timeout)
        except BaseException as error:
            self._failure = error
        finally:
            self._signals.wake()

    def _stop_now(self, ending: threading.Thread) -> None:
        if self._signals.received:
            _log.warning("%s: a second signal, stopping at once", self._signals.received[-1].name)
            self.stopped_early = True
            self._signals.let_through()
        until = time.monotonic() + GIVE_UP
        self._application.stop_now()
        ending.join(max(0.0, until - time.monotonic()))
