"""What can and what cannot be configured of `type: mqtt`, and that the remedy is said."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from standpipe.producers.mqtt import MqttProducer
from standpipe.producers.mqtt_config import MqttProducerConfig


def config(**settings: Any) -> MqttProducerConfig:
    return MqttProducerConfig.model_validate({"name": "m", "url": "mqtt://h", "topic": "t", **settings})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "mqtt://h/topic"}, "write the topic in topic"),
        ({"url": "tcp://h"}, "must begin with mqtt://"),
        ({"url": "mqtt://u:hush@h", "user": "v"}, "leave out one of them"),
        ({"password": "hush"}, "name the user"),
        ({"user": "u", "password": "x" * 70_000}, "longer than 65535 bytes"),
        ({"tls": {}}, "write mqtts://"),
        ({"topic": "a/#"}, "cannot be a topic"),
        ({"topic": "a/+/b"}, "cannot be a topic"),
        ({"topic": "a\x00"}, "cannot be a topic"),
        ({"topic": ""}, "cannot be a topic"),
        ({"topic": "x" * 65_536}, "65535 is the most"),
        ({"error_topic": "{"}, "error_topic"),
        ({"client_id": ""}, "leave it out to have one made"),
        ({"client_id": "a\x00b"}, "client_id has a value that MQTT cannot carry"),
        ({"clean_start": False}, "name one"),
        ({"clean_start": False, "client_id": "c", "qos": 2}, "would swallow new messages"),
        ({"qos": 3}, "qos"),
        ({"retain": "yes"}, "retain"),
        ({"protocol": "4"}, "protocol"),
        ({"protocol": "3.1.1", "headers": {"a": "b"}}, "has no headers; leave it out, use protocol 5"),
        ({"protocol": "3.1.1", "message_expiry": 5}, "has no message_expiry"),
        ({"protocol": "3.1.1", "session_expiry": 5}, "has no session_expiry"),
        ({"protocol": "3.1.1", "key_header": "k"}, "has no key_header"),
        ({"protocol": "3.1.1", "cloudevents": {"mode": "binary", "source": "/s", "type": "t"}}, "use mode structured"),
        ({"fields": ["id"], "cloudevents": {"source": "/s", "type": "t"}}, "leave fields out"),
        ({"fields": {"id": "a", "key": "a"}}, "each field needs a name of its own"),
        ({"fields": {"id": 'a"b'}}, "cannot name a field"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"max_in_flight": 65_536}, "max_in_flight"),
    ],
)
def test_what_cannot_be_is_refused_with_its_remedy_and_without_passwords(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**settings)
    text = str(caught.value)
    assert says in text
    assert "hush" not in text.split("[type=")[0]


def test_defaults_lose_nothing() -> None:
    found = config()
    assert (found.qos, found.is_v5, found.retain, found.clean_start, found.url.port) == (1, True, False, True, 1883)
    assert (found.window, found.field_names) == (100, {})
    assert [config(url=f"{scheme}://h").url.port for scheme in ("mqtts", "ws", "wss")] == [8883, 80, 443]


def test_version_may_be_a_number() -> None:
    assert config(protocol=5).is_v5
    assert not config(protocol="3.1.1").is_v5


def test_error_flag_has_a_place_without_headers() -> None:
    assert config(protocol="3.1.1").field_names == {"is_error": "is_error"}
    assert config(protocol="3.1.1", error_topic="e").field_names == {}
    assert config(protocol="3.1.1", fields=["id"]).field_names == {"id": "id"}


def test_window_of_qos_2_is_small_where_the_broker_cannot_say_how_many_it_takes() -> None:
    assert config(qos=2).window == 100
    assert config(qos=2, protocol="3.1.1").window == 20
    assert config(qos=2, protocol="3.1.1", max_in_flight=5).window == 5
    assert config(qos=1, protocol="3.1.1").window == 100


def test_destination_names_broker_and_topics_and_no_password() -> None:
    made = MqttProducer(config(url="mqtts://user:hush@h", topic="a/{b}", error_topic="e"))
    assert made.destination == "mqtts://h topic a/{b}, errors: e"
