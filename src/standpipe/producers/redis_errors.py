"""What the errors of Redis mean for the messages.

A command that the server answers with an error has changed nothing. When the connection is lost, the commands on their way
may have been carried out.
"""

from __future__ import annotations

from collections.abc import Callable

import hiredis
import redis

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError
from standpipe.producers.error_table import ErrorRow, ErrorTable
from standpipe.producers.redis_connection import ServerError, TlsFailed

BUSY_SECONDS = 1.0
"""Pause when the server is full, loading or busy: it passes by itself, and asking costs little."""
REFUSAL_SECONDS = 5.0
"""Pause when the server has stopped taking writes because of its disk or its replicas: somebody has to look at it."""

_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (redis.AuthenticationError, "WRONGPASS"),
    (redis.exceptions.NoPermissionError, "NOPERM"),
    (redis.BusyLoadingError, "LOADING"),
    (redis.ReadOnlyError, "READONLY"),
)


def code_of(error: BaseException) -> str:
    """The server's word for an error (`OOM`); empty if it is not an error that the server answered."""
    if isinstance(error, ServerError):
        return error.code
    found = next((code for kind, code in _CLASSES if isinstance(error, kind)), None)
    if found is not None:
        return found
    return ServerError(str(error)).code if isinstance(error, redis.ResponseError) else ""


def is_about_a_name(error: BaseException) -> bool:
    """Whether the name of the stream, list or channel is at fault: another name would do."""
    code, text = code_of(error), str(error)
    return code in ("WRONGTYPE", "NOSTREAM") or (code == "NOPERM" and "access" in text) or _is_exhausted(error)


def is_oversize(error: BaseException) -> bool:
    """Whether the server has closed the connection because a message is larger than it takes."""
    return code_of(error) == "ERR" and "Protocol error" in str(error)


def _codes(*codes: str) -> Callable[[BaseException], bool]:
    return lambda error: code_of(error) in codes


def _says(*texts: str) -> Callable[[BaseException], bool]:
    """Whether the server answered ERR with one of these, or closed the connection with it."""

    def fits(error: BaseException) -> bool:
        return isinstance(error, redis.RedisError) and any(text in str(error) for text in texts)

    return fits


def _is_exhausted(error: BaseException) -> bool:
    return code_of(error) == "ERR" and "last possible ID" in str(error)


def _either(*questions: Callable[[BaseException], bool]) -> Callable[[BaseException], bool]:
    return lambda error: any(question(error) for question in questions)


ERRORS = ErrorTable(
    "Redis",
    ErrorRow(
        "the server has no memory left (`OOM`)",
        _codes("OOM"),
        RetryAfter,
        "the server is full, and takes nothing until there is room (nothing is lost); raise maxmemory, or have entries removed",
        seconds=BUSY_SECONDS,
    ),
    ErrorRow(
        "the server is a replica, after a failover (`READONLY`)",
        _codes("READONLY"),
        Disconnected,
        "the server is a replica and takes no writes; the connection is opened anew, in case the address leads to another one now. If it "
        "does not, name the primary in url",
        arrived=False,
    ),
    ErrorRow(
        "the server is starting (`LOADING`, `MASTERDOWN`)",
        _codes("LOADING", "MASTERDOWN"),
        RetryAfter,
        "the server is still loading its data",
        seconds=BUSY_SECONDS,
    ),
    ErrorRow(
        "a script blocks the server, or a cluster rearranges itself (`BUSY`, `TRYAGAIN`, `CLUSTERDOWN`)",
        _codes("BUSY", "TRYAGAIN", "CLUSTERDOWN"),
        RetryAfter,
        "the server is busy",
        seconds=BUSY_SECONDS,
    ),
    ErrorRow(
        "the server cannot write to its disk (`MISCONF`)",
        _codes("MISCONF"),
        RetryAfter,
        "the server takes no writes because it cannot save them; make room on its disk and look into its log",
        seconds=REFUSAL_SECONDS,
    ),
    ErrorRow(
        "too few replicas (`NOREPLICAS`)",
        _codes("NOREPLICAS"),
        RetryAfter,
        "the server takes no writes because it has too few good replicas (min-replicas-to-write)",
        seconds=REFUSAL_SECONDS,
    ),
    ErrorRow(
        "the name belongs to another node (`MOVED`, `ASK`, `CROSSSLOT`)",
        _codes("MOVED", "ASK", "CROSSSLOT"),
        Misconfigured,
        "the server is part of a Redis Cluster, which is not supported; name a single server in url, or a proxy for the cluster",
    ),
    ErrorRow(
        "wrong user or password, or none (`NOAUTH`, `WRONGPASS`)",
        _codes("NOAUTH", "WRONGPASS"),
        Misconfigured,
        "the server does not let us in; correct user and password",
    ),
    ErrorRow(
        "a right is missing (`NOPERM`); a name that comes from a field: rejected",
        _codes("NOPERM"),
        Misconfigured,
        "the user lacks a right; grant it with ACL SETUSER, for example ~orders* +xadd +multi +exec",
    ),
    ErrorRow(
        "protected mode (`DENIED`)",
        _either(_codes("DENIED"), _says("protected mode")),
        Misconfigured,
        "the server lets nobody in from outside; set a password there",
    ),
    ErrorRow(
        "the key holds something else (`WRONGTYPE`), or the stream has no more ids; a name that comes from a field: rejected",
        _either(_codes("WRONGTYPE"), _is_exhausted),
        Misconfigured,
        "what has the name of the stream or list takes no such messages; choose another name, or remove it",
    ),
    ErrorRow(
        "the stream does not exist, and `create` is false; a name that comes from a field: rejected",
        _codes("NOSTREAM"),
        Misconfigured,
        "there is no such stream; make it (XGROUP CREATE ... MKSTREAM), or set create: true",
    ),
    ErrorRow("message larger than the server takes", is_oversize, Reject, "the message is larger than proto-max-bulk-len of the server"),
    ErrorRow(
        "the server does not know the command",
        _says("unknown command", "unknown subcommand"),
        Misconfigured,
        "the server does not know the command; streams need Redis 5. A proxy without transactions needs transaction: false",
    ),
    ErrorRow(
        "no such database",
        _says("DB index", "invalid DB", "SELECT is not allowed"),
        Misconfigured,
        "there is no such database; correct the number at the end of url",
    ),
    ErrorRow(
        "too many clients",
        _says("max number of clients"),
        RetryAfter,
        "the server has too many connections; raise maxclients",
        seconds=REFUSAL_SECONDS,
    ),
    ErrorRow(
        "the script that recognises messages is gone (`NOSCRIPT`)",
        _codes("NOSCRIPT"),
        Disconnected,
        "the server has forgotten the script for deduplicate; it is loaded again",
        arrived=False,
    ),
    ErrorRow("the transaction was discarded (`EXECABORT`)", _codes("EXECABORT"), NotSent, "the server discarded the transaction"),
    ErrorRow("any other error that the server answers", lambda error: bool(code_of(error)), NotSent, "the server refuses the command"),
    ErrorRow(
        "the server's certificate is not trusted, has expired or is for another name; the server wants one of ours, or does not encrypt",
        _either(lambda error: isinstance(error, TlsFailed), _says("CERTIFICATE", "certificate")),
        Misconfigured,
        "no trusted encryption: correct tls, have the certificate renewed, or check that the port is that for TLS",
    ),
    ErrorRow(
        "no connection can be opened",
        (redis.ConnectionError, redis.TimeoutError),
        NotSent,
        "the server cannot be reached; check host and port in url, and whether it runs",
    ),
    ErrorRow("no answer within `send_timeout`", TimeoutError, Disconnected, "the server did not answer within send_timeout"),
    ErrorRow("the connection is lost", (OSError, hiredis.HiredisError), Disconnected, "the connection is lost"),
    ErrorRow("anything else", redis.RedisError, SendError, "the client failed"),
)
"""Every kind of error, and what is done about it."""
