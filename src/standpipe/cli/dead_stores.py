"""Finding the stores of dead letters, and in them the letters that a command line means."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.options import DEFAULT_FILE, near
from standpipe.core.dead_letter import Reason
from standpipe.producers.dead_letters import FOLDER, SUFFIX
from standpipe.producers.state_dir import default_state_dir
from standpipe.spool.dead_letter_table import LetterFilter, StoredLetter
from standpipe.spool.dead_letters import SqliteDeadLetters

if TYPE_CHECKING:
    from standpipe.app.configuration import Plan

AMBIGUOUS_SHOWN = 5
"""Ids shown when the beginning of one fits several."""


@dataclass(frozen=True)
class Wanted:
    """What a command line says about the letters it means."""

    ids: Sequence[str] = ()
    producers: Sequence[str] = ()
    reasons: Sequence[str] = ()
    since: str | None = None
    until: str | None = None
    text: str | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows it down."""
        return self == Wanted()

    def filter(self) -> LetterFilter:
        """All of it but ids and producers, with times as numbers."""
        return LetterFilter(
            reasons=tuple(Reason(reason) for reason in self.reasons),
            since=_moment(self.since, "--since"),
            until=_moment(self.until, "--until"),
            text=self.text,
        )


@dataclass(frozen=True)
class Part:
    """The letters that are meant of one producer."""

    producer: str
    store: SqliteDeadLetters
    filter: LetterFilter

    def count(self) -> int:
        """How many they are."""
        return self.store.count(self.filter)


@dataclass(frozen=True)
class Place:
    """Where the dead letters are, and the configuration if one is known."""

    state_dir: Path
    plan: Plan | None = None

    def parts(self, wanted: Wanted) -> list[Part]:
        """What is meant, producer by producer. Raises CommandFailed for a producer or an id that there is not."""
        filter = wanted.filter()
        parts = [Part(name, store, filter) for name, store in self._stores(wanted.producers).items()]
        if not wanted.ids:
            return parts
        ids = tuple(dict.fromkeys(_resolved(id, parts, self.state_dir) for id in wanted.ids))
        return [replace(part, filter=replace(filter, ids=ids)) for part in parts]

    def _stores(self, producers: Sequence[str]) -> dict[str, SqliteDeadLetters]:
        folder = self.state_dir / FOLDER
        stores = {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}")) if not path.name.startswith(".")}
        known = [*stores, *(name for name in (self.plan.producers if self.plan is not None else ()) if name not in stores)]
        for name in producers:
            if name not in known:
                hint = near(name, known) if known else f"there are no dead letters in {folder}"
                raise CommandFailed(f"--producer {name}: there is no such producer; {hint}", ExitCode.USAGE)
        return {name: SqliteDeadLetters(path) for name, path in stores.items() if not producers or name in producers}


def find_place(config: Path | None, state_dir: Path | None, *, with_plan: bool = False) -> Place:
    """The state folder that is given, else the configuration's, else the usual one. Raises ConfigurationError."""
    if state_dir is not None and config is None and not with_plan:
        return Place(state_dir)
    if config is None and not with_plan and not DEFAULT_FILE.exists():
        return Place(default_state_dir())
    from standpipe.app.configuration import read_plan

    plan = read_plan(config or DEFAULT_FILE)
    return Place(plan.state_dir(state_dir), plan)


def oldest_first(parts: Sequence[Part], limit: int | None) -> Iterator[tuple[Part, StoredLetter]]:
    """The letters of all parts, producer by producer, at most `limit`."""
    for part in parts:
        for letter in part.store.select(part.filter, limit):
            yield part, letter
            limit = None if limit is None else limit - 1


def newest_first(parts: Sequence[Part], limit: int | None) -> list[StoredLetter]:
    """The letters that were put aside last, of all parts together."""
    letters = [letter for part in parts for letter in part.store.select(part.filter, limit, newest_first=True)]
    return sorted(letters, key=lambda letter: letter.last_attempt_at, reverse=True)[:limit]


def _resolved(id: str, parts: Sequence[Part], state_dir: Path) -> str:
    """The id itself, or the only one that begins like it."""
    if any(part.store.count(LetterFilter(ids=(id,))) for part in parts):
        return id
    begins = LetterFilter(id_start=id)
    found = {letter.id for part in parts for letter in part.store.select(begins, AMBIGUOUS_SHOWN + 1)} if id else set()
    if len(found) == 1:
        return found.pop()
    if not found:
        raise CommandFailed(f"there is no dead letter {id!r} in {state_dir / FOLDER}; `standpipe dead list` shows them", ExitCode.USAGE)
    shown = ", ".join(sorted(found)[:AMBIGUOUS_SHOWN])
    more = ", ..." if len(found) > AMBIGUOUS_SHOWN else ""
    raise CommandFailed(f"{id!r} is the beginning of several ids ({shown}{more}); write more of it", ExitCode.USAGE)


def _moment(text: str | None, option: str) -> float | None:
    """A time such as `2026-03-01`, `2026-03-01T14:00` (here) or `...Z`, or how long ago: `2h`; in seconds since 1970."""
    if text is None:
        return None
    from datetime import datetime

    from standpipe.core.units import parse_duration

    try:
        return time.time() - parse_duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise CommandFailed(
            f"{option} {text!r} is no time; write a date and time such as 2026-03-01T14:00, or how long ago such as 2h", ExitCode.USAGE
        ) from None
