"""What arrives at a real broker, read back by another client and compared byte for byte."""

from __future__ import annotations

import gzip
import os
import threading
from typing import Any

import orjson
import pytest

from standpipe.producers.rabbitmq import RabbitmqProducer
from tests.integration.rabbitmq.broker import count_in, producer, read
from tests.servers.server import Address

MESSAGE = {"text": "Grüße, 世界 \U0001f6b0", "nested": {"list": [1, 2.5, None, True]}, "empty": ""}
WITHIN = 10.0


def headers_of(properties: Any) -> dict[str, Any]:
    """Without what a quorum queue says of its own."""
    return {name: value for name, value in properties.headers.items() if name != "x-delivery-count"}


def test_normal_and_error_messages_arrive_with_id_key_and_headers(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    with producer(rabbitmq_server.url, rabbitmq_name, headers={"source": "test"}) as made:
        trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "ü": "ß\x00"}
        first = made.produce(False, MESSAGE, key="k-1", headers=trace, message_id="my-id")
        second = made.produce(True, {"n": 2})
        assert made.flush(WITHIN) == 0
    assert first.detail == {"delivery_tag": 1, "exchange": "", "routing_key": rabbitmq_name}
    (_, one, body_one), (_, two, body_two) = read(rabbitmq_server.url, rabbitmq_name)
    assert (body_one, body_two) == (orjson.dumps(MESSAGE), b'{"n":2}')
    assert (one.message_id, two.message_id) == ("my-id", second.message_id)
    assert headers_of(one) == {"source": "test", "message-key": "k-1", **trace}
    assert headers_of(two) == {"source": "test", "is_error": "true"}
    assert (one.delivery_mode, one.content_type, one.content_encoding) == (2, "application/json", None)


def test_batches_of_all_sizes_arrive_complete_and_in_order_per_key(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    bodies = [{"n": number, "pad": "x" * size} for number, size in enumerate([0, 1, 300, 131_050, 131_064, 300_000, 5] * 6)]
    with producer(rabbitmq_server.url, rabbitmq_name) as made:
        made.produce_many(False, bodies, keys=[f"k{body['n'] % 3}" for body in bodies])  # type: ignore[operator]
        made.produce_many(False, [{"n": number} for number in range(3000)])
        assert made.flush(30) == 0
        assert made.statistics().delivered == len(bodies) + 3000
    arrived = read(rabbitmq_server.url, rabbitmq_name)
    assert len(arrived) == len(bodies) + 3000
    keyed = [(properties.headers["message-key"], orjson.loads(body)) for _, properties, body in arrived if properties.headers]
    for key in ("k0", "k1", "k2"):
        assert [body for its, body in keyed if its == key] == [body for body in bodies if f"k{body['n'] % 3}" == key]  # type: ignore[operator]


def test_large_messages_arrive_although_the_socket_takes_them_in_pieces(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    with producer(rabbitmq_server.url, rabbitmq_name) as made:
        receipts = [made.produce(False, {"n": number, "long": "x" * 9_000_000}) for number in range(3)]
        assert made.flush(30) == 0
        assert all(receipt.delivered for receipt in receipts)
        assert made.statistics().resets == 0
    assert [len(body) > 9_000_000 for _, _, body in read(rabbitmq_server.url, rabbitmq_name)] == [True] * 3


def test_idle_and_waiting_connections_are_kept_alive(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    with producer(rabbitmq_server.url, rabbitmq_name, heartbeat=2) as made:
        made.produce(False, {"n": 1}).wait(WITHIN)
        threading.Event().wait(6.5)  # after four seconds of silence the broker would hang up
        made.produce(False, {"n": 2})
        assert made.flush(WITHIN) == 0
        assert made.statistics().connects == 1


def test_child_of_a_fork_has_a_connection_of_its_own_and_the_parent_keeps_its(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    with producer(rabbitmq_server.url, rabbitmq_name) as made:
        made.produce(False, {"n": 1}).wait(WITHIN)
        child = os.fork()
        if child == 0:
            receipt = made.produce(False, {"n": 2})
            receipt.wait(WITHIN)
            os._exit(0 if receipt.delivered and made.shutdown(WITHIN).complete else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert made.produce(False, {"n": 3}).wait(WITHIN).name == "DELIVERED"
        assert made.statistics().connects == 1
    assert [body for _, _, body in read(rabbitmq_server.url, rabbitmq_name)] == [b'{"n":1}', b'{"n":2}', b'{"n":3}']


def test_messages_go_where_their_fields_and_the_exchanges_say(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    errors = rabbitmq_name + ".errors"
    settings: dict[str, Any] = {
        "exchange": rabbitmq_name,
        "routing_key": "orders.{region}",
        "error_exchange": errors,
        "error_routing_key": "oops",
        "declare": {
            "exchange_type": "topic",
            "queues": [
                {"name": rabbitmq_name, "binding_keys": ["orders.#"]},
                {"name": errors, "exchange": errors, "binding_keys": ["oops"]},
            ],
        },
    }
    with producer(rabbitmq_server.url, rabbitmq_name, **settings) as made:
        made.produce(False, {"region": "eu"})
        made.produce(True, {"region": "us"})
        receipt = made.produce(False, {"region": "us"})
        assert made.flush(WITHIN) == 0
    assert receipt.detail["exchange"] == rabbitmq_name
    assert [(method.routing_key, body) for method, _, body in read(rabbitmq_server.url, rabbitmq_name)] == [
        ("orders.eu", b'{"region":"eu"}'),
        ("orders.us", b'{"region":"us"}'),
    ]
    assert [(method.routing_key, body) for method, _, body in read(rabbitmq_server.url, errors)] == [("oops", b'{"region":"us"}')]


def test_compressed_bodies_say_so_and_priority_and_expiration_are_carried(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    with producer(rabbitmq_server.url, rabbitmq_name, compression="gzip", priority=3, expiration="1h", persistent=False) as made:
        made.produce(False, MESSAGE)
        assert made.flush(WITHIN) == 0
    (_, properties, body) = read(rabbitmq_server.url, rabbitmq_name)[0]
    assert orjson.loads(gzip.decompress(body)) == MESSAGE
    assert (properties.content_encoding, properties.priority, properties.expiration) == ("gzip", 3, "3600000")
    assert properties.delivery_mode == 1


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_cloudevents(rabbitmq_server: Address, rabbitmq_name: str, mode: str) -> None:
    events = {"mode": mode, "source": "/shop", "type": "order.created"}
    with producer(rabbitmq_server.url, rabbitmq_name, cloudevents=events) as made:
        made.produce(False, {"n": 1}, message_id="id-1")
        assert made.flush(WITHIN) == 0
    (_, properties, body) = read(rabbitmq_server.url, rabbitmq_name)[0]
    if mode == "structured":
        assert properties.content_type.startswith("application/cloudevents+json")
        event = orjson.loads(body)
        assert (event["id"], event["type"], event["data"]) == ("id-1", "order.created", {"n": 1})
    else:
        assert (properties.content_type, body) == ("application/json", b'{"n":1}')
        assert properties.headers["cloudEvents_type"] == "order.created"


# --- messages that cannot be delivered ------------------------------------------------------------------------------------


def reasons(made: RabbitmqProducer) -> list[str]:
    return [str(letter.error) for letter in made.dead_letters]


def test_unroutable_messages_become_dead_letters_and_the_others_arrive(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    with producer(rabbitmq_server.url, rabbitmq_name, routing_key="{queue}") as made:
        for number in range(20):
            made.produce(False, {"n": number, "queue": rabbitmq_name if number % 2 else f"{rabbitmq_name}-missing"})
        # The same id twice: none must be taken for the other.
        made.produce(False, {"n": "lost", "queue": f"{rabbitmq_name}-missing"}, message_id="twice")
        made.produce(False, {"n": "there", "queue": rabbitmq_name}, message_id="twice")
        assert made.flush(WITHIN) == 0
        assert (made.statistics().delivered, made.statistics().dead_lettered) == (11, 11)
        assert all("no queue is bound" in reason and "NO_ROUTE" in reason for reason in reasons(made))
        assert [letter.content()["n"] for letter in made.dead_letters if letter.id == "twice"] == ["lost"]
        assert made.statistics().resets == 0
    assert count_in(rabbitmq_server.url, rabbitmq_name) == 11


def test_unroutable_messages_can_be_discarded_knowingly(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    with producer(rabbitmq_server.url, rabbitmq_name, routing_key=f"{rabbitmq_name}-missing", declare=None, unroutable="discard") as made:
        receipt = made.produce(False, {"n": 1})
        receipt.wait(WITHIN)
        assert receipt.delivered


@pytest.mark.parametrize(
    ("message", "more", "says"),
    [
        ({"queue": "a.b"}, {}, "'.' must not come from a message"),
        ({"queue": "#"}, {}, "must not come from a message"),
        ({"other": 1}, {}, "'queue' is missing"),
        ({"queue": ["x"]}, {}, "is a list"),
        ({"queue": "x" * 300}, {}, "255 is the most"),
        ({"queue": "a\r\nb"}, {}, "must not come from a message"),
        ({"queue": "NAME"}, {"headers": {"big": "x" * 200_000}}, "do not fit into one frame"),
        ({"queue": "NAME"}, {"headers": {"BCC": "x"}}, "decide where it goes"),
        ({"queue": "NAME"}, {"message_id": "ü" * 200}, "at most 255 bytes"),
    ],
)
def test_message_that_cannot_be_published_is_rejected_and_the_others_arrive(
    rabbitmq_server: Address, rabbitmq_name: str, message: dict[str, Any], more: dict[str, Any], says: str
) -> None:
    bad = {name: rabbitmq_name if value == "NAME" else value for name, value in message.items()}
    with producer(rabbitmq_server.url, rabbitmq_name, routing_key="{queue}") as made:
        good = [made.produce(False, {"queue": rabbitmq_name})]
        receipt = made.produce(False, bad, **more)
        good.append(made.produce(False, {"queue": rabbitmq_name}))
        assert made.flush(WITHIN) == 0
        assert receipt.state.name == "DEAD_LETTERED"
        assert says in reasons(made)[0]
        assert all(each.delivered for each in good)
        assert made.statistics().resets == 0
