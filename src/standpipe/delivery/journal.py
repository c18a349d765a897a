"""What the engine writes to the log: state changes with the producer's name; repeated errors summarised; no payload, no secret."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from standpipe.core.clock import Clock
from standpipe.delivery.dead_letters import describe

SUMMARY_FIRST = 10.0
"""Seconds in which errors of one kind are counted instead of logged, after the first."""
SUMMARY_MAX = 600.0
"""The interval doubles up to this while the errors go on: an outage of a day is some 150 lines, not one per message."""

_log = logging.getLogger("standpipe.delivery")


class _Repeated:
    __slots__ = ("interval", "suppressed", "until")

    def __init__(self, now: float) -> None:
        self.interval = SUMMARY_FIRST
        self.suppressed = 0
        self.until = now + SUMMARY_FIRST


class Journal:
    """The log of one producer. Used by its worker thread, by `shutdown`, and by any thread whose message was dropped; never
    called while the engine's lock is held, because a log handler may itself produce."""

    def __init__(self, producer: str, clock: Clock, secrets: Sequence[str] = ()) -> None:
        self.producer = producer
        self.secrets = tuple(secrets)
        self.failures = 0
        """log handlers and filters that raised; they change no outcome"""
        self._clock = clock
        self._repeated: dict[str, _Repeated] = {}

    def info(self, text: str, *arguments: object) -> None:
        """A state change that is as it should be."""
        self._write(logging.INFO, text, arguments)

    def warning(self, text: str, *arguments: object) -> None:
        """Something an operator may want to look at."""
        self._write(logging.WARNING, text, arguments)

    def critical(self, text: str, *arguments: object, error: BaseException | None = None) -> None:
        """A fault of Standpipe itself, with its traceback."""
        self._write(logging.CRITICAL, text, arguments, error)

    def line(self, error: BaseException) -> str:
        """An exception as one line without secrets."""
        return describe(error, self.secrets)

    def repeated(self, kind: str, text: str, *arguments: object, level: int = logging.WARNING) -> None:
        """A warning that may come for every message: the first is logged, those of the same `kind` that follow are counted
        and summed up, at growing intervals."""
        now = self._clock.monotonic()
        seen = self._repeated.get(kind)
        if seen is None:
            self._repeated[kind] = _Repeated(now)
        elif now < seen.until:
            seen.suppressed += 1
            return
        else:
            # A kind that was quiet for a whole interval starts afresh.
            seen.interval = min(SUMMARY_MAX, seen.interval * 2) if seen.suppressed else SUMMARY_FIRST
            seen.until = now + seen.interval
            if seen.suppressed:
                text += " (and %d more like it since the last such line)"
                arguments += (seen.suppressed,)
                seen.suppressed = 0
        self._write(level, text, arguments)

    def alarm(self, text: str, *arguments: object) -> None:
        """An error that only a person can mend, and that comes again until one does: logged as `repeated` does, as an error."""
        self.repeated("alarm", text, *arguments, level=logging.ERROR)

    def recovered(self) -> None:
        """After a success: the next error of any kind is news again. Says how many lines were not written."""
        suppressed = sum(seen.suppressed for seen in list(self._repeated.values()))
        self._repeated.clear()
        if suppressed:
            self._write(logging.INFO, "delivering again; %d more errors of the kinds logged above were not written out", (suppressed,))

    def _write(self, level: int, text: str, arguments: tuple[object, ...], error: BaseException | None = None) -> None:
        try:
            _log.log(level, "%s: " + text, self.producer, *arguments, exc_info=error)
        except Exception:  # a handler that raises (a full queue, a broken pipe) must not end delivery
            self.failures += 1
