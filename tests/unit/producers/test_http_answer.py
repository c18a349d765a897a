"""What an answer means, how long it asks to wait, and what of it is kept."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standpipe.producers.http_answer import EXCERPT_BYTES, Meaning, StatusSet, excerpt, retry_after
from standpipe.producers.http_config import HttpProducerConfig

NOW = datetime(2026, 11, 23, 13, 0, 0, tzinfo=UTC).timestamp()
DEFAULTS = HttpProducerConfig(name="hook", url="https://api.example.com/in").statuses()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 207, 299])
def test_every_2xx_means_delivered(status: int) -> None:
    assert DEFAULTS.meaning(status) is Meaning.DELIVERED


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 507, 599])
def test_what_may_pass_is_tried_again(status: int) -> None:
    assert DEFAULTS.meaning(status) is Meaning.RETRY


@pytest.mark.parametrize("status", [400, 402, 404, 405, 410, 413, 415, 422, 451, 501])
def test_what_will_never_pass_is_rejected(status: int) -> None:
    assert DEFAULTS.meaning(status) is Meaning.REJECT


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308, 401, 403, 407])
def test_a_wrong_configuration_costs_no_message(status: int) -> None:
    assert DEFAULTS.meaning(status) is Meaning.PAUSE


def test_a_status_unknown_to_everybody_is_no_success() -> None:
    assert DEFAULTS.meaning(600) is Meaning.REJECT
    assert DEFAULTS.meaning(99) is Meaning.REJECT


def test_statuses_are_listed_as_numbers_classes_and_exceptions() -> None:
    listed = StatusSet([404, "5XX", "!501", "409"])
    assert {404, 409, 500, 599} <= listed.statuses
    assert 501 not in listed
    assert 200 not in listed


@pytest.mark.parametrize("wrong", ["2x", "abc", 99, 600, -1, "", "!", "xx", "!!501", "4 04"])
def test_what_is_no_status_is_refused_with_the_remedy(wrong: int | str) -> None:
    with pytest.raises(ValueError, match="is not an HTTP status; write a number such as 404"):
        StatusSet([wrong])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("999999999999", 3600.0),
        ("Mon, 23 Nov 2026 13:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 14:00:30 +0100", 30.0),
        ("Monday, 23-Nov-26 13:00:30 GMT", 30.0),
        ("Mon Nov 23 13:00:30 2026", 30.0),
        ("Mon, 23 Nov 2026 12:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2099 12:00:00 GMT", 3600.0),
    ],
)
def test_both_forms_of_retry_after_are_understood_and_bounded(text: str, seconds: float) -> None:
    assert retry_after({"Retry-After": text}, NOW) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "1.5", "1e9", "٣", "Mon, 99 Nov 2026 25:61:61 GMT", "9" * 400, "Mon, 23 Nov 999999 13:00:00 GMT"]
)
def test_a_garbled_retry_after_is_none(text: str) -> None:
    assert retry_after({"Retry-After": text}, NOW) is None


def test_no_retry_after_is_none() -> None:
    assert retry_after({}, NOW) is None


@given(st.text())
def test_no_retry_after_breaks_anything(text: str) -> None:
    found = retry_after({"Retry-After": text}, NOW)
    assert found is None or 0 <= found <= 3600


def test_an_excerpt_is_short_readable_and_harmless() -> None:
    assert excerpt(b'{"error":"no such order"}') == '{"error":"no such order"}'
    assert excerpt(b"a\x1b[2J\x00b\r\nc") == "a\ufffd[2J\ufffdb\nc"
    assert excerpt(b"\xff\xfe") == "\ufffd\ufffd"
    long = excerpt(b"x" * (EXCERPT_BYTES + 1))
    assert long == "x" * EXCERPT_BYTES + "..."
