"""What the errors of PostgreSQL mean for the messages of a batch.

An error that the server reports for a statement (severity ERROR) has undone it: nothing of it is there. When the connection
is gone, the statement may have been carried out; the ids make it safe to repeat. While connecting there are no codes, only
the server's words, which may be in another language: then the error is a connection that could not be opened, no more.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError
from standpipe.producers.error_table import ErrorRow, ErrorTable
from standpipe.producers.postgres_connection import SendTimedOut

DISK_FULL_SECONDS = 10.0
"""Pause when the server's disk is full: somebody has to make room, which takes longer than a retry."""
CROWDED_SECONDS = 5.0
"""Pause when the server lacks connections or memory: others have to finish first."""

_ROW_LEVEL = "ExecWithCheckOptions"  # of the server's source: the words are translated, this is not


def state_of(error: BaseException) -> str:
    """The SQLSTATE; empty if there is none: while connecting, and when the connection is lost."""
    return (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""


def is_fault_of_a_row(error: BaseException) -> bool:
    """Whether a row of the batch is at fault, so that the others pass without it."""
    state = state_of(error)
    if state == "42501":
        return isinstance(error, psycopg.Error) and error.diag.source_function == _ROW_LEVEL
    # Data exceptions, constraints, limits of a row (nesting, index entries), what a trigger raises, a view's condition.
    return state[:2] in ("22", "23", "54") or state in ("P0001", "44000") or _unencodable(error)


def _unencodable(error: BaseException) -> bool:
    """What psycopg itself cannot send."""
    return isinstance(error, psycopg.DataError) and not state_of(error)


def _states(*beginnings: str) -> Callable[[BaseException], bool]:
    return lambda error: state_of(error).startswith(beginnings)


def _says(*texts: str) -> Callable[[BaseException], bool]:
    """Errors without a code, by the words of libpq and of servers that speak English."""

    def fits(error: BaseException) -> bool:
        said = str(error).lower()
        return isinstance(error, psycopg.Error) and not state_of(error) and any(text in said for text in texts)

    return fits


def _either(*questions: Callable[[BaseException], bool]) -> Callable[[BaseException], bool]:
    return lambda error: any(question(error) for question in questions)


def _is_reported(error: BaseException) -> bool:
    return bool(state_of(error)) and isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized == "ERROR"


ERRORS = ErrorTable(
    "PostgreSQL",
    ErrorRow(
        "a value does not fit its column, breaks a constraint, is refused by a trigger, or exceeds a limit of the server "
        "(classes 22, 23, 54; P0001, 44000)",
        is_fault_of_a_row,
        Reject,
        "the database refuses the row",
    ),
    ErrorRow(
        "serialization failure, deadlock, lock timeout (40001, 40P01, 55P03)",
        _states("40001", "40P01", "55P03"),
        NotSent,
        "another transaction was in the way",
    ),
    ErrorRow(
        "the statement takes longer than `send_timeout` (57014)",
        _states("57014"),
        NotSent,
        "the statement took longer than send_timeout, or was cancelled; it was undone",
    ),
    ErrorRow(
        "no answer within `send_timeout`",
        SendTimedOut,
        Disconnected,
        "the server did not answer within send_timeout",
    ),
    ErrorRow(
        "the server takes no writes: a standby, or read-only (25006)",
        _either(_states("25006"), _says("session is read-only", "server is in hot standby mode")),
        Disconnected,
        "the server takes no writes; name the primary in url, or the others in standbys",
        arrived=False,
    ),
    ErrorRow("the disk is full (53100)", _states("53100"), RetryAfter, "the server's disk is full; make room", seconds=DISK_FULL_SECONDS),
    ErrorRow(
        "too many connections, or no memory (class 53)",
        _either(_states("53"), _says("too many clients", "remaining connection slots", "too many connections")),
        RetryAfter,
        "the server lacks connections or memory; raise max_connections, or close some",
        seconds=CROWDED_SECONDS,
    ),
    ErrorRow(
        "the server is starting, stopping or recovering (57P01, 57P02, 57P03)",
        _either(_states("57P"), _says("database system is", "terminating connection")),
        Disconnected,
        "the server is starting or stopping",
    ),
    ErrorRow(
        "the server's certificate is not trusted, has expired or is for another name; or the server wants one of ours",
        _says("certificate"),
        Misconfigured,
        "no trusted encryption: the certificate of the server, or ours, was refused; correct tls, or have it renewed",
    ),
    ErrorRow(
        "the server does not offer encryption",
        _says("does not support ssl", "ssl error", "ssl negotiation"),
        Misconfigured,
        "the server does not encrypt as tls asks for; turn on ssl there",
    ),
    ErrorRow(
        "wrong user or password, or the server's pg_hba.conf does not let us in (28000, 28P01)",
        _either(_states("28"), _says("password authentication failed", "no pg_hba.conf entry", "no password supplied", 'role "')),
        Misconfigured,
        "the server does not let us in; correct user and password in url, and pg_hba.conf of the server",
    ),
    ErrorRow(
        "the database does not exist (3D000)",
        _either(_states("3D000"), _says('" does not exist')),
        Misconfigured,
        "the database does not exist; correct url, or create it",
    ),
    ErrorRow(
        "a privilege is missing (42501)",
        _states("42501"),
        Misconfigured,
        "a privilege is missing; grant INSERT on the table and SELECT on its id",
    ),
    ErrorRow(
        "the table or one of its columns is gone, or has changed (class 42, 3F000, 428C9)",
        _states("42", "3F000", "0A000"),
        Misconfigured,
        "the table is not as it was or as configured; mend it, or set create: true",
    ),
    ErrorRow(
        "no connection can be opened",
        _says("connection failed", "connection is bad", "timeout expired", "failed to resolve host", "could not translate host"),
        NotSent,
        "the server cannot be reached; check host and port in url, and whether it runs",
    ),
    ErrorRow("another error that the server reports for the statement, which is undone", _is_reported, NotSent, "the server failed"),
    ErrorRow(
        "the connection is lost (class 08)",
        (psycopg.OperationalError, psycopg.InterfaceError),
        Disconnected,
        "the connection is lost",
    ),
    ErrorRow("the host name is unknown", OSError, NotSent, "the host name cannot be resolved; check the host in url, and DNS"),
    ErrorRow("anything else", psycopg.Error, SendError, "the client failed"),
)
"""Every kind of error, and what is done about it."""


def translated(error: BaseException) -> SendError:
    """What `error` means for the engine. Of what the server says the details, which show the whole row, are not in the reason:
    it is for logs; they are kept with the dead letter."""
    if not isinstance(error, psycopg.Error) or error.diag.message_primary is None:
        return ERRORS.translate(error)
    row = next(row for row in ERRORS.rows if row.fits(error))
    diag = error.diag
    where = [f"{what} {name}" for what, name in (("column", diag.column_name), ("constraint", diag.constraint_name)) if name]
    made = row.made(f"{row.reason} ({', '.join([f'{state_of(error)}: {diag.message_primary}', *where])})", error)
    made.response = diag.message_detail
    return made
