"""The built-in producers as subjects of the conformance kit: how what they wrote is read back."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO

import orjson

from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.console import ConsoleProducer, ConsoleProducerConfig
from standpipe.producers.database_columns import quoted
from standpipe.producers.file import FileProducer, FileProducerConfig
from standpipe.producers.sqlite import SqliteProducer, SqliteProducerConfig
from standpipe.testing.subject import Arrival, Subject


class FileSubject(Subject[FileProducerConfig]):
    """Reads the files, unless their names depend on the messages or they are rotated."""

    def read_back(self) -> Iterable[Arrival] | None:
        """The records, without the fields that the producer has added."""
        config = self.config
        paths = [(None, config.path)] if config.error_path is None else [(False, config.path), (True, config.error_path)]
        if config.rotate is not None or any("{" in path for _, path in paths):
            return None
        return [arrival for flag, path in paths for arrival in self._records(flag, os.path.expanduser(path))]

    def _records(self, flag: bool | None, path: str) -> Iterator[Arrival]:
        for line in _lines_of(path):
            record = orjson.loads(line)
            added = {meaning: record.pop(name, None) for meaning, name in self.config.field_names.items()}
            yield Arrival(record, added.get("is_error") if flag is None else flag)


class SqliteSubject(Subject[SqliteProducerConfig]):
    """Reads the tables."""

    def read_back(self) -> Iterable[Arrival]:
        """The rows, in the order in which they were written."""
        config, found = self.config, []
        with closing(sqlite3.connect(os.path.expanduser(config.path))) as db, suppress(sqlite3.OperationalError):
            for table in dict.fromkeys((config.table, config.error_table or config.table)):
                rows = db.execute(f"SELECT payload, is_error FROM {quoted(table)} ORDER BY rowid")
                found += [Arrival(orjson.loads(payload), bool(flag)) for payload, flag in rows]
        return found


class ConsoleSubject(Subject[ConsoleProducerConfig]):
    """Puts something in the place of the standard streams, and reads that, unless the output is for people."""

    _streams: tuple[TextIO, TextIO] | None = None

    @contextmanager
    def session(self) -> Iterator[None]:
        """The process's own streams are spared; files, because a child process must be able to write to them as well."""
        with tempfile.TemporaryFile("w+", encoding="utf-8") as normal, tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
            self._streams = (normal, errors)
            try:
                with redirect_stdout(normal), redirect_stderr(errors):
                    yield
            finally:
                self._streams = None

    def read_back(self) -> Iterable[Arrival] | None:
        """The records of both streams."""
        if self.config.format == "pretty" or self._streams is None:
            return None
        normal, errors = ([orjson.loads(line) for line in _content(stream).split(b"\n")[:-1]] for stream in self._streams)
        if self.config.errors_to == "stdout":
            return [Arrival(record, record.pop("is_error")) for record in normal]
        return [Arrival(record, False) for record in normal] + [Arrival(record, True) for record in errors]


_KNOWN: list[tuple[type[BaseProducer], type[Subject[Any]]]] = [
    (FileProducer, FileSubject),
    (SqliteProducer, SqliteSubject),
    (ConsoleProducer, ConsoleSubject),
]


def subject_for(kind: type[BaseProducer], config: BaseProducerConfig) -> Subject[Any]:
    """The subject of a built-in producer that can be read back, or a plain one."""
    for known, subject in _KNOWN:
        if isinstance(kind, type) and issubclass(kind, known):
            return subject(kind, config)
    return Subject(kind, config)


def _content(stream: TextIO) -> bytes:
    return os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0)


def _lines_of(path: str) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
