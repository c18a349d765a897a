"""A replay as the user sees it: producer by producer, a line for each letter, what it comes to in the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

from standpipe.cli.dead_edit import CannotBeSent, Mender
from standpipe.cli.dead_replay import Replay, Result, producer_for_replay
from standpipe.cli.dead_stores import Part, Place, Wanted, oldest_first
from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.log_options import LogFormat, LogLevel
from standpipe.cli.log_output import logging_to
from standpipe.cli.output import number_of, printable, say, show, show_json
from standpipe.producers.config import SpoolConfig
from standpipe.spool.dead_letter_table import StoredLetter

WORDS = {
    "delivered": "delivered",
    "dead_lettered": "put aside again",
    "undelivered": "not delivered",
    "refused": "not sent",
    "gone": "gone meanwhile",
}
"""Each outcome in words."""


class Replaying:
    """The letters that a command line means, to be sent again."""

    def __init__(self, place: Place, wanted: Wanted, mender: Mender, limit: int | None) -> None:
        if place.plan is None:
            raise CommandFailed("replaying needs the configuration of the producers; name it with --config", ExitCode.USAGE)
        self._place = place
        self._plan = place.plan
        self._mender = mender
        self._limit = limit
        self._parts = [part for part in place.parts(wanted) if part.count()]
        total = sum(part.count() for part in self._parts)
        self._total = total if limit is None else min(total, limit)

    def rehearse(self, *, json: bool) -> ExitCode:
        """Say what would be sent; nothing is opened but the stores, and those only for reading."""
        results = [self._would_become(part, letter) for part, letter in oldest_first(self._parts, self._limit)]
        if json:
            show_json({"would_replay": [asdict(result) for result in results]})
        else:
            for result in results:
                show(printable(f"{'would send' if result.error is None else 'not sent':<15}  {_line(result)}"))
            sendable = sum(result.error is None for result in results)
            say(f"would replay {sendable:,} of {number_of(self._total, 'dead letter')}; nothing was sent or changed")
        return ExitCode.UNDELIVERED if any(result.error is not None for result in results) else ExitCode.DELIVERED

    def _would_become(self, part: Part, letter: StoredLetter) -> Result:
        problem = self._unknown(part)
        if problem is None:
            try:
                self._mender(letter)
            except CannotBeSent as error:
                problem = str(error)
        return Result(letter.id, part.producer, "refused" if problem else "would_send", problem, letter.replays)

    def run(self, rate: float | None, timeout: float, *, json: bool, verbose: bool) -> ExitCode:
        """Send them and tell; DELIVERED when all were."""
        results: list[Result] = []
        with logging_to(sys.stderr, LogFormat.HUMAN, LogLevel.INFO if verbose else LogLevel.ERROR):
            for result in self._results(rate, timeout):
                results.append(result)
                if not json:
                    show(printable(f"{WORDS[result.outcome]:<15}  {_line(result)}"))
        counts = Counter(result.outcome for result in results)
        left = self._total - len(results)
        if json:
            show_json({"results": [asdict(result) for result in results], **{name: counts[name] for name in WORDS}, "not_tried": left})
        self._tell(counts, left)
        return ExitCode.DELIVERED if counts["delivered"] + counts["gone"] == self._total else ExitCode.UNDELIVERED

    def _results(self, rate: float | None, timeout: float) -> Iterator[Result]:
        limit = self._limit
        for part in self._parts:
            if limit is not None and limit <= 0:
                return
            number = 0
            for result in self._replay(part, rate, timeout, limit):
                number += 1
                yield result
            limit = None if limit is None else limit - number

    def _replay(self, part: Part, rate: float | None, timeout: float, limit: int | None) -> Iterator[Result]:
        problem = self._unknown(part)
        if problem is not None:
            say(f"standpipe: {problem}")
            return
        kind, config = self._plan.producers[part.producer]
        if isinstance(config.queue, SpoolConfig):
            say(f"{part.producer}: sending from a queue in memory, its spool is left alone; what is not delivered stays a dead letter")
        replay = Replay(part, producer_for_replay(kind, config, self._place.state_dir, rate), self._mender, timeout)
        yield from replay.run(limit)
        if replay.gave_up:
            say(f"standpipe: {part.producer}: gave up, nothing was settled for {timeout:g} s; --timeout gives it more time")

    def _unknown(self, part: Part) -> str | None:
        if part.producer in self._plan.producers:
            return None
        return f"{self._plan.path}: there is no producer named {part.producer!r} any more; its dead letters stay"

    def _tell(self, counts: Counter[str], left: int) -> None:
        parts = [f"{counts[name]:,} {word}" for name, word in WORDS.items() if counts[name]]
        if left:
            parts.append(f"{left:,} not tried")
        say(f"{number_of(self._total, 'dead letter')}{': ' if parts else ''}{', '.join(parts)}")


def _line(result: Result) -> str:
    notes = [result.error] if result.error else []
    if result.outcome == "dead_lettered":
        notes.append(f"replayed {number_of(result.replays, 'time')}")
    return f"{result.id}  {result.producer}" + (f"  ({'; '.join(notes)})" if notes else "")
