"""Requests as they go over the wire: URL, headers, body; the same in every attempt."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest

from standpipe.core.errors import Reject
from standpipe.producers.http_config import HttpProducerConfig
from standpipe.producers.http_request import COMPRESS_FROM, Request, RequestMaker
from tests.unit.producers.batches import PREFIX, batch_of, given

URL = "https://api.example.com/in"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = f"{PREFIX}{0:012x}"
EVENTS = {"source": "/shop/{region}", "type": "com.example.order"}
WEATHER = {"a": "ü\n", "n": 1, "deep": {"x": [None, True]}}


def maker(**settings: Any) -> RequestMaker:
    return RequestMaker(HttpProducerConfig.model_validate({"name": "hook", "url": URL, **settings}), lambda: 1_800_000_100.9)


def made(*calls: Any, is_error: bool = False, **settings: Any) -> Request:
    return maker(**settings).make(batch_of(*calls), is_error)


def test_one_message_is_the_body_as_it_was_produced() -> None:
    request = made(given(WEATHER))
    assert str(request.url) == URL
    assert request.body == orjson.dumps(WEATHER)
    assert request.headers == {
        "User-Agent": "standpipe",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "Idempotency-Key": f'"{ID}"',
    }


def test_an_error_message_has_a_header_that_proxies_let_through() -> None:
    assert made(given(is_error=True), is_error=True).headers["is-error"] == "true"
    assert "is-error" not in made(given(is_error=True), is_error=True, error_header=None).headers


def test_errors_go_to_their_own_url() -> None:
    maker_ = maker(error_url="https://other.example.com/{kind}")
    assert str(maker_.make(batch_of(given({"kind": "bad"}, is_error=True)), True).url) == "https://other.example.com/bad"
    assert str(maker_.make(batch_of(given({"kind": "bad"})), False).url) == URL


def test_id_and_key_can_have_headers() -> None:
    headers = made(given(key="k-1", ids=["my id"]), message_id_header="message-id", key_header="message-key").headers
    assert (headers["message-id"], headers["message-key"], headers["Idempotency-Key"]) == ("my id", "k-1", '"my id"')


def test_a_key_that_a_header_cannot_carry_rejects_the_message() -> None:
    with pytest.raises(Reject, match="message-key"):
        made(given(key="ключ"), key_header="message-key")


def test_a_messages_headers_go_along_and_beat_fixed_ones() -> None:
    own = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x-shop": "7"}
    headers = made(given(headers=own), headers={"X-Shop": "1", "X-Region": "eu"}).headers
    assert {name.lower(): value for name, value in headers.items()}.items() >= {**own, "x-region": "eu"}.items()


@pytest.mark.parametrize(
    "own",
    [
        {"x": "a\r\nInjected: yes"},
        {"x y": "a"},
        {"Host": "evil.example.com"},
        {"content-length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"x": "ü"},
        {"x": "a\x00"},
        {"proxy-authorization": "x"},
        {"Content-Encoding": "gzip"},
    ],
)
def test_a_header_that_would_change_the_request_rejects_the_message(own: dict[str, str]) -> None:
    with pytest.raises(Reject):
        made(given(headers=own))


def test_no_message_replaces_what_the_producer_says_about_itself() -> None:
    own = {
        "authorization": "Bearer mine",
        "COOKIE": "a=b",
        "X-API-KEY": "mine",
        "idempotency-key": '"mine"',
        "content-type": "text/html",
        "webhook-id": "mine",
        "webhook-signature": "mine",
    }
    settings: dict[str, Any] = {"auth": {"type": "bearer", "token": "ours"}, "headers": {"X-Api-Key": "ours", "Cookie": "c=d"}}
    headers = made(given(headers=own), **settings, signature={"secret": SECRET}).headers
    folded = [name.lower() for name in headers]
    assert len(folded) == len(set(folded))
    found = {name.lower(): value for name, value in headers.items()}
    assert (found["authorization"], found["cookie"], found["x-api-key"]) == ("Bearer ours", "c=d", "ours")
    assert (found["content-type"], found["idempotency-key"], found["webhook-id"]) == ("application/json", f'"{ID}"', ID)
    assert "mine" not in str(found)


def test_basic_login() -> None:
    headers = made(given(), auth={"type": "basic", "user": "Aladdin", "password": "open sesame"}).headers
    assert headers["Authorization"] == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


def test_a_signature_covers_id_time_and_body() -> None:
    request = made(given(WEATHER), signature={"secret": SECRET})
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = hmac.digest(key, f"{ID}.1800000100.".encode() + request.body, hashlib.sha256)
    assert request.headers["webhook-id"] == ID
    assert request.headers["webhook-timestamp"] == "1800000100"
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"


def test_a_form_has_the_fields_as_text() -> None:
    request = made(given({"a": "ü & b=c", "n": 1.5, "b": True, "none": None, "deep": {"x": [1]}}), format="form")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert dict(parse_qsl(request.body.decode("ascii"), keep_blank_values=True)) == {
        "a": "ü & b=c",
        "n": "1.5",
        "b": "true",
        "none": "",
        "deep": '{"x":[1]}',
    }


def test_a_batch_as_json_lines_says_of_each_message_whether_it_is_an_error() -> None:
    request = made(given({"n": 1}, {}), given({"n": 3}, is_error=True), format="jsonl")
    assert request.headers["Content-Type"] == "application/x-ndjson"
    assert "is-error" not in request.headers
    assert request.body == b'{"is_error":false,"n":1}\n{"is_error":false}\n{"is_error":true,"n":3}\n'


def test_a_batch_as_an_array() -> None:
    request = made(given({"n": 1}, {"t": "a\nb"}), format="json_array", fields=[])
    assert request.headers["Content-Type"] == "application/json"
    assert request.body == b'[{"n":1},{"t":"a\\nb"}]'


def test_a_message_can_say_its_id_in_the_body() -> None:
    assert orjson.loads(made(given({"n": 1}), fields={"id": "@id"}).body) == {"@id": ID, "n": 1}


def test_a_batch_has_one_idempotency_key_made_of_its_ids() -> None:
    several = maker(format="jsonl")
    whole = batch_of(given({"n": 1}, {"n": 2}, {"n": 3}))
    keys = [several.make(part, False).headers["Idempotency-Key"] for part in (whole, whole.part(0, 3), whole.part(0, 2), whole.part(2, 3))]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert keys[3] == f'"{PREFIX}{2:012x}"'


@pytest.mark.parametrize("settings", [{}, {"format": "jsonl"}, {"format": "json_array"}, {"format": "form"}, {"cloudevents": EVENTS}])
def test_every_attempt_has_the_same_bytes(settings: dict[str, Any]) -> None:
    batch = batch_of(given({"region": "eu", "text": "x" * 3000}))
    again = maker(compression="gzip", **settings).make(batch, False)
    assert maker(compression="gzip", **settings).make(batch, False) == again


def test_large_bodies_are_compressed_and_small_ones_are_not() -> None:
    large = made(given({"text": "x" * COMPRESS_FROM}), compression="gzip")
    assert large.headers["Content-Encoding"] == "gzip"
    assert orjson.loads(gzip.decompress(large.body)) == {"text": "x" * COMPRESS_FROM}
    small = made(given({"text": "x"}), compression="gzip")
    assert "Content-Encoding" not in small.headers
    assert small.body == b'{"text":"x"}'


def test_a_structured_event_holds_the_message() -> None:
    request = made(given({"region": "eu"}, key="k"), cloudevents=EVENTS)
    assert request.headers["Content-Type"] == "application/cloudevents+json; charset=UTF-8"
    event = orjson.loads(request.body)
    assert (event["id"], event["source"], event["data"], event["partitionkey"]) == (ID, "/shop/eu", {"region": "eu"}, "k")


def test_a_binary_event_has_its_attributes_as_headers() -> None:
    request = made(given({"region": "eu"}), cloudevents={**EVENTS, "mode": "binary"})
    assert request.body == b'{"region":"eu"}'
    assert request.headers["Content-Type"] == "application/json"
    assert (request.headers["ce-id"], request.headers["ce-specversion"], request.headers["ce-source"]) == (ID, "1.0", "/shop/eu")


def test_a_batch_of_events_is_an_array_of_them() -> None:
    request = made(given({"region": "eu"}, {"region": "us"}), cloudevents=EVENTS, format="json_array")
    assert request.headers["Content-Type"] == "application/cloudevents-batch+json; charset=UTF-8"
    assert [event["source"] for event in orjson.loads(request.body)] == ["/shop/eu", "/shop/us"]


def test_an_event_that_cannot_be_made_rejects_its_message() -> None:
    with pytest.raises(Reject, match="the field 'region' is missing"):
        made(given({"region": "eu"}, {}), cloudevents=EVENTS, format="json_array")
