"""What each error of the server or the client means for the messages."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from standpipe.core.errors import ConfigurationError, Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError
from standpipe.producers.postgres_connection import SendTimedOut
from standpipe.producers.postgres_errors import ERRORS, is_fault_of_a_row, translated


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidTextRepresentation, Reject),
        (errors.NumericValueOutOfRange, Reject),
        (errors.UntranslatableCharacter, Reject),
        (errors.NotNullViolation, Reject),
        (errors.UniqueViolation, Reject),
        (errors.CheckViolation, Reject),
        (errors.ProgramLimitExceeded, Reject),
        (errors.StatementTooComplex, Reject),
        (errors.RaiseException, Reject),
        (errors.WithCheckOptionViolation, Reject),
        (errors.SerializationFailure, NotSent),
        (errors.DeadlockDetected, NotSent),
        (errors.LockNotAvailable, NotSent),
        (errors.QueryCanceled, NotSent),
        (errors.ReadOnlySqlTransaction, Disconnected),
        (errors.DiskFull, RetryAfter),
        (errors.OutOfMemory, RetryAfter),
        (errors.TooManyConnections, RetryAfter),
        (errors.AdminShutdown, Disconnected),
        (errors.CannotConnectNow, Disconnected),
        (errors.InvalidPassword, Misconfigured),
        (errors.InvalidCatalogName, Misconfigured),
        (errors.InsufficientPrivilege, Misconfigured),
        (errors.UndefinedTable, Misconfigured),
        (errors.UndefinedColumn, Misconfigured),
        (errors.InvalidColumnReference, Misconfigured),
        (errors.ConnectionFailure, Disconnected),
        (SendTimedOut, Disconnected),
        (psycopg.OperationalError, Disconnected),
        (psycopg.InterfaceError, Disconnected),
        (psycopg.DataError, Reject),
        (psycopg.Error, SendError),
    ],
)
def test_each_error_has_its_meaning(error: type[psycopg.Error], kind: type[SendError]) -> None:
    made = translated(error("what was said"))
    assert type(made) is kind
    assert "what was said" in str(made)


@pytest.mark.parametrize(
    ("said", "kind", "remedy"),
    [
        ('connection failed: FATAL:  password authentication failed for user "u"', Misconfigured, "correct user and password in url"),
        ('connection failed: FATAL:  role "u" does not exist', Misconfigured, "correct user and password in url"),
        ('connection failed: FATAL:  no pg_hba.conf entry for host "1.2.3.4"', Misconfigured, "pg_hba.conf"),
        ('connection failed: FATAL:  database "d" does not exist', Misconfigured, "correct url, or create it"),
        ("connection failed: SSL error: certificate verify failed", Misconfigured, "correct tls"),
        ('connection failed: server certificate for "a" does not match host name "b"', Misconfigured, "correct tls"),
        ("connection failed: server does not support SSL, but SSL was required", Misconfigured, "turn on ssl"),
        ("connection failed: FATAL:  sorry, too many clients already", RetryAfter, "max_connections"),
        ("connection failed: FATAL:  the database system is starting up", Disconnected, "starting or stopping"),
        ("connection failed: session is read-only", Disconnected, "name the primary"),
        ("connection failed: Connection refused", NotSent, "check host and port"),
        ("failed to resolve host 'x'", NotSent, "check host and port"),
        ("connection timeout expired", NotSent, "check host and port"),
        ("server closed the connection unexpectedly", Disconnected, "the connection is lost"),
    ],
)
def test_errors_without_a_code_go_by_their_words(said: str, kind: type[SendError], remedy: str) -> None:
    made = translated(psycopg.OperationalError(said))
    assert type(made) is kind
    assert remedy in str(made)


def test_a_connection_that_is_lost_may_have_brought_the_message() -> None:
    for error in (psycopg.OperationalError("server closed the connection unexpectedly"), errors.AdminShutdown("x"), SendTimedOut("x")):
        made = translated(error)
        assert isinstance(made, Disconnected)
        assert made.arrived is None
    read_only = translated(errors.ReadOnlySqlTransaction("x"))
    assert isinstance(read_only, Disconnected)
    assert read_only.arrived is False


def test_only_what_a_row_can_do_is_the_fault_of_a_row() -> None:
    assert is_fault_of_a_row(errors.CheckViolation("x"))
    for error in (errors.UndefinedTable("x"), errors.InsufficientPrivilege("x"), errors.DiskFull("x"), psycopg.OperationalError("x")):
        assert not is_fault_of_a_row(error)


def test_errors_of_ours_and_of_the_system_pass() -> None:
    assert isinstance(translated(ConfigurationError("no table")), Misconfigured)
    mine = Reject("mine")
    assert translated(mine) is mine
    assert isinstance(translated(OSError("no such host")), NotSent)


def test_every_row_says_what_is_done_and_why() -> None:
    assert all(when and done and why for when, done, why in ERRORS.described())
