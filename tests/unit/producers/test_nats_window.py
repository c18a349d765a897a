"""Acknowledgements find their messages; every other answer, and the end of the connection, has its meaning."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError
from standpipe.core.outcome import Outcome
from standpipe.producers.nats_errors import ERRORS, Ended
from standpipe.producers.nats_window import Sending, Window

GOOD = b'{"stream":"ORDERS","seq":7}'


async def begun(*subjects: str, details: bool = True, is_one_way: bool = True) -> tuple[Window, Sending]:
    window = Window("_INBOX.x", details, is_one_way)
    return window, window.begin(subjects)


def run(work: Any) -> Any:
    return asyncio.run(work)


def refusal(code: int, err_code: int, words: str = "no") -> bytes:
    return json.dumps({"error": {"code": code, "err_code": err_code, "description": words}, "stream": "S", "seq": 0}).encode()


def test_acknowledgements_in_any_order_complete_the_batch() -> None:
    async def work() -> None:
        window, sending = await begun("a", "b")
        window.take(f"{window.reply_to(sending)}.1", b'{"stream":"S","seq":2,"duplicate":true}', None)
        assert not sending.done.done()
        window.take(f"{window.reply_to(sending)}.0", GOOD, None)
        assert sending.done.done()
        assert sending.results == [Outcome.DELIVERED] * 2
        assert sending.details == [
            {"stream": "ORDERS", "sequence": 7, "duplicate": False},
            {"stream": "S", "sequence": 2, "duplicate": True},
        ]

    run(work())


@pytest.mark.parametrize("end", ["99.0", "1.5", "1.-1", "1", "x.y", "", "1.0.0"])
def test_answers_that_are_none_of_ours_change_nothing(end: str) -> None:
    async def work() -> None:
        window, sending = await begun("a")
        window.take(f"_INBOX.x.{end}", GOOD, None)
        assert sending.results == [None]

    run(work())


def test_acknowledgement_after_the_batch_was_given_up_changes_nothing() -> None:
    async def work() -> None:
        window, sending = await begun("a")
        sending.settle_all(SendError("late"))
        window.end(sending)
        window.take(f"{window.reply_to(sending)}.0", GOOD, None)
        assert isinstance(sending.results[0], SendError)

    run(work())


def test_without_details_none_are_kept() -> None:
    async def work() -> None:
        window, sending = await begun("a", details=False)
        window.take(f"{window.reply_to(sending)}.0", GOOD, None)
        assert (sending.results, sending.details) == ([Outcome.DELIVERED], None)

    run(work())


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (refusal(400, 10060), Misconfigured, "expected"),
        (refusal(400, 10054), Reject, "max_msg_size"),
        (refusal(400, 10097), Reject, "headers|larger"),
        (refusal(503, 10077, "maximum messages exceeded"), RetryAfter, "maximum messages exceeded"),
        (refusal(500, 10047), RetryAfter, "storage"),
        (refusal(503, 10023), RetryAfter, "storage"),
        (refusal(400, 10002), RetryAfter, "account"),
        (refusal(500, 10028), RetryAfter, "storage"),
        (refusal(400, 10109), Misconfigured, "sealed"),
        (refusal(503, 10039), Misconfigured, "not enabled"),
        (refusal(404, 10059), Misconfigured, "no stream takes"),
        (refusal(429, 10167), RetryAfter, "too much to do"),
        (refusal(503, 10008), RetryAfter, "not available"),
        (refusal(400, 10003), NotSent, "refused the message"),
        (b"thanks", SendError, "is no stream"),
        (b"{}", SendError, "is no stream"),
        (b"[]", SendError, "is no stream"),
        (b'"error"', SendError, "is no stream"),
        (b'{"error":7}', SendError, "is no stream"),
        (b"", SendError, "is no stream"),
    ],
)
def test_every_refusal_has_its_meaning_and_names_the_subject(data: bytes, kind: type[SendError], words: str) -> None:
    async def work() -> Any:
        window, sending = await begun("orders.eu")
        window.take(f"{window.reply_to(sending)}.0", data, None)
        return sending.results[0]

    found = run(work())
    assert type(found) is kind
    assert any(word in str(found) for word in words.split("|"))
    assert "orders.eu" in str(found)


def test_status_without_responders_means_that_no_stream_has_the_subject() -> None:
    async def work() -> Any:
        window, sending = await begun("orders.eu")
        window.take(f"{window.reply_to(sending)}.0", b"", {"Status": "503"})
        return sending.results[0]

    found = run(work())
    assert isinstance(found, Misconfigured)
    assert (found.seconds, "orders.eu" in str(found)) == (5.0, True)


@pytest.mark.parametrize(("is_one_way", "kind"), [(True, Misconfigured), (False, Reject)])
def test_denied_subject_settles_its_messages_in_all_batches_and_no_others(is_one_way: bool, kind: type[SendError]) -> None:
    async def work() -> None:
        window, first = await begun("a.X", "b", is_one_way=is_one_way)
        second = window.begin(["b", "A.x"])
        window.on_denied("a.x")
        assert [type(result) for result in first.results] == [kind, type(None)]
        assert [type(result) for result in second.results] == [type(None), kind]

    run(work())


def test_end_of_the_connection_leaves_what_was_acknowledged_and_makes_the_rest_unknown() -> None:
    async def work() -> None:
        window, sending = await begun("a", "b")
        window.take(f"{window.reply_to(sending)}.0", GOOD, None)
        window.on_ended(Ended("closed"))
        assert sending.results[0] is Outcome.DELIVERED
        assert isinstance(sending.results[1], Disconnected)
        assert sending.results[1].arrived is None
        assert sending.done.done()

    run(work())


def test_every_row_of_the_table_has_a_reason_and_a_remedy() -> None:
    assert all(row.when and row.reason for row in ERRORS.rows)
    assert len({row.when for row in ERRORS.rows}) == len(ERRORS.rows)
