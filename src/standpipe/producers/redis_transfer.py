"""Sending the commands of a batch, and reading what became of each.

As a transaction they are carried out all or not at all: if a command is refused while the transaction is put together, or
the connection is lost before its end got out, nothing has happened. Only what shows while it runs, such as a key of another
type, concerns a command alone; it then concerns every command for that key.
"""

from __future__ import annotations

from typing import Any

from standpipe.core.errors import Disconnected, NotSent, SendError
from standpipe.producers.redis_commands import EXEC, MULTI
from standpipe.producers.redis_connection import Answers, ServerError, SpeakingConnection
from standpipe.producers.redis_errors import ERRORS, is_oversize

QUEUED = 1
"""Answers before those to the commands themselves: that to MULTI."""

_BECAUSE = "because of: "

Reply = Any
"""What a command answered, a ServerError, or a SendError of ours where there is no answer."""


class Discarded(NotSent):
    """not sent, because another message of its batch was refused"""


def transfer(connection: SpeakingConnection, commands: list[bytes], seconds: float | None, *, together: bool) -> list[Reply]:
    """Send `commands`, as a transaction if `together`; returns one reply each. Raises SendError for what concerns them all."""
    count = len(commands)
    if together:
        return of_transaction(connection.exchange(b"".join((MULTI, *commands, EXEC)), count + 2, seconds), count)
    return of_pipeline(connection.exchange(b"".join(commands), count, seconds), count)


# --- one by one -------------------------------------------------------------------------------------------------------


def of_pipeline(answers: Answers, count: int) -> list[Reply]:
    """What became of each of `count` commands that were sent without a transaction."""
    replies = answers.replies
    if len(replies) == count:
        return replies
    # Commands are carried out in order: those after the last answer may have been, or not.
    if replies and isinstance(replies[-1], ServerError) and is_oversize(replies[-1]):
        lost: SendError = Disconnected("the server closed the connection because of another message", arrived=False)
    else:
        lost = _lost(answers, arrived=None if answers.begun else False)
    return replies + [lost] * (count - len(replies))


# --- as a transaction -------------------------------------------------------------------------------------------------


def of_transaction(answers: Answers, count: int) -> list[Reply]:
    """What became of each of `count` commands between MULTI and EXEC. Raises SendError for what concerns them all."""
    replies = answers.replies
    if len(replies) != count + 2:
        return _of_broken_transaction(answers, count)
    made = replies[-1]
    if isinstance(made, list) and len(made) == count:
        return made
    if isinstance(replies[0], ServerError):  # there was no transaction: each was carried out by itself
        return replies[QUEUED:-1]
    refused = [reply if isinstance(reply, ServerError) else None for reply in replies[QUEUED:-1]]
    if any(reply is not None for reply in refused):
        others = Discarded()
        return [others if reply is None else reply for reply in refused]
    raise ERRORS.translate(_reason(made) if isinstance(made, ServerError) else ServerError("EXECABORT no answer to EXEC"))


def _of_broken_transaction(answers: Answers, count: int) -> list[Reply]:
    replies = answers.replies
    last = replies[-1] if replies else None
    if isinstance(last, ServerError) and is_oversize(last) and 0 <= len(replies) - 1 - QUEUED < count:
        made: list[Reply] = [Disconnected("the server closed the connection because of another message", arrived=False)] * count
        made[len(replies) - 1 - QUEUED] = last
        return made
    raise _lost(answers, arrived=None if answers.sent else False)


def _reason(error: ServerError) -> ServerError:
    """Why a transaction was discarded: `EXECABORT Transaction discarded because of: OOM command not allowed ...`."""
    _, found, inner = str(error).partition(_BECAUSE)
    return ServerError(inner) if found else error


def _lost(answers: Answers, arrived: bool | None) -> SendError:
    last = answers.replies[-1] if answers.replies else None
    failure = answers.failure or ConnectionError("the answers are incomplete")
    made = ERRORS.translate(failure)
    reason = f"{made}: {last}" if isinstance(last, ServerError) else str(made)
    lost = Disconnected(reason, arrived=arrived)
    lost.__cause__ = failure
    return lost
