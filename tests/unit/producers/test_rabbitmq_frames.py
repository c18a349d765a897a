"""What goes over the wire is what pika would have written, byte for byte."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from standpipe.producers.rabbitmq_frames import Frames, HeadersTooLarge, header_table

FRAME_MAX = 4096
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def frames(**settings: Any) -> Frames:
    given: dict[str, Any] = {"content_type": "application/json", "persistent": True, "mandatory": True}
    return Frames(1, FRAME_MAX, **{**given, **settings})


def pikas(exchange: str, key: str, body: bytes, properties: spec.BasicProperties, mandatory: bool = True) -> bytes:
    """As `Connection._send_message` of pika writes it."""
    made = [
        frame.Method(1, spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory)).marshal(),
        frame.Header(1, len(body), properties).marshal(),
    ]
    longest = FRAME_MAX - 8
    made += [frame.Body(1, body[n * longest : (n + 1) * longest]).marshal() for n in range(math.ceil(len(body) / longest))]
    return b"".join(made)


def written(maker: Frames, *arguments: Any) -> bytes:
    pieces: list[bytes] = []
    maker.add(pieces, *arguments)
    return b"".join(pieces)


@pytest.mark.parametrize("size", [0, 1, 2, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, 3 * (FRAME_MAX - 8), 20_000])
def test_bodies_are_cut_into_frames_as_pika_cuts_them(size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    properties = spec.BasicProperties(content_type="application/json", delivery_mode=2, message_id="an id")
    assert written(frames(), "orders", "eu", "an id", body, {}) == pikas("orders", "eu", body, properties)


@given(
    exchange=text.filter(lambda value: len(value.encode()) < 128),
    key=text,
    id=text,
    headers=st.dictionaries(text.filter(bool), text, max_size=4),
    mark=st.none() | st.integers(1, 10**9).map(str),
    persistent=st.booleans(),
    mandatory=st.booleans(),
    encoding=st.none() | st.just("gzip"),
    priority=st.none() | st.integers(0, 255),
    expiration=st.none() | st.integers(1, 10**9),
)
def test_every_property_is_written_as_pika_writes_it(
    exchange: str,
    key: str,
    id: str,
    headers: dict[str, str],
    mark: str | None,
    persistent: bool,
    mandatory: bool,
    encoding: str | None,
    priority: int | None,
    expiration: int | None,
) -> None:
    maker = frames(persistent=persistent, mandatory=mandatory, content_encoding=encoding, priority=priority, expiration_ms=expiration)
    properties = spec.BasicProperties(
        content_type="application/json",
        content_encoding=encoding,
        headers=headers or None,
        delivery_mode=2 if persistent else 1,
        priority=priority,
        correlation_id=mark,
        expiration=None if expiration is None else str(expiration),
        message_id=id,
    )
    for _ in range(2):  # the second time, what was remembered is used
        assert written(maker, exchange, key, id, b"{}", headers, mark) == pikas(exchange, key, b"{}", properties, mandatory)


def test_headers_that_do_not_fit_into_one_frame_are_refused_and_nothing_is_written() -> None:
    maker, pieces = frames(), [b"before"]
    with pytest.raises(HeadersTooLarge, match="fit into a frame"):
        maker.add(pieces, "", "q", "id", b"{}", {"long": "x" * FRAME_MAX})
    assert pieces == [b"before"]


def test_headers_that_just_fit_are_written() -> None:
    maker = frames()
    fixed = len(written(maker, "", "q", "id", b"", {"long": ""})) - len(written(maker, "", "q", "id", b"", {}))
    assert fixed > 0
    body_less = [len(frame.Header(1, 0, spec.BasicProperties("application/json", None, {"long": ""}, 2, message_id="id")).marshal())]
    room = FRAME_MAX - body_less[0]
    assert written(maker, "", "q", "id", b"", {"long": "x" * room})
    with pytest.raises(HeadersTooLarge):
        written(maker, "", "q", "id", b"", {"long": "x" * (room + 1)})


@pytest.mark.parametrize(("id", "headers"), [("x" * 256, {}), ("\ud800", {}), ("id", {"name": "\ud800"}), ("id", {"\ud800": "value"})])
def test_what_cannot_be_encoded_is_a_value_error_and_nothing_is_written(id: str, headers: dict[str, str]) -> None:
    pieces: list[bytes] = []
    with pytest.raises(ValueError, match=r"surrogates|255 is the most"):
        frames().add(pieces, "", "q", id, b"{}", headers)
    assert pieces == []


def test_headers_that_are_shared_by_messages_are_encoded_once_and_others_are_not_taken_for_them() -> None:
    maker, shared = frames(), {"a": "1"}
    assert written(maker, "", "q", "1", b"{}", shared).count(header_table(shared)) == 1
    assert header_table({"a": "2"}) in written(maker, "", "q", "2", b"{}", {"a": "2"})
    assert header_table(shared) in written(maker, "", "q", "3", b"{}", shared)
