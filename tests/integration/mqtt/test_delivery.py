"""What is published, read back by an independent client: bytes, topics, properties; and what cannot be published."""

from __future__ import annotations

import logging
from typing import Any

import orjson
import pytest

from standpipe.core.errors import Reject
from standpipe.producers.base import BaseProducer
from tests.integration.mqtt.broker import WITHIN, Reader, headers_of, producer, properties_of
from tests.servers.server import Address

ODD = {"text": 'Grüße, 世界 \U0001f6b0 "quoted" \\ \n', "nested": {"list": [1, 2.5, None, True]}, "huge": 2**63, "empty": {}}


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_normal_and_error_messages_arrive_byte_for_byte_and_in_order(mqtt_server: Address, mqtt_name: str, qos: int, protocol: str) -> None:
    reader = Reader(mqtt_server, mqtt_name)
    made = producer(mqtt_server.url, mqtt_name, qos=qos, protocol=protocol, error_topic=f"{mqtt_name}/errors")
    with reader.listening(), made:
        sent = [(number % 5 == 0, {**ODD, "n": number}) for number in range(150)]
        receipts = [made.produce(is_error, message) for is_error, message in sent]
        assert made.flush(WITHIN) == 0
        assert all(receipt.delivered for receipt in receipts)
    found = reader.read()
    for is_error, topic in ((False, mqtt_name), (True, f"{mqtt_name}/errors")):
        there = [(bytes(message.payload), message.qos) for message in found if message.topic == topic]
        assert there == [(orjson.dumps(message), qos) for flag, message in sent if flag is is_error]


def test_what_goes_with_a_message_are_properties(mqtt_server: Address, mqtt_name: str) -> None:
    reader = Reader(mqtt_server, mqtt_name)
    given: dict[str, Any] = {"headers": {"source": "shop"}, "key_header": "message-key", "message_expiry": 3600}
    with producer(mqtt_server.url, mqtt_name, **given) as made:
        receipt = made.produce(True, {"n": 1}, key="käse", headers={"traceparent": "00-ab-cd-01"}, message_id="one")
        made.produce(False, {"n": 2})
        assert made.flush(WITHIN) == 0
    error, normal = reader.read()
    assert headers_of(error) == {
        "source": "shop",
        "traceparent": "00-ab-cd-01",
        "message-id": "one",
        "message-key": "käse",
        "is_error": "true",
    }
    assert "is_error" not in headers_of(normal)
    properties = properties_of(normal)
    assert (properties["ContentType"], properties["PayloadFormatIndicator"]) == ("application/json", 1)
    assert properties["MessageExpiryInterval"] <= 3600
    assert receipt.detail == {"topic": mqtt_name, "packet_id": 1, "reason": "success"}


def test_large_messages_and_many_topics_arrive_with_and_without_aliases(mqtt_server: Address, mqtt_name: str) -> None:
    for aliases in (True, False):
        name = f"{mqtt_name}_{aliases}"
        reader = Reader(mqtt_server, name)
        with producer(mqtt_server.url, name, topic=f"{name}/{{place}}", topic_aliases=aliases) as made:
            for number in range(200):
                made.produce(False, {"place": f"é{number % 25}", "n": number})
            made.produce(False, {"place": "large", "text": "x" * 3_000_000})
            assert made.flush(WITHIN) == 0
        found = reader.read()
        assert [orjson.loads(message.payload).get("n") for message in found] == [*range(200), None]
        assert all(message.topic == f"{name}/{orjson.loads(message.payload)['place']}" for message in found)


@pytest.mark.parametrize(("retain", "kept"), [(True, [b'{"n":2}', b'{"n":3}']), ("errors", [b'{"n":3}']), (False, [])])
def test_retained_messages_are_there_for_those_who_come_later(mqtt_server: Address, mqtt_name: str, retain: Any, kept: list[bytes]) -> None:
    with producer(mqtt_server.url, mqtt_name, retain=retain, error_topic=f"{mqtt_name}/errors") as made:
        for is_error, number in ((False, 1), (False, 2), (True, 3)):
            made.produce(is_error, {"n": number})
        assert made.flush(WITHIN) == 0
    found = Reader(mqtt_server, mqtt_name).read()
    assert sorted(bytes(message.payload) for message in found) == kept
    with producer(mqtt_server.url, mqtt_name, retain=True, message_expiry=1) as last:  # nothing is kept for good
        last.produce(False, {})
        last.produce(True, {})
        assert last.flush(WITHIN) == 0


def test_without_headers_a_message_says_in_its_body_what_it_is(mqtt_server: Address, mqtt_name: str) -> None:
    reader = Reader(mqtt_server, mqtt_name)
    with producer(mqtt_server.url, mqtt_name, protocol="3.1.1") as made:
        made.produce(True, {"n": 1}, headers={"not": "carried"})
        assert made.flush(WITHIN) == 0
    with producer(mqtt_server.url, mqtt_name, protocol="3.1.1", fields={"id": "_id", "key": "_key"}) as made:
        made.produce_many(True, [{"n": 2}, {}], message_ids=["two", "three"], key="k")
        assert made.flush(WITHIN) == 0
    assert [bytes(message.payload) for message in reader.read()] == [
        b'{"is_error":true,"n":1}',
        b'{"_id":"two","_key":"k","n":2}',
        b'{"_id":"three","_key":"k"}',
    ]


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_messages_can_be_events(mqtt_server: Address, mqtt_name: str, mode: str) -> None:
    reader = Reader(mqtt_server, mqtt_name)
    with producer(mqtt_server.url, mqtt_name, cloudevents={"mode": mode, "source": "/shop", "type": "com.example.order"}) as made:
        made.produce(False, {"n": 1}, message_id="one")
        assert made.flush(WITHIN) == 0
    (message,) = reader.read()
    body = orjson.loads(message.payload)
    if mode == "binary":
        assert body == {"n": 1}
        assert headers_of(message)["type"] == "com.example.order"
        assert properties_of(message)["ContentType"] == "application/json"
    else:
        assert (body["id"], body["data"]) == ("one", {"n": 1})
        assert properties_of(message)["ContentType"].startswith("application/cloudevents+json")


def test_topic_without_subscribers_is_said_once_and_in_the_detail(
    mqtt_server: Address, mqtt_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "standpipe")
    with producer(mqtt_server.url, mqtt_name) as made:
        receipts = [made.produce(False, {"n": number}) for number in range(30)]
        assert made.flush(WITHIN) == 0
        assert {receipt.detail["reason"] for receipt in receipts} == {"no matching subscribers"}
    assert caplog.text.count(f"nobody has subscribed to '{mqtt_name}'") == 1


def reasons(made: BaseProducer) -> list[str]:
    """Why messages became dead letters."""
    return [str(letter.error) for letter in made.dead_letters]


@pytest.mark.parametrize(
    ("message", "more", "says"),
    [
        ({"place": "a/b"}, {}, "'/' must not come from a message"),
        ({"place": "#"}, {}, "must not come from a message"),
        ({"place": "+"}, {}, "must not come from a message"),
        ({"place": "a\x00b"}, {}, "must not come from a message"),
        ({"place": "a\r\nb"}, {}, "must not come from a message"),
        ({"place": "\uffff"}, {}, "cannot be a topic"),
        ({"place": "$SYS"}, {}, "begins with what is reserved"),
        ({"other": 1}, {}, "'place' is missing"),
        ({"place": ["x"]}, {}, "is a list"),
        ({"place": "x" * 70_000}, {}, "65535 is the most"),
        ({"place": "NAME"}, {"headers": {"big": "x" * 70_000}}, "takes 65535"),
        ({"place": "NAME"}, {"headers": {"odd": "a\r\nb"}}, "MQTT cannot carry"),
        ({"place": "NAME", "text": "x" * 20_000}, {}, "larger than the broker takes"),
    ],
)
def test_message_that_cannot_be_published_is_rejected_and_the_others_arrive(
    mqtt_server: Address, mqtt_name: str, message: dict[str, Any], more: dict[str, Any], says: str
) -> None:
    reader = Reader(mqtt_server, mqtt_name)
    bad = {name: mqtt_name if value == "NAME" else value for name, value in message.items()}
    with producer(mqtt_server.url, mqtt_name, topic="{place}", max_packet_bytes=10_000) as made:
        good = [made.produce(False, {"place": mqtt_name})]
        receipt = made.produce(False, bad, **more)
        good.append(made.produce(False, {"place": mqtt_name}))
        assert made.flush(WITHIN) == 0
        assert receipt.state.name == "DEAD_LETTERED"
        assert says in reasons(made)[0]
        assert all(each.delivered for each in good)
        assert made.statistics().resets == 0
    assert len(reader.read()) == 2


def test_rejections_are_of_the_kind_that_the_table_says(mqtt_server: Address, mqtt_name: str) -> None:
    with producer(mqtt_server.url, mqtt_name, max_packet_bytes=1024) as made:
        receipt = made.produce(False, {"text": "x" * 2000})
        assert made.flush(WITHIN) == 0
        assert isinstance(receipt.error, Reject)
