"""An independent reader of MQTT, and producers for its tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from standpipe.producers.mqtt import MqttProducer
from standpipe.producers.mqtt_config import MqttProducerConfig
from tests.servers.oracle import Found
from tests.servers.scenario import QUICK
from tests.servers.server import Address

WITHIN = 15.0
KEPT_FOR = 300
"""Seconds for which the broker keeps the session of a reader that does not come back."""


def producer(url: str, name: str, **settings: Any) -> MqttProducer:
    """One that publishes to `name`, unless told otherwise."""
    return MqttProducer(config(url, name, **settings))


def config(url: str, name: str, **settings: Any) -> MqttProducerConfig:
    """Its configuration."""
    return MqttProducerConfig.model_validate({"name": name, "url": url, "topic": name, **QUICK, **settings})


class Reader:
    """A subscriber with a session that the broker keeps: what comes while it is away waits for it. Reads everything below `name`."""

    def __init__(self, address: Address, name: str) -> None:
        self._address, self._name = address, name
        self._marks = 0
        self.messages: list[Any] = []
        with _Connected(self._address, self._name, self.messages) as client:
            subscribed: list[int] = []
            client.on_subscribe = lambda *_: subscribed.append(1)
            client.subscribe(f"{self._name}/#", qos=2)  # and `name` itself
            _until(client, lambda: bool(subscribed))

    def read(self) -> list[Any]:
        """All messages since the beginning, in the order of the broker."""
        with _Connected(self._address, self._name, self.messages) as client:
            self._read_up_to_mark(client)
        return [message for message in self.messages if "/mark/" not in message.topic]

    def _read_up_to_mark(self, client: paho.Client) -> None:
        self._marks += 1
        mark = f"{self._name}/mark/{self._marks}"
        client.publish(mark, b"", qos=2)  # those of QoS 1 do not wait for those of QoS 2
        _until(client, lambda: bool(self.messages) and self.messages[-1].topic == mark)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """It stays: a broker keeps messages of QoS 0 for nobody. At the end all that was sent before is there."""
        with _Connected(self._address, self._name, self.messages) as client:
            yield
            self._read_up_to_mark(client)

    def found(self) -> list[Found]:
        """The same as the oracle wants it."""
        return [_found(message) for message in self.read()]


class _Connected:
    """A client of our own, driven by hand."""

    def __init__(self, address: Address, name: str, messages: list[Any]) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"{name}-reader", protocol=paho.MQTTv5)
        self._client.on_message = lambda _client, _data, message: messages.append(message)
        if address.password is not None:
            self._client.username_pw_set(address.user or "", address.password)
        properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = KEPT_FOR
        self._client.connect(address.host, address.port, clean_start=False, properties=properties)

    def __enter__(self) -> paho.Client:
        _until(self._client, self._client.is_connected)
        return self._client

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        properties: Any = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = KEPT_FOR
        self._client.disconnect(properties=properties)
        self._client.on_message = None
        # Only this closes what `loop` has opened.
        self._client._reset_sockets()


def _until(client: paho.Client, condition: Any) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, "the broker does not answer"
        assert client.loop(0.05) == paho.MQTT_ERR_SUCCESS, "the broker has hung up"


def properties_of(message: Any) -> dict[str, Any]:
    """The properties of a message."""
    found: dict[str, Any] = message.properties.json()
    return found


def headers_of(message: Any) -> dict[str, str]:
    """Its user properties."""
    return dict(properties_of(message).get("UserProperty", []))


def _found(message: Any) -> Found:
    headers = headers_of(message)
    return Found(headers.get("message-id", ""), bytes(message.payload), headers.get("message-key"), headers.get("is_error") == "true")
