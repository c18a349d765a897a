"""What was produced is what is in Redis; what Redis cannot take concerns nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from standpipe.delivery.receipt import State
from tests.integration.redis.reading import WITHIN, entries, producer, raw, reached
from tests.servers.redis import RedisServer
from tests.servers.server import Address

ODD = {
    "text": "tab\t, CR LF \r\n$5\r\nFLUSHALL\r\n, quote ' \" \\",
    "unicode": "世界 \U0001f6b0 \x00 \x7f",
    "number": 1e300,
    "nested": {"list": [None, True, -0.0]},
    "empty": "",
}

TOGETHER_OR_NOT = pytest.mark.parametrize("settings", [{}, {"transaction": False}, {"deduplicate": 60}], ids=str)


@TOGETHER_OR_NOT
def test_what_was_produced_is_what_is_in_the_stream(redis_server: Address, redis_name: str, settings: dict[str, Any]) -> None:
    with producer(redis_server.url, redis_name, headers={"fixed": "1"}, **settings) as made:
        first = made.produce(False, ODD, key="k\r\n ü", headers={"traceparent": "00-1", "a\r\nb": "\x00"}, message_id='id \\N "\r\n')
        second = made.produce(True, {}, message_id="second")
        made.produce_many(False, [{"n": 1}, {"n": 2}], message_ids=["third", "fourth"])
        assert made.flush(WITHIN) == 0
    there = entries(redis_server.url, redis_name)
    assert [list(fields.items()) for _, fields in there[:2]] == [
        [
            (b"fixed", b"1"),
            (b"traceparent", b"00-1"),
            (b"a\r\nb", b"\x00"),
            (b"message-id", b'id \\N "\r\n'),
            (b"message-key", "k\r\n ü".encode()),
            (b"payload", orjson.dumps(ODD)),
        ],
        [(b"fixed", b"1"), (b"is_error", b"true"), (b"message-id", b"second"), (b"payload", b"{}")],
    ]
    assert [fields[b"message-id"] for _, fields in there[2:]] == [b"third", b"fourth"]
    assert [first.detail, second.detail] == [{"stream": redis_name, "id": id} for id, _ in there[:2]]


def test_thousands_at_once_keep_their_order(redis_server: Address, redis_name: str) -> None:
    with producer(redis_server.url, redis_name, ordering="fifo") as made:
        for number in range(5000):
            made.produce(number % 10 == 0, {"n": number}, key=str(number % 3))
        assert made.flush(WITHIN) == 0
    assert [fields[b"payload"] for _, fields in entries(redis_server.url, redis_name)] == [b'{"n":%d}' % number for number in range(5000)]


def test_names_come_from_fields_and_errors_have_their_own(redis_server: Address, redis_name: str) -> None:
    settings = {"error_stream": f"{redis_name}:failed:{{shop.id}}"}
    with producer(redis_server.url, f"{redis_name}:{{shop.id}}", **settings) as made:
        made.produce(False, {"shop": {"id": 7}})
        made.produce(True, {"shop": {"id": "a-b"}})
        messages: list[dict[str, Any]] = [{"shop": {"id": "7:failed"}}, {"shop": {}}, {"shop": {"id": "{x}"}}]
        bad = [made.produce(False, message) for message in messages]
        good = made.produce(False, {"shop": {"id": 7}})
        assert made.flush(WITHIN) == 0
        assert good.delivered
        assert {each.state for each in bad} == {State.DEAD_LETTERED}
        reasons = [str(letter.error) for letter in made.dead_letters]
    assert "':' must not come from a message" in reasons[0]
    assert "'shop.id' is missing; add it to the message, or take it out of stream" in reasons[1]
    assert "'{' must not come from a message" in reasons[2]
    assert len(entries(redis_server.url, f"{redis_name}:7")) == 2
    assert len(entries(redis_server.url, f"{redis_name}:failed:a-b")) == 1


@TOGETHER_OR_NOT
def test_name_that_is_taken_by_something_else_concerns_its_message_alone(
    redis_server: Address, redis_name: str, settings: dict[str, Any]
) -> None:
    with raw(redis_server.url) as client:
        client.set(f"{redis_name}:text", "no stream")
    with producer(redis_server.url, f"{redis_name}:{{place}}", **settings) as made:
        receipt = made.produce_many(False, [{"place": place} for place in ("a", "text", "b")])
        assert made.flush(WITHIN) == 0
        assert receipt.counts["delivered"] == 2
        (letter,) = made.dead_letters
        assert "takes no such messages" in str(letter.error)
        assert f"{redis_name}:text" in str(letter.error)


@TOGETHER_OR_NOT
def test_fixed_name_that_is_taken_by_something_else_is_waited_for(redis_server: Address, redis_name: str, settings: dict[str, Any]) -> None:
    with raw(redis_server.url) as client, producer(redis_server.url, redis_name, pause=0.1, **settings) as made:
        client.rpush(redis_name, "a list")
        receipt = made.produce(False, {"n": 1})
        reached(lambda: "takes no such messages" in str(made.statistics().last_error))
        assert not receipt.done()
        client.delete(redis_name)
        assert made.flush(WITHIN) == 0
        assert client.xlen(redis_name) == 1


@pytest.mark.parametrize("settings", [{}, {"transaction": False}], ids=str)
def test_message_larger_than_the_server_takes_is_rejected_and_the_others_arrive(
    own_server: Callable[..., RedisServer], unique_name: str, settings: dict[str, Any]
) -> None:
    server = own_server(RedisServer, persistence="none", settings={"proto-max-bulk-len": "1mb"})
    with producer(server.url, unique_name, batch={"max_bytes": "64MiB"}, retry={"initial": 0.01}, **settings) as made:
        first = made.produce_many(False, [{"n": number} for number in range(50)])
        bad = made.produce(False, {"text": "x" * 2**21})
        more = made.produce_many(False, [{"n": number} for number in range(50, 100)])
        assert made.flush(WITHIN) == 0
        assert (first.delivered, bad.state, more.delivered) == (True, State.DEAD_LETTERED, True)
        assert "proto-max-bulk-len" in str(next(iter(made.dead_letters)).error)
        assert made.statistics().possible_duplicates == 0
    assert [fields[b"payload"] for _, fields in entries(server.url, unique_name)] == [b'{"n":%d}' % number for number in range(100)]


def test_flat_entries_have_the_fields_of_the_message(redis_server: Address, redis_name: str) -> None:
    with producer(redis_server.url, redis_name, format="flat") as made:
        made.produce(False, {"shop": "ü", "n": 1, "on": True, "nothing": None, "nested": {"a": [1]}}, message_id="1")
        clash = made.produce(False, {"message-id": "mine"})
        assert made.flush(WITHIN) == 0
        assert clash.state is State.DEAD_LETTERED
    ((_, fields),) = entries(redis_server.url, redis_name)
    assert fields == {
        b"message-id": b"1",
        b"shop": "ü".encode(),
        b"n": b"1",
        b"on": b"true",
        b"nothing": b"null",
        b"nested": b'{"a":[1]}',
    }


@pytest.mark.parametrize(("push", "expected"), [("right", [b'{"n":1}', b'{"n":2}']), ("left", [b'{"n":2}', b'{"n":1}'])])
def test_lists_have_messages_in_order_and_errors_apart(redis_server: Address, redis_name: str, push: str, expected: list[bytes]) -> None:
    with raw(redis_server.url) as client, producer(redis_server.url, redis_name, mode="list", push=push) as made:
        receipts = [made.produce(False, {"n": 1}), made.produce(True, {"n": 9}), made.produce(False, {"n": 2})]
        assert made.flush(WITHIN) == 0
        assert client.lrange(redis_name, 0, -1) == expected
        assert client.lrange(f"{redis_name}:errors", 0, -1) == [b'{"n":9}']
        assert receipts[2].detail == {"list": redis_name, "length": 2}


def test_channels_say_how_many_listened(redis_server: Address, redis_name: str, caplog: pytest.LogCaptureFixture) -> None:
    with raw(redis_server.url) as client, client.pubsub() as listener:
        listener.subscribe(redis_name)
        assert listener.get_message(timeout=WITHIN)["type"] == "subscribe"
        with producer(redis_server.url, redis_name, mode="pubsub") as made:
            heard, unheard = made.produce(False, {"n": 1}), made.produce(True, {"n": 2})
            assert made.flush(WITHIN) == 0
        assert listener.get_message(timeout=WITHIN)["data"] == b'{"n":1}'
    assert heard.detail == {"channel": redis_name, "receivers": 1}
    assert unheard.detail == {"channel": f"{redis_name}:errors", "receivers": 0}
    assert "nobody listens to at that moment is lost" in caplog.text


@pytest.mark.parametrize("mode", ["stream", "list"])
def test_message_that_was_there_already_is_left_out(redis_server: Address, redis_name: str, mode: str) -> None:
    settings = {"mode": mode, "deduplicate": 60}
    with producer(redis_server.url, redis_name, **settings) as made:
        first = made.produce_many(False, [{"n": 1}, {"n": 2}], message_ids=["a", "b"])
        first.wait(WITHIN)
        assert first.delivered
    with raw(redis_server.url) as client, producer(redis_server.url, redis_name, **settings) as made:
        again = made.produce(False, {"n": 1}, message_id="a")
        made.produce(False, {"n": 3}, message_id="c")
        assert made.flush(WITHIN) == 0
        assert (client.xlen if mode == "stream" else client.llen)(redis_name) == 3
        assert again.detail["repeated"] is True
        assert 50_000 < client.pttl(f"standpipe:seen:{redis_name}:a") <= 60_000
        for key in client.scan_iter(f"standpipe:seen:{redis_name}:*"):
            client.delete(key)


def test_old_entries_are_removed_only_when_asked_for(redis_server: Address, redis_name: str) -> None:
    with raw(redis_server.url) as client, producer(redis_server.url, redis_name, max_length=100) as made:
        made.produce_many(False, [{"n": number} for number in range(1000)])
        assert made.flush(WITHIN) == 0
        assert 100 <= client.xlen(redis_name) < 300


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_cloudevents(redis_server: Address, redis_name: str, mode: str) -> None:
    with producer(redis_server.url, redis_name, cloudevents={"mode": mode, "source": "/shop", "type": "order"}) as made:
        made.produce(False, {"n": 1}, message_id="e-1")
        assert made.flush(WITHIN) == 0
    ((_, fields),) = entries(redis_server.url, redis_name)
    if mode == "binary":
        assert (fields[b"ce_id"], fields[b"ce_type"], fields[b"content-type"]) == (b"e-1", b"order", b"application/json")
        assert fields[b"payload"] == b'{"n":1}'
    else:
        event = orjson.loads(fields[b"payload"])
        assert (event["id"], event["source"], event["data"]) == ("e-1", "/shop", {"n": 1})
        assert fields[b"content-type"].startswith(b"application/cloudevents+json")
