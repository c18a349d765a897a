"""Dead letters on disk: an SQLite database per producer, because people want to query them.

Several processes use it at the same time: the daemon adds, people look, replay and purge. Nothing is opened before the first
dead letter. It lives outside the spool: what is here is settled, and no damage to the one reaches the other.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection, Row
from types import TracebackType
from typing import Any, Final, Literal, Self

from standpipe.core.clock import Clock, SystemClock
from standpipe.core.dead_letter import DeadLetter
from standpipe.spool.dead_letter_database import Database
from standpipe.spool.dead_letter_table import COLUMNS, EVERYTHING, UPSERT, LetterFilter, NewRow, StoredLetter, letter_of, row_of

MAX_LETTERS: Final = 100_000
"""Enough for a person to see a pattern; nobody reads more."""
MAX_BYTES: Final = 2**30
"""As a spool's own default."""

PAGE: Final = 100
"""Rows read at a time: no transaction stays open while the reader thinks, and payloads do not fill the memory."""

_log = logging.getLogger("standpipe.spool")


@dataclass(frozen=True, slots=True)
class DeadLetterStatistics:
    """What is in a store, and what became of the rest: `added = letters + dropped + replayed + purged`, unless somebody
    deleted rows by hand. The counts are kept on disk, since the store was made."""

    letters: int = 0
    """letters there are"""
    bytes: int = 0
    """bytes they take"""
    letters_max: int = 0
    """most letters there ever were"""
    bytes_max: int = 0
    """most bytes they ever took"""
    added: int = 0
    """messages put aside (one that came again counts once)"""
    dropped: int = 0
    """letters dropped because a bound was reached"""
    replayed: int = 0
    """letters that left because a replay delivered them"""
    purged: int = 0
    """letters that somebody purged"""


class SqliteDeadLetters:
    """The dead letters of one producer in the file `path`. Thread-safe, and safe to use from several processes.

    Bounded by `max_letters`, `max_bytes` and `max_age` (seconds; none: for ever). When a bound bites, the oldest go
    (`drop_oldest`) or new ones are not kept (`drop_newest`); what is too old goes in any case. All of them are counted.
    """

    outlasts_the_process = True
    """So that what is left at a shutdown may be put here."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_letters: int = MAX_LETTERS,
        max_bytes: int = MAX_BYTES,
        max_age: float | None = None,
        on_full: Literal["drop_oldest", "drop_newest"] = "drop_oldest",
        clock: Clock | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self.max_letters = max_letters
        self.max_bytes = max_bytes
        self.max_age = max_age
        self.on_full = on_full
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._file = Database(self.path)

    # --- the engine ---------------------------------------------------------------------------------------------------

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these; they are on the disk when it returns. A message that is there already is the same letter, its counts raised.

        Raises DeadLetterError, OSError: then none of them was kept.
        """
        with self._file.writing(keep=True) as db:
            dropped = self._drop_aged(db) + self._insert(db, letters) + self._trim(db)
            db.execute(
                "UPDATE totals SET letters_max = max(letters_max, letters), bytes_max = max(bytes_max, bytes), dropped = dropped + ?",
                (dropped,),
            )
        self._tell(dropped)

    def sweep(self) -> int:
        """Drop what is older than `max_age`; returns how many. Makes no file, but raises as `add` would if it cannot be used."""
        self._file.check()
        if self.max_age is None or not self._file.exists():
            return 0
        with self._file.writing() as db:
            dropped = self._drop_aged(db)
            db.execute("UPDATE totals SET dropped = dropped + ?", (dropped,))
        self._tell(dropped)
        return dropped

    def _insert(self, db: Connection, letters: Sequence[DeadLetter]) -> int:
        rows = [row_of(letter) for letter in letters]
        if self.on_full == "drop_oldest" and all(row.size <= self.max_bytes for row in rows):
            db.executemany(UPSERT, rows)
            return 0
        dropped = 0
        for row in rows:
            if self._has_place_for(db, row):
                db.execute(UPSERT, row)
            else:
                db.execute("UPDATE totals SET added = added + 1")
                dropped += 1
        return dropped

    def _has_place_for(self, db: Connection, row: NewRow) -> bool:
        if row.size > self.max_bytes:  # all others would go for its sake, and then it would go as well
            return _is_there(db, row)
        if self.on_full == "drop_oldest":
            return True
        letters, size = db.execute("SELECT letters, bytes FROM totals").fetchone()
        return (letters < self.max_letters and size + row.size <= self.max_bytes) or _is_there(db, row)

    def _drop_aged(self, db: Connection) -> int:
        if self.max_age is None:
            return 0
        return db.execute("DELETE FROM letters WHERE last_attempt_at < ?", (self._clock.time() - self.max_age,)).rowcount

    def _trim(self, db: Connection) -> int:
        """The oldest make room, also for letters that have grown."""
        letters, size = db.execute("SELECT letters, bytes FROM totals").fetchone()
        last = 0
        for seq, row_size in db.execute("SELECT seq, size FROM letters ORDER BY seq"):
            if letters <= self.max_letters and size <= self.max_bytes:
                break
            last, letters, size = seq, letters - 1, size - row_size
        return db.execute("DELETE FROM letters WHERE seq <= ?", (last,)).rowcount if last else 0

    def _tell(self, dropped: int) -> None:
        if dropped:
            text = "%s: %d dead letter(s) dropped, as `max_letters`, `max_bytes` and `max_age` say; `standpipe dead purge` makes room"
            _log.warning(text, self.path, dropped)

    # --- people -------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.statistics().letters

    def __iter__(self) -> Iterator[StoredLetter]:
        return self.select()

    def statistics(self) -> DeadLetterStatistics:
        """What is there and what became of the rest."""
        with self._file.reading() as db:
            row = None if db is None else db.execute("SELECT * FROM totals").fetchone()
        if row is None:
            return DeadLetterStatistics()
        return DeadLetterStatistics(**{name: value for name, value in dict(row).items() if name != "one"})

    @property
    def dropped(self) -> int:
        """Letters dropped because a bound was reached, since the store was made."""
        return self.statistics().dropped

    def count(self, wanted: LetterFilter = EVERYTHING) -> int:
        """How many letters are meant."""
        rows = self._ask("SELECT count(*)", wanted)
        return int(rows[0][0]) if rows else 0

    def find(self, wanted: LetterFilter = EVERYTHING, limit: int | None = None, *, newest_first: bool = False) -> list[StoredLetter]:
        """The letters that are meant, at most `limit`, in the order in which they were put aside."""
        return list(self.select(wanted, limit, newest_first=newest_first))

    def select(self, wanted: LetterFilter = EVERYTHING, limit: int | None = None, *, newest_first: bool = False) -> Iterator[StoredLetter]:
        """As `find`, one by one. Letters that come while it goes on are not among them, and none comes twice."""
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        newest = self.newest()
        last = newest + 1 if newest_first else 0
        while limit is None or limit > 0:
            page = PAGE if limit is None else min(PAGE, limit)
            clause = f"seq <= ? AND seq {beyond} ?"
            rows = self._ask(f"SELECT {COLUMNS}", wanted, clause, [newest, last], f"ORDER BY seq {order} LIMIT {page}")
            yield from map(letter_of, rows)
            if len(rows) < page:
                return
            last = rows[-1]["seq"]
            limit = None if limit is None else limit - len(rows)

    def newest(self) -> int:
        """The `seq` of the letter that came last; 0 if there is none."""
        rows = self._ask("SELECT coalesce(max(seq), 0)", EVERYTHING)
        return int(rows[0][0]) if rows else 0

    def get(self, message_id: str) -> StoredLetter | None:
        """The letter of the message with exactly this id."""
        rows = self._ask(f"SELECT {COLUMNS}", EVERYTHING, "id = ?", [message_id])
        return letter_of(rows[0]) if rows else None

    def purge(self, wanted: LetterFilter, limit: int | None = None) -> int:
        """Delete the letters that are meant, the oldest `limit` of them; returns how many."""
        if not self._file.exists():
            return 0
        with self._file.writing() as db:
            condition, values = _condition(db, wanted)
            chosen = f"SELECT seq FROM letters WHERE {condition} ORDER BY seq LIMIT ?"
            purged = db.execute(f"DELETE FROM letters WHERE seq IN ({chosen})", [*values, -1 if limit is None else limit]).rowcount
            db.execute("UPDATE totals SET purged = purged + ?", (purged,))
        with self._file.reading() as reading:
            if reading is not None:
                # The disk gets its room back. As a script: `execute` frees the first page and takes that for the end.
                reading.executescript("PRAGMA incremental_vacuum")
        return purged

    # --- replay -------------------------------------------------------------------------------------------------------

    def take_for_replay(self, letters: Sequence[StoredLetter]) -> list[StoredLetter]:
        """Note, on the disk, that these are about to be sent again; returns them as they are now, without those that are gone."""
        taken: list[StoredLetter] = []
        if not letters or not self._file.exists():
            return taken
        with self._file.writing() as db:
            for letter in letters:
                same = (letter.seq, letter.times)
                db.execute("UPDATE letters SET status = 'replaying', replays = replays + 1 WHERE seq = ? AND times = ?", same)
                row = db.execute(f"SELECT {COLUMNS} FROM letters WHERE seq = ? AND times = ?", same).fetchone()
                if row is not None:
                    taken.append(letter_of(row))
        return taken

    def replayed(self, letters: Sequence[StoredLetter]) -> int:
        """Delete these: they have been delivered. One that was put aside again since it was taken stays."""
        return self._mark("DELETE FROM letters WHERE seq = ? AND times = ?", letters, "UPDATE totals SET replayed = replayed + ?")

    def give_back(self, letters: Sequence[StoredLetter]) -> int:
        """These have not been delivered after all: they wait again."""
        return self._mark("UPDATE letters SET status = 'waiting' WHERE seq = ? AND times = ?", letters)

    def _mark(self, statement: str, letters: Sequence[StoredLetter], total: str | None = None) -> int:
        if not letters or not self._file.exists():
            return 0
        with self._file.writing() as db:
            number = sum(db.execute(statement, (letter.seq, letter.times)).rowcount for letter in letters)
            if total is not None:
                db.execute(total, (number,))
        return number

    # --- life ---------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Release the file; what is asked for afterwards opens it again for as long as it takes."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- asking -------------------------------------------------------------------------------------------------------

    def _ask(self, select: str, wanted: LetterFilter, clause: str = "1", more: Sequence[object] = (), order: str = "") -> list[Row]:
        with self._file.reading() as db:
            if db is None:
                return []
            condition, values = _condition(db, wanted)
            return db.execute(f"{select} FROM letters WHERE {condition} AND {clause} {order}", [*values, *more]).fetchall()


def _condition(db: Connection, wanted: LetterFilter) -> tuple[str, list[Any]]:
    if wanted.text is not None:
        db.create_function("has_text", -1, wanted.matcher(), deterministic=True)
    return wanted.condition()


def _is_there(db: Connection, row: NewRow) -> bool:
    return db.execute("SELECT 1 FROM letters WHERE producer = ? AND id = ?", (row.producer, row.id)).fetchone() is not None
