"""What is settled with the server before the first message: that it is the primary, and that we have the rights we need."""

from __future__ import annotations

import ssl

import redis

from standpipe.producers.redis_commands import EXEC, LOAD_SCRIPT, MULTI
from standpipe.producers.redis_config import RedisProducerConfig
from standpipe.producers.redis_connection import Answers, ServerError, SpeakingConnection, TlsFailed, open_connection, pack

_PASSED_OVER = ("NOPERM", "ERR")
"""Errors of what is only good to have: proxies and restricted users lack it."""


def open_session(config: RedisProducerConfig) -> SpeakingConnection:
    """Connect, log in and look. Raises redis-py's errors, OSErrors, and ConfigurationError for files of `tls`."""
    connection = open_connection(config)
    try:
        _greet(connection, config)
    except BaseException:
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise
    return connection


def _greet(connection: SpeakingConnection, config: RedisProducerConfig) -> None:
    useful = [pack(("CLIENT", "SETNAME", f"standpipe/{config.name}")), pack(("ROLE",))]
    needed = [MULTI, EXEC] if config.transaction else []
    if config.deduplicate is not None:
        needed.append(pack(LOAD_SCRIPT))
    commands = useful + needed
    answers = connection.exchange(b"".join(commands), len(commands), config.connect_timeout)
    for position, reply in enumerate(answers.replies):
        if isinstance(reply, ServerError) and (position >= len(useful) or not _is_passed_over(reply)):
            raise reply
    if answers.failure is not None:
        raise _broken(answers)
    role = answers.replies[1]
    if isinstance(role, list) and role and role[0] == b"slave":
        raise ServerError("READONLY the server is a replica")


def _is_passed_over(error: ServerError) -> bool:
    return error.code in _PASSED_OVER and "max number of clients" not in str(error)


def _broken(answers: Answers) -> Exception:
    """A connection that breaks before the first message has lost none."""
    if isinstance(answers.failure, ssl.SSLError):
        return TlsFailed(str(answers.failure))
    return redis.ConnectionError(str(answers.failure))
