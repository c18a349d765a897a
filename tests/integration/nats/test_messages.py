"""What arrives in a stream, read back by an independent client: bytes, headers, order, details."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from standpipe.producers.nats import NatsProducer
from tests.integration.nats.streams import WITHIN, make_stream, producer, read, with_client
from tests.servers.server import Address
from tests.servers.waiting import until

ODD: dict[str, Any] = {"text": 'ünïcödé ✓ \u0000 "\r\n', "nested": {"list": [1, 2.5, None, True]}, "empty": {}, "big": 2**63}


def test_normal_and_error_messages_arrive_byte_for_byte(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name)
    with producer(nats_server.url, nats_name) as made:
        normal = made.produce(False, ODD, key="k-1", headers={"traceparent": "00-1-2-01"})
        error = made.produce(True, {"why": "it failed"}, message_id="mine-1")
        assert made.flush(WITHIN) == 0
    first, second = read(nats_server.url, nats_name)
    assert json.loads(first.data) == ODD
    assert first.headers == {"Nats-Msg-Id": normal.message_ids[0], "message-key": "k-1", "traceparent": "00-1-2-01"}
    assert (second.data, second.headers) == (b'{"why":"it failed"}', {"Nats-Msg-Id": "mine-1", "is_error": "true"})
    assert (first.subject, second.subject) == (nats_name, nats_name)
    assert normal.detail == {"stream": nats_name, "sequence": 1, "duplicate": False}
    assert error.detail == {"stream": nats_name, "sequence": 2, "duplicate": False}


def test_batches_arrive_whole_and_in_order_per_key(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name)
    with producer(nats_server.url, nats_name, batch={"max_messages": 100}, max_pending=400) as made:
        for number in range(2000):
            made.produce(False, {"n": number}, key=f"k{number % 300}")
        assert made.flush(WITHIN) == 0
        assert made.statistics().delivered == 2000
    by_key: dict[str, list[int]] = {}
    for each in read(nats_server.url, nats_name):
        by_key.setdefault(each.headers["message-key"], []).append(json.loads(each.data)["n"])
    assert sum(map(len, by_key.values())) == 2000
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


def test_errors_have_a_subject_and_a_stream_of_their_own(nats_server: Address, nats_name: str) -> None:
    errors = f"{nats_name}_errors"
    make_stream(nats_server.url, nats_name)
    make_stream(nats_server.url, errors)
    settings = {"error_subject": f"{errors}.{{shop}}", "stream": nats_name, "error_stream": errors}
    with producer(nats_server.url, nats_name, **settings) as made:
        made.produce(False, {"n": 1})
        made.produce(True, {"n": 2, "shop": "eu"})
        assert made.flush(WITHIN) == 0
    (normal,), (error,) = read(nats_server.url, nats_name), read(nats_server.url, errors)
    assert (normal.subject, normal.headers["Nats-Expected-Stream"]) == (nats_name, nats_name)
    assert (error.subject, error.headers["Nats-Expected-Stream"]) == (f"{errors}.eu", errors)


def test_subject_is_made_of_fields_and_none_of_them_leads_elsewhere(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name)
    bad: list[dict[str, Any]] = [{"to": value} for value in ("a.b", "*", ">", "a b", "a\r\nPUB x 0", "", ["a"])] + [{}]
    with producer(nats_server.url, nats_name, subject=f"{nats_name}.{{to}}.{{is_error}}") as made:
        receipts = [made.produce(False, content) for content in bad]
        made.produce(False, {"to": "eu"})
        assert made.flush(WITHIN) == 0
        assert {receipt.state.name for receipt in receipts} == {"DEAD_LETTERED"}
        assert all("'to'" in str(letter.error) for letter in made.dead_letters)
        assert made.statistics().delivered == 1
    assert [each.subject for each in read(nats_server.url, nats_name)] == [f"{nats_name}.eu.normal"]


def test_message_that_comes_again_is_stored_once_and_the_detail_says_so(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name)
    with producer(nats_server.url, nats_name) as made:
        made.produce(False, {"n": 1}, message_id="same").wait(WITHIN)
        again = made.produce(False, {"n": 1}, message_id="same")
        again.wait(WITHIN)
        assert again.delivered
        assert again.detail == {"stream": nats_name, "sequence": 1, "duplicate": True}
    assert len(read(nats_server.url, nats_name)) == 1


@pytest.mark.parametrize(
    ("headers", "id"),
    [({"a": "1\r\n\r\nPUB x 0"}, None), ({"Nats-Rollup": "all"}, None), ({"nats-msg-id": "x"}, None), ({"a b": "1"}, None), (None, "ü")],
)
def test_header_that_nats_cannot_carry_is_a_dead_letter_and_the_others_arrive(
    nats_server: Address, nats_name: str, headers: dict[str, str] | None, id: str | None
) -> None:
    make_stream(nats_server.url, nats_name)
    with producer(nats_server.url, nats_name) as made:
        made.produce(False, {"n": 0})
        bad = made.produce(False, {"n": 1}, headers=headers, message_id=id)
        made.produce(False, {"n": 2})
        assert made.flush(WITHIN) == 0
        assert (bad.state.name, made.statistics().delivered, made.statistics().resets) == ("DEAD_LETTERED", 2, 0)
    assert [each.data for each in read(nats_server.url, nats_name)] == [b'{"n":0}', b'{"n":2}']


@pytest.mark.parametrize("with_headers", [False, True])
def test_message_over_max_payload_is_rejected_before_it_costs_the_connection(
    nats_server: Address, nats_name: str, with_headers: bool
) -> None:
    make_stream(nats_server.url, nats_name)
    limit = 1_048_576
    own = {"filler": "x" * 1000} if with_headers else None
    text = "x" * (limit - 900 if with_headers else limit)  # with headers: the body alone would fit
    with producer(nats_server.url, nats_name, batch={"max_bytes": "4MiB"}) as made:
        made.produce(False, {"n": 0})
        bad = made.produce(False, {"text": text}, headers=own)
        fits = made.produce(False, {"text": "x" * (limit - 200)})
        assert made.flush(WITHIN) == 0
        assert (bad.state.name, fits.delivered, made.statistics().resets) == ("DEAD_LETTERED", True, 0)
        assert ["max_payload" in str(letter.error) for letter in made.dead_letters] == [True]
    assert len(read(nats_server.url, nats_name)) == 2


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_cloud_events(nats_server: Address, nats_name: str, mode: str) -> None:
    make_stream(nats_server.url, nats_name)
    events = {"mode": mode, "source": "/shop", "type": "order.created"}
    with producer(nats_server.url, nats_name, cloudevents=events) as made:
        receipt = made.produce(False, {"n": 1})
        assert made.flush(WITHIN) == 0
    (found,) = read(nats_server.url, nats_name)
    if mode == "binary":
        assert found.data == b'{"n":1}'
        assert (found.headers["ce-type"], found.headers["ce-id"]) == ("order.created", receipt.message_ids[0])
    else:
        assert json.loads(found.data)["data"] == {"n": 1}
        assert "application/cloudevents+json" in " ".join(found.headers.values())


def test_details_can_be_left_out(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name)
    with producer(nats_server.url, nats_name, details=False) as made:
        receipt = made.produce(False, {"n": 1})
        receipt.wait(WITHIN)
        assert receipt.delivered
        assert receipt.detail is None


def test_what_a_process_left_in_its_spool_is_delivered_by_the_next(nats_server: Address, nats_name: str, tmp_path: Path) -> None:
    make_stream(nats_server.url, nats_name)
    queue = {"type": "spool", "path": str(tmp_path / "spool")}
    left: NatsProducer = producer("nats://127.0.0.1:1", nats_name, queue=queue)
    left.produce_many(False, [{"n": number} for number in range(50)])
    left.shutdown(timeout=0.2)
    assert left.statistics().pending == 50
    with producer(nats_server.url, nats_name, queue=queue) as made:
        made.start()
        assert made.flush(WITHIN) == 0
    assert [json.loads(each.data)["n"] for each in read(nats_server.url, nats_name)] == list(range(50))


def test_core_mode_counts_what_the_server_has_read(nats_server: Address, nats_name: str) -> None:
    got: list[bytes] = []

    async def listen(client: Any) -> None:
        subscription = await client.subscribe(nats_name)
        await client.flush()
        with producer(nats_server.url, nats_name, mode="core") as made:
            receipt = made.produce_many(False, [{"n": number} for number in range(3000)])
            assert await made.aflush(WITHIN) == 0
            assert receipt.delivered
        for _ in range(3000):
            message = await subscription.next_msg(timeout=5)
            got.append(message.data)
            assert message.reply == ""

    with_client(nats_server.url, listen)
    assert got == [b'{"n":%d}' % number for number in range(3000)]


def test_nothing_is_done_until_something_is_produced_and_the_idle_connection_lives_on(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name)
    with producer(nats_server.url, nats_name, ping_interval="1s") as made:
        made.produce(False, {"n": 1}).wait(WITHIN)
        client: Any = made._client
        until(lambda: client._pongs_received > 2)
        made.produce(False, {"n": 2}).wait(WITHIN)
        assert (made.statistics().delivered, made.statistics().connects) == (2, 1)
