"""A connection to PostgreSQL that never waits for ever, encrypted as configured, with a session that keeps what it confirms."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Generator
from math import ceil
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

from standpipe.producers.postgres_config import PostgresProducerConfig
from standpipe.producers.tls import TlsConfig, ssl_context

LOOK_SECONDS = 0.05
"""Seconds between two looks at the clock while the server says nothing."""
SERVERS_SHARE = 0.9
"""Of `send_timeout`, after which the server itself gives a statement up: so it is the server that ends it, and says so."""
NAME_BYTES_MAX = 63
"""Of an application's name; the server cuts what is longer."""
AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)
"""Where systems keep the certificates of the authorities they trust. psycopg's own OpenSSL does not know it everywhere."""

Result = TypeVar("Result")


class SendTimedOut(psycopg.OperationalError):
    """The server has been silent for too long; what it was asked may be done or not."""


class Connection(psycopg.Connection[TupleRow]):
    """A connection whose calls raise SendTimedOut after the time set with `allow`. For one thread."""

    made_by = 0
    """the process that has opened it; to others it does not belong"""
    _until = float("inf")

    def allow(self, seconds: float | None) -> None:
        """What is called from now on may take so long in all; None: as long as it likes."""
        self._until = float("inf") if seconds is None else time.monotonic() + seconds

    def wait(self, gen: PQGen[Result], interval: float = LOOK_SECONDS, *args: Any, **kwargs: Any) -> Result:
        """For psycopg: all waiting goes through here. libpq has no timeout for a server that is there and does not answer."""
        return super().wait(self._within_time(gen), min(interval, LOOK_SECONDS), *args, **kwargs)

    def _within_time(self, gen: PQGen[Result]) -> Generator[Any, Any, Result]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                # psycopg comes back after `interval` with or without something to read.
                if not ready and time.monotonic() > self._until:
                    raise SendTimedOut("the server did not answer in time")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: Result = end.value
            return result

    def release(self) -> None:
        """Close it, unless it belongs to the parent process, whose session would end."""
        if self.made_by == os.getpid():
            self.close()


def connect(config: PostgresProducerConfig) -> Connection:
    """Open a connection and set up its session. Raises psycopg's errors, and ConfigurationError for files of `tls`."""
    database = open_connection(config)
    try:
        _set_up(database, config)
    except BaseException:
        database.close()
        raise
    return database


def open_connection(config: PostgresProducerConfig) -> Connection:
    """Open a connection, with nothing set up; what is done with it at first may take `connect_timeout`."""
    database = Connection.connect(**parameters(config), autocommit=True, prepare_threshold=None)
    database.made_by = os.getpid()
    database.allow(config.connect_timeout)
    return database


def parameters(config: PostgresProducerConfig) -> dict[str, Any]:
    """What libpq is told."""
    servers = config.servers
    password = config.url.password
    found: dict[str, Any] = {
        "host": ",".join(server.host for server in servers),
        "port": ",".join(str(server.port) for server in servers),
        "user": config.url.user,
        "password": password.get_secret_value() if password is not None else None,
        "dbname": config.database,
        "connect_timeout": max(1, ceil(config.connect_timeout)),
        "application_name": f"standpipe/{config.name}"[:NAME_BYTES_MAX],
        "client_encoding": "UTF8",
        # A peer that has vanished is noticed without sending (after about a minute) and while sending.
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    if config.send_timeout:
        found["tcp_user_timeout"] = max(1, round(config.send_timeout * 1000))
    if len(servers) > 1:
        found["target_session_attrs"] = "read-write"
    if config.tls is not None:
        found |= _encryption(config.tls, servers[0].host, servers[0].port, alone=len(servers) == 1)
    found |= config.parameters
    if found.get("sslmode") in ("verify-ca", "verify-full"):
        found.setdefault("sslrootcert", _authorities())
    return {name: value for name, value in found.items() if value is not None}


def _encryption(tls: TlsConfig, host: str, port: int, *, alone: bool) -> dict[str, Any]:
    """Encrypted or not at all: no mode of libpq that falls back to plain text is used."""
    ssl_context(tls)  # for its errors, which name the file and the remedy
    found: dict[str, Any] = {
        "sslmode": "verify-full" if tls.verify else "require",
        "ssl_min_protocol_version": f"TLSv{tls.min_version}",
        "gssencmode": "disable",
    }
    if tls.verify:
        found["sslrootcert"] = tls.ca_file or _authorities()
    if tls.cert_file is not None:
        found |= {"sslcert": tls.cert_file, "sslkey": tls.key_file or tls.cert_file}
        if tls.key_password is not None:
            found["sslpassword"] = tls.key_password.get_secret_value()
    if tls.server_name is not None and alone:
        # libpq checks the name of `host` and connects to `hostaddr`.
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
        found |= {"host": tls.server_name, "hostaddr": address}
    return found


def _authorities() -> str:
    ours = ssl.get_default_verify_paths().cafile
    return next((path for path in (ours, *AUTHORITIES) if path is not None and os.path.exists(path)), "system")


def _set_up(database: Connection, config: PostgresProducerConfig) -> None:
    timeout = 0 if not config.send_timeout else max(1, round(config.send_timeout * SERVERS_SHARE * 1000))
    settings = {
        "synchronous_commit": config.synchronous_commit,
        "statement_timeout": str(timeout),
        "TimeZone": "UTC",  # what a time without a zone is taken for
        "DateStyle": "ISO",
    }
    calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
    values = [text for pair in settings.items() for text in pair]
    row = database.execute(f"SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool, {calls}", values).fetchone()
    if row is not None and row[0]:
        raise psycopg.errors.ReadOnlySqlTransaction("the server takes no writes: it is a standby, or set to read-only")
