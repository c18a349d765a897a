"""What an examination says: all is well, or what would be lost and how to mend it."""

from __future__ import annotations

from typing import Any

import pytest

from standpipe.core.errors import Misconfigured, NotSent
from standpipe.core.finding import Severity
from tests.integration.conftest import MakeServer
from tests.integration.postgres.database import execute, producer
from tests.servers.certificates import Certificates
from tests.servers.postgres import PostgresServer
from tests.servers.server import Address, free_port


def findings(url: str, table: str, severity: Severity | None = None, **settings: Any) -> dict[str, str]:
    """What was found, and the remedy."""
    found = producer(url, table, **settings).examine()
    return {each.what: each.remedy for each in found if severity is None or each.severity is severity}


def test_a_sound_database_has_nothing_but_good_news(postgres_server: Address, postgres_name: str) -> None:
    found = findings(postgres_server.url, postgres_name)
    assert f"there is no table '{postgres_name}'" in found
    assert not execute(postgres_server.url, "SELECT 1 FROM pg_tables WHERE tablename = %s", postgres_name), "an examination changes nothing"
    made = producer(postgres_server.url, postgres_name)
    made._connect()
    made._close()
    found = findings(postgres_server.url, postgres_name)
    assert {"fsync is on", "synchronous_commit is on, for this producer", f"table '{postgres_name}' can be written to"} <= found.keys()
    assert all(each.severity is Severity.INFO for each in producer(postgres_server.url, postgres_name).examine())


def test_settings_that_lose_messages_are_critical(own_server: MakeServer) -> None:
    server = own_server(PostgresServer, settings={"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"})
    assert findings(server.url, "t", Severity.CRITICAL) == {"fsync is off": "fsync = on in postgresql.conf"}
    assert "full_page_writes is off" in findings(server.url, "t", Severity.WARNING)
    assert findings(server.url, "t", Severity.CRITICAL, synchronous_commit="off")["synchronous_commit is off"] == "synchronous_commit: on"
    execute(server.url, "ALTER SYSTEM SET default_transaction_read_only = on")
    server.restart()
    assert "the server is read-only" in findings(server.url, "t", Severity.CRITICAL)


def test_tables_that_lose_or_double_messages_are_found(postgres_server: Address, postgres_name: str) -> None:
    url, settings = postgres_server.url, {"metadata": ["id", "payload"], "create": False}
    assert f"there is no table '{postgres_name}'" in findings(url, postgres_name, Severity.CRITICAL, **settings)
    execute(url, f'CREATE UNLOGGED TABLE "{postgres_name}" (id text, payload jsonb)')
    ((what, remedy),) = findings(url, postgres_name, Severity.CRITICAL, **settings).items()
    assert "no unique index" in what
    assert "then such messages come twice" in remedy
    found = findings(url, postgres_name, Severity.WARNING, mode="copy", **settings)
    assert f"table '{postgres_name}' has no unique index on the id of messages" in found
    execute(url, f'ALTER TABLE "{postgres_name}" ADD PRIMARY KEY (id)')
    assert findings(url, postgres_name, Severity.CRITICAL, **settings) == {
        f"table '{postgres_name}' is unlogged or temporary": f"ALTER TABLE {postgres_name} SET LOGGED"
    }
    execute(url, f'ALTER TABLE "{postgres_name}" SET LOGGED')
    assert not findings(url, postgres_name, Severity.CRITICAL, **settings)


def test_encryption_that_is_not_verified_is_found(
    own_server: MakeServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standpipe.producers.postgres_examine.is_local", lambda host: False)
    server = own_server(PostgresServer, tls=certificates.for_server())
    assert "the connection is encrypted, but the server's certificate is not verified" in findings(server.url, "t", Severity.WARNING)
    found = findings(server.url, "t", Severity.INFO, tls={"ca_file": str(certificates.ca_file)})
    assert "the connection is encrypted, the certificate verified" in found
    plain = own_server(PostgresServer)
    assert "the connection is not encrypted" in findings(plain.url, "t", Severity.WARNING)


def test_what_cannot_be_reached_or_entered_says_why(own_server: MakeServer) -> None:
    with pytest.raises(NotSent, match="check host and port"):
        findings(f"postgresql://u@127.0.0.1:{free_port()}/d", "t")
    server = own_server(PostgresServer, password="right-password")
    with pytest.raises(Misconfigured, match="correct user and password"):
        findings(server.url.replace("right", "wrong"), "t")
