"""From a dict to bytes, and back."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from standpipe.core.errors import EncodingError
from standpipe.core.payload import encode, encode_many

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)
messages = st.dictionaries(texts, values)
poison = st.sampled_from([math.nan, math.inf, {1}, b"x", "\ud800", 2**70, object(), {1: 2}])


@given(messages)
def test_what_goes_in_comes_out_on_one_line(message: dict[str, Any]) -> None:
    payload = encode(message)
    assert b"\n" not in payload
    assert orjson.loads(payload) == message


@given(st.lists(messages, min_size=1, max_size=5))
def test_many_are_one_line_each(many: list[dict[str, Any]]) -> None:
    lines = encode_many(many).split(b"\n")
    assert lines == [encode(message) for message in many]


@given(messages, texts, poison, st.lists(texts, max_size=3))
def test_a_fault_at_any_depth_is_refused_alone_and_among_others(message: dict[str, Any], key: str, bad: object, path: list[str]) -> None:
    for step in path:
        bad = {step: [bad]}
    message = {**message, key: bad}
    with pytest.raises(EncodingError):
        encode(message)
    with pytest.raises(EncodingError):
        encode_many([{}, message, {}])


def test_the_bytes_are_a_copy_that_holds_on_to_nothing() -> None:
    assert encode({"a": 1}) == b'{"a":1}'


def test_explaining_a_message_that_contains_itself_many_times_takes_no_time() -> None:
    message: dict[str, Any] = {"list": []}
    message["list"] += [message] * 50
    message |= {str(n): message for n in range(50)}
    with pytest.raises(EncodingError, match="Recursion limit reached"):
        encode(message)
