"""What `standpipe doctor` finds out about a PostgreSQL database: what of it loses messages, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from standpipe.core.errors import ConfigurationError
from standpipe.core.finding import Finding, Severity
from standpipe.producers.addresses import is_local
from standpipe.producers.postgres_config import PostgresProducerConfig
from standpipe.producers.postgres_connection import Connection, open_connection
from standpipe.producers.postgres_table import Found, look, target_of

_CRITICAL, _WARNING, _INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO

_SETTINGS: Final = (
    (
        "fsync",
        _CRITICAL,
        "a power cut or a crash of the system loses confirmed messages, or the whole database",
        "fsync = on in postgresql.conf",
    ),
    (
        "full_page_writes",
        _WARNING,
        "a power cut may leave pages half written, and damage the database",
        "full_page_writes = on in postgresql.conf, unless the file system writes pages as a whole",
    ),
)


def findings(config: PostgresProducerConfig) -> Iterator[Finding]:
    """Connect for this, and look; changes nothing. Raises psycopg's errors when it cannot connect."""
    database = open_connection(config)
    try:
        yield from _encryption(database, config)
        yield from _server(database)
        yield from _commit(database, config)
        for table in dict.fromkeys((config.table, config.error_table or config.table)):
            yield from _table(database, config, table)
    finally:
        database.close()


def _encryption(database: Connection, config: PostgresProducerConfig) -> Iterator[Finding]:
    if config.parameters.get("host") or is_local(config.url.host):
        yield Finding(_INFO, "the server is on this machine", "nobody else sees the messages on their way", "")
    elif not database.pgconn.ssl_in_use:
        yield Finding(
            _WARNING,
            "the connection is not encrypted",
            "whoever is between here and the server can read and change all messages",
            "add tls: {} and turn on ssl at the server",
        )
    elif (config.tls is not None and config.tls.verify) or config.parameters.get("sslmode") == "verify-full":
        yield Finding(_INFO, "the connection is encrypted, the certificate verified", "messages and password are safe on their way", "")
    else:
        yield Finding(
            _WARNING,
            "the connection is encrypted, but the server's certificate is not verified",
            "whoever is between here and the server can pretend to be it, and read and change all messages",
            "add tls: {}, with ca_file if the certificate comes from an authority of your own",
        )


def _server(database: Connection) -> Iterator[Finding]:
    if _ask(database, "SELECT pg_is_in_recovery()"):
        yield Finding(_CRITICAL, "the server is a standby", "it takes no writes, so nothing can be delivered", "name the primary in url")
    elif _ask(database, "SHOW transaction_read_only") == "on":
        remedy = "default_transaction_read_only = off, for the user, the database or in postgresql.conf"
        yield Finding(_CRITICAL, "the server is read-only", "it takes no writes, so nothing can be delivered", remedy)
    for name, severity, consequence, remedy in _SETTINGS:
        if _ask(database, "SELECT current_setting(%s)", name) == "on":
            yield Finding(_INFO, f"{name} is on", "what is confirmed survives a power cut, as far as the disk keeps its word", "")
        else:
            yield Finding(severity, f"{name} is off", consequence, remedy)


def _commit(database: Connection, config: PostgresProducerConfig) -> Iterator[Finding]:
    level = config.synchronous_commit
    standbys = _ask(database, "SHOW synchronous_standby_names")
    if level == "off":
        yield Finding(
            _CRITICAL,
            "synchronous_commit is off",
            "the last confirmed messages are lost when the server is killed, crashes or loses power",
            "synchronous_commit: on",
        )
    elif standbys and level in ("local", "remote_write"):
        text = "after a failover to a standby" + (" that lost power as well" if level == "remote_write" else "")
        yield Finding(_WARNING, f"synchronous_commit is {level}", f"{text}, the last messages may be missing", "synchronous_commit: on")
    else:
        text = "what is confirmed is on the disk of the server" + (" and of its synchronous standbys" if standbys else "")
        yield Finding(_INFO, f"synchronous_commit is {level}, for this producer", text, "")
    if not standbys and _ask(database, "SELECT count(*) FROM pg_stat_replication"):
        yield Finding(
            _WARNING,
            "the standbys are asynchronous",
            "after a failover the last confirmed messages may be missing",
            "synchronous_standby_names in postgresql.conf of the server",
        )


def _table(database: Connection, config: PostgresProducerConfig, table: str) -> Iterator[Finding]:
    found = look(database, table)
    if found is None and config.create:
        yield Finding(_INFO, f"there is no table {table!r}", "it will be made at the first connect", "")
        return
    try:
        target = target_of(found, config, table)
    except ConfigurationError as fault:
        what, _, remedy = str(fault).rpartition("; ")
        severity = _INFO if config.create and "it has no column" in str(fault) else _CRITICAL
        yield Finding(severity, what, "nothing can be delivered until then", remedy)
        return
    yield from _kind(found, table)
    if target.deduplicates:
        yield Finding(_INFO, f"table {table!r} can be written to", "a message that is sent again is recognised by its id", "")
    else:
        yield Finding(
            _WARNING,
            f"table {table!r} has no unique index on the id of messages",
            "a message that is sent again, after a crash or a lost answer, comes twice",
            "name a column for id in metadata, with a unique index on it alone",
        )


def _kind(found: Found | None, table: str) -> Iterator[Finding]:
    if found is not None and not found.logged:
        text = "the server empties it when it starts after a crash: all messages in it are lost"
        yield Finding(_CRITICAL, f"table {table!r} is unlogged or temporary", text, f"ALTER TABLE {table} SET LOGGED")


def _ask(database: Connection, query: Any, *values: str) -> Any:
    row = database.execute(query, values or None).fetchone()
    return None if row is None else row[0]
