"""The PostgreSQL producer keeps every promise of the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from standpipe.producers.postgres import PostgresProducer
from standpipe.producers.postgres_config import PostgresProducerConfig
from standpipe.testing.conformance import check_producer
from standpipe.testing.pytest_plugin import CheckPromise
from standpipe.testing.subject import Arrival, Subject
from tests.integration.postgres.database import execute, producer, rows
from tests.servers.server import Address

WHAT_COPY_CHANGES = ("delivers", "bytes", "oversize", "refusal", "errors-told-apart", "order", "cuts", "lost-answers", "frozen-peer")


class Table(Subject[PostgresProducerConfig]):
    """Reads the tables back; they refuse messages that are marked."""

    def __init__(self, kind: type[PostgresProducer], config: PostgresProducerConfig, url: str) -> None:
        super().__init__(kind, config)
        self.url = url

    @contextmanager
    def session(self) -> Iterator[None]:
        """A rule that the database itself has to enforce."""
        for table in self._tables():
            execute(self.url, f'ALTER TABLE "{table}" DROP CONSTRAINT IF EXISTS polite')
            execute(self.url, f"ALTER TABLE \"{table}\" ADD CONSTRAINT polite CHECK (payload::jsonb ->> 'rude' IS NULL)")
        yield

    def refused(self, run: str, number: int) -> dict[str, Any]:
        """A message that breaks it."""
        return self.message(run, number) | {"rude": "yes"}

    def read_back(self) -> list[Arrival]:
        """Both tables, as the bytes of the messages are there."""
        found = [row for table in self._tables() for row in rows(self.url, table, "payload, is_error")]
        return [Arrival(payload, is_error) for payload, is_error in found]

    def _tables(self) -> list[str]:
        return [self.config.table] + ([self.config.error_table] if self.config.error_table else [])


def subject(server: Address, name: str, **settings: Any) -> Table:
    """Its tables are there; it has a password, whether the server wants one or not."""
    url = server.url if server.password else server.url.replace("@", ":a-word-that-is-secret@")
    maker = producer(url, name, **settings)
    maker._connect()
    maker._close()
    return Table(PostgresProducer, maker.config, server.url)


def test_keeps_the_promise(conformance: CheckPromise, postgres_server: Address, postgres_name: str) -> None:
    conformance(subject(postgres_server, postgres_name))


@pytest.mark.parametrize("promise", WHAT_COPY_CHANGES)
def test_keeps_the_promise_with_copy_and_errors_apart(postgres_server: Address, postgres_name: str, promise: str) -> None:
    checked = subject(postgres_server, postgres_name, mode="copy", error_table=f"{postgres_name}_errors")
    check_producer(checked, quick=True, only=[promise]).raise_if_broken()
