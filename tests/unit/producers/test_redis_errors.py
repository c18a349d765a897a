"""What the answers of a server mean for each message of a batch."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError
from standpipe.core.outcome import Outcome, judge
from standpipe.producers.redis_connection import Answers, ServerError, TlsFailed
from standpipe.producers.redis_errors import ERRORS, is_about_a_name
from standpipe.producers.redis_transfer import Discarded, of_pipeline, of_transaction

OK, QUEUED = b"OK", b"QUEUED"
OOM = ServerError("OOM command not allowed when used memory > 'maxmemory'.")
WRONGTYPE = ServerError("WRONGTYPE Operation against a key holding the wrong kind of value")
ABORTED = ServerError("EXECABORT Transaction discarded because of previous errors.")
OVERSIZE = ServerError("ERR Protocol error: invalid bulk length")
LOST = ConnectionResetError("reset")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OOM, RetryAfter, "nothing is lost"),
        (ServerError("READONLY You can't write against a read only replica."), Disconnected, "name the primary"),
        (ServerError("LOADING Redis is loading the dataset in memory"), RetryAfter, "still loading"),
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), RetryAfter, "still loading"),
        (ServerError("BUSY Redis is busy running a script."), RetryAfter, "busy"),
        (ServerError("TRYAGAIN Multiple keys request during rehashing of slot"), RetryAfter, "busy"),
        (ServerError("CLUSTERDOWN The cluster is down"), RetryAfter, "busy"),
        (ServerError("MISCONF Redis is configured to save RDB snapshots"), RetryAfter, "make room on its disk"),
        (ServerError("NOREPLICAS Not enough good replicas to write."), RetryAfter, "min-replicas-to-write"),
        (ServerError("MOVED 3999 127.0.0.1:6381"), Misconfigured, "not supported"),
        (ServerError("ASK 3999 127.0.0.1:6381"), Misconfigured, "not supported"),
        (ServerError("NOAUTH Authentication required."), Misconfigured, "correct user and password"),
        (redis.AuthenticationError("invalid username-password pair"), Misconfigured, "correct user and password"),
        (ServerError("NOPERM this user has no permissions to run the 'xadd' command"), Misconfigured, "ACL SETUSER"),
        (ServerError("DENIED Redis is running in protected mode"), Misconfigured, "set a password"),
        (WRONGTYPE, Misconfigured, "choose another name"),
        (ServerError("ERR The stream has exhausted the last possible ID, unable to add more items"), Misconfigured, "choose another name"),
        (OVERSIZE, Reject, "proto-max-bulk-len"),
        (ServerError("ERR unknown command 'XADD', with args beginning with:"), Misconfigured, "streams need Redis 5"),
        (redis.ResponseError("DB index is out of range"), Misconfigured, "number at the end of url"),
        (ServerError("ERR max number of clients reached"), RetryAfter, "maxclients"),
        (ServerError("NOSCRIPT No matching script. Please use EVAL."), Disconnected, "loaded again"),
        (ServerError("ERR something new"), NotSent, "refuses the command"),
        (TlsFailed("certificate verify failed"), Misconfigured, "correct tls"),
        (redis.ConnectionError("Error 111 connecting"), NotSent, "check host and port"),
        (TimeoutError("timed out"), Disconnected, "within send_timeout"),
        (LOST, Disconnected, "lost"),
    ],
)
def test_each_error_has_its_outcome_and_remedy(error: Exception, kind: type[SendError], said: str) -> None:
    made = ERRORS.translate(error)
    assert type(made) is kind
    assert said in str(made)


def test_only_what_a_timeout_or_a_lost_connection_leaves_open_may_have_arrived() -> None:
    assert [judge(ERRORS.translate(error)).outcome for error in (LOST, TimeoutError())] == [Outcome.UNKNOWN] * 2
    for text in ("READONLY x", "OOM x", "NOSCRIPT x", "ERR x", "MOVED x"):
        assert judge(ERRORS.translate(ServerError(text))).outcome is Outcome.FAILED


def test_names_that_are_at_fault_are_told_from_rights_that_are_missing() -> None:
    assert is_about_a_name(WRONGTYPE)
    assert is_about_a_name(ServerError("NOPERM this user has no permissions to access one of the keys used as arguments"))
    assert not is_about_a_name(ServerError("NOPERM this user has no permissions to run the 'xadd' command"))
    assert not is_about_a_name(OOM)


# --- a transaction ----------------------------------------------------------------------------------------------------


def outcomes(replies: list[Any]) -> list[object]:
    return [type(reply) if isinstance(reply, SendError) else reply for reply in replies]


def test_transaction_answers_for_each_message() -> None:
    answers = Answers([OK, QUEUED, QUEUED, [b"1-0", WRONGTYPE]], begun=True, sent=True)
    assert of_transaction(answers, 2) == [b"1-0", WRONGTYPE]


def test_transaction_that_is_refused_has_done_nothing() -> None:
    answers = Answers([OK, QUEUED, OOM, QUEUED, ABORTED], begun=True, sent=True)
    assert outcomes(of_transaction(answers, 3)) == [Discarded, OOM, Discarded]


def test_transaction_that_is_refused_at_its_end_says_why() -> None:
    aborted = ServerError("EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.")
    with pytest.raises(RetryAfter, match="the server is full"):
        of_transaction(Answers([OK, QUEUED, aborted], begun=True, sent=True), 1)
    with pytest.raises(Disconnected, match="replica"):
        of_transaction(Answers([OK, QUEUED, ServerError("READONLY x")], begun=True, sent=True), 1)


def test_commands_after_a_transaction_that_never_began_count_each_for_itself() -> None:
    answers = Answers([ServerError("NOPERM x"), b"1-0", OOM, ServerError("ERR EXEC without MULTI")], begun=True, sent=True)
    assert of_transaction(answers, 2) == [b"1-0", OOM]


@pytest.mark.parametrize(("sent", "outcome"), [(True, Outcome.UNKNOWN), (False, Outcome.FAILED)])
def test_transaction_without_an_answer_may_have_arrived_only_if_its_end_got_out(sent: bool, outcome: Outcome) -> None:
    for replies in ([], [OK, QUEUED]):
        with pytest.raises(Disconnected) as caught:
            of_transaction(Answers([*replies], LOST, begun=True, sent=sent), 2)
        assert judge(caught.value).outcome is outcome


def test_message_that_is_too_large_for_the_server_is_found_and_nothing_else_has_arrived() -> None:
    replies = of_transaction(Answers([OK, QUEUED, OVERSIZE], LOST, begun=True, sent=True), 3)
    assert outcomes(replies) == [Disconnected, OVERSIZE, Disconnected]
    assert judge(replies[0]).outcome is Outcome.FAILED


# --- one by one -------------------------------------------------------------------------------------------------------


def test_answers_that_are_missing_leave_it_open_whether_the_messages_arrived() -> None:
    replies = of_pipeline(Answers([b"1-0", OOM], LOST, begun=True, sent=True), 4)
    assert outcomes(replies) == [b"1-0", OOM, Disconnected, Disconnected]
    assert judge(replies[2]).outcome is Outcome.UNKNOWN


def test_nothing_has_arrived_if_nothing_was_sent() -> None:
    (reply,) = of_pipeline(Answers([], LOST), 1)
    assert judge(reply).outcome is Outcome.FAILED


def test_commands_behind_one_that_is_too_large_have_not_arrived() -> None:
    replies = of_pipeline(Answers([b"1-0", OVERSIZE], LOST, begun=True, sent=True), 3)
    assert outcomes(replies) == [b"1-0", OVERSIZE, Disconnected]
    assert judge(replies[2]).outcome is Outcome.FAILED
