"""The table in which dead letters are kept: its layout, its rows, and how it is asked.

Version 1. `letters` has one row per message; `totals` has one row with what is there and what became of the others, kept up to
date by triggers, so that rows deleted by hand are accounted for as well.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

import orjson

from standpipe.core.dead_letter import DeadLetter, Reason

VERSION: Final = 1
APPLICATION_ID: Final = 0x5350444C  # "SPDL", in the header of the file: `file` and we recognise our own by it

ROW_BYTES: Final = 200
"""What a row counts beside its texts: numbers, times and the two indexes (a row of 60 bytes of text takes about 260)."""

_SCHEMA: Final = (
    "PRAGMA auto_vacuum = INCREMENTAL",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
    """CREATE TABLE letters (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        producer TEXT NOT NULL,
        destination TEXT NOT NULL,
        reason TEXT NOT NULL,
        is_error INTEGER NOT NULL,
        key TEXT,
        headers TEXT,
        payload BLOB NOT NULL,
        original BLOB,
        error TEXT,
        traceback TEXT,
        response TEXT,
        attempts INTEGER NOT NULL,
        accepted_at REAL NOT NULL,
        first_attempt_at REAL,
        last_attempt_at REAL NOT NULL,
        times INTEGER NOT NULL DEFAULT 1,
        replays INTEGER NOT NULL DEFAULT 0,
        status TEXT NOT NULL DEFAULT 'waiting',
        size INTEGER NOT NULL,
        UNIQUE (producer, id)
    )""",
    "CREATE INDEX letters_by_time ON letters (last_attempt_at)",
    """CREATE TABLE totals (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        letters INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0,
        letters_max INTEGER NOT NULL DEFAULT 0,
        bytes_max INTEGER NOT NULL DEFAULT 0,
        added INTEGER NOT NULL DEFAULT 0,
        dropped INTEGER NOT NULL DEFAULT 0,
        replayed INTEGER NOT NULL DEFAULT 0,
        purged INTEGER NOT NULL DEFAULT 0
    )""",
    "INSERT INTO totals (one) VALUES (1)",
    """CREATE TRIGGER letter_added AFTER INSERT ON letters BEGIN
        UPDATE totals SET letters = letters + 1, bytes = bytes + NEW.size, added = added + 1; END""",
    """CREATE TRIGGER letter_changed AFTER UPDATE OF size ON letters BEGIN
        UPDATE totals SET bytes = bytes - OLD.size + NEW.size; END""",
    "CREATE TRIGGER letter_removed AFTER DELETE ON letters BEGIN UPDATE totals SET letters = letters - 1, bytes = bytes - OLD.size; END",
)

COLUMNS: Final = (
    "seq, id, producer, destination, reason, is_error, key, headers, payload, original, error, traceback, response, attempts,"
    " accepted_at, first_attempt_at, last_attempt_at, times, replays, status, size"
)

UPSERT: Final = """
INSERT INTO letters (id, producer, destination, reason, is_error, key, headers, payload, error, traceback, response, attempts,
    accepted_at, first_attempt_at, last_attempt_at, replays, size)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (producer, id) DO UPDATE SET
    destination = excluded.destination, reason = excluded.reason, is_error = excluded.is_error, key = excluded.key,
    headers = excluded.headers, error = excluded.error, traceback = excluded.traceback, response = excluded.response,
    payload = excluded.payload,
    original = CASE WHEN payload IS excluded.payload THEN original ELSE coalesce(original, payload) END,
    size = excluded.size
        + coalesce(length(CASE WHEN payload IS excluded.payload THEN original ELSE coalesce(original, payload) END), 0),
    attempts = attempts + excluded.attempts,
    accepted_at = min(accepted_at, excluded.accepted_at),
    first_attempt_at = coalesce(min(first_attempt_at, excluded.first_attempt_at), first_attempt_at, excluded.first_attempt_at),
    last_attempt_at = excluded.last_attempt_at,
    replays = max(replays, excluded.replays),
    times = times + 1,
    status = 'waiting'
"""
"""The values are a `NewRow`. A message that is put aside again, after a replay or a crash, is the same row with its counts raised.
If it was edited meanwhile, `original` keeps what it was first."""


class Status(Enum):
    """What is being done with a stored letter."""

    WAITING = "waiting"
    """nothing: it waits for a person"""
    REPLAYING = "replaying"
    """a replay is sending it, or was interrupted while it did"""


@dataclass(frozen=True, slots=True)
class StoredLetter(DeadLetter):
    """A dead letter as it is kept on disk."""

    seq: int = 0
    """its place in the order in which letters were put aside"""
    times: int = 1
    """how often it was put aside: more than once after a crash or a replay"""
    status: Status = Status.WAITING
    original: bytes | None = None
    """the payload before somebody edited it, if somebody did"""
    size: int = 0
    """bytes it takes, as the bounds count them"""


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters are meant: those for which everything given holds. Times are seconds since 1970, of being put aside."""

    producer: str | None = None
    reasons: tuple[Reason, ...] = ()
    since: float | None = None
    until: float | None = None
    text: str | None = None
    """occurs in payload, error, key or id, whatever its case"""
    ids: tuple[str, ...] = ()
    """message ids"""
    id_start: str | None = None
    """how the message id begins"""

    def condition(self) -> tuple[str, list[Any]]:
        """For SQL: a condition with its values."""
        parts, values = ["1"], list[Any]()
        for column, value in (("producer =", self.producer), ("last_attempt_at >=", self.since), ("last_attempt_at <", self.until)):
            if value is not None:
                parts.append(f"{column} ?")
                values.append(value)
        if self.reasons:
            parts.append(f"reason IN ({', '.join('?' * len(self.reasons))})")
            values += [reason.value for reason in self.reasons]
        if self.ids:
            parts.append(f"id IN ({', '.join('?' * len(self.ids))})")
            values += self.ids
        if self.id_start is not None:
            parts.append("substr(id, 1, length(?)) = ?")
            values += [self.id_start, self.id_start]
        if self.text is not None:
            parts.append("has_text(payload, error, key, id)")
        return " AND ".join(parts), values

    def matcher(self) -> Callable[..., bool]:
        """The function `has_text` of the condition."""
        text = self.text or ""
        needles = {text.casefold(), json.dumps(text, ensure_ascii=False)[1:-1].casefold()}  # as it is, and as JSON writes it

        def has_text(*columns: str | bytes | None) -> bool:
            texts = [column.decode("utf-8", "replace") if isinstance(column, bytes) else column or "" for column in columns]
            return any(needle in text.casefold() for text in texts for needle in needles)

        return has_text


EVERYTHING: Final = LetterFilter()


def make_table(db: sqlite3.Connection) -> None:
    """Lay out an empty database."""
    for statement in _SCHEMA:
        db.execute(statement)
    db.execute("PRAGMA journal_mode = WAL")


class NewRow(NamedTuple):
    """The values of `UPSERT`."""

    id: str | None
    producer: str | None
    destination: str | None
    reason: str
    is_error: int
    key: str | None
    headers: str | None
    payload: bytes
    error: str | None
    traceback: str | None
    response: str | None
    attempts: int
    accepted_at: float
    first_attempt_at: float | None
    last_attempt_at: float
    replays: int
    size: int


def row_of(letter: DeadLetter) -> NewRow:
    """A letter as a row. At the end of a process there may be 100,000 of them, and somebody waits: hence in one piece."""
    headers, headers_size = None, 0
    if letter.headers is not None:
        pairs = {_stored(name)[0]: _stored(value)[0] for name, value in letter.headers.items()}
        headers, headers_size = _stored(json.dumps(pairs, ensure_ascii=False))
    message_id, id_size = _stored(letter.id)
    producer, producer_size = _stored(letter.producer)
    destination, destination_size = _stored(letter.destination)
    key, key_size = _stored(letter.key)
    error, error_size = _stored(letter.error)
    traceback, traceback_size = _stored(letter.traceback)
    response, response_size = _stored(letter.response)
    texts_size = id_size + producer_size + destination_size + key_size + headers_size + error_size + traceback_size + response_size
    return NewRow(
        message_id,
        producer,
        destination,
        letter.reason.value,
        int(letter.is_error),  # a bool would be taken to somebody who knows how to adapt it
        key,
        headers,
        letter.payload,
        error,
        traceback,
        response,
        letter.attempts,
        letter.accepted_at,
        letter.first_attempt_at,
        letter.last_attempt_at,
        letter.replays,
        ROW_BYTES + len(letter.payload) + texts_size,
    )


def _stored(text: str | None) -> tuple[str | None, int]:
    """What SQLite can store, and its bytes: a lone surrogate (from a file name, from a key) would keep the letter from being
    stored at all."""
    if text is None:
        return None, 0
    if text.isascii():
        return text, len(text)
    data = text.encode("utf-8", "backslashreplace")
    return data.decode(), len(data)


def letter_of(row: sqlite3.Row) -> StoredLetter:
    """The letter in a row of `COLUMNS`."""
    values = dict(row)
    reason, status = values["reason"], values["status"]
    return StoredLetter(
        **values
        | {
            "reason": Reason(reason) if reason in _REASONS else Reason.UNDELIVERABLE,
            "status": Status.REPLAYING if status == Status.REPLAYING.value else Status.WAITING,
            "is_error": bool(values["is_error"]),
            "payload": bytes(values["payload"]),
            "headers": orjson.loads(values["headers"]) if values["headers"] is not None else None,
        }
    )


_REASONS = {reason.value for reason in Reason}
