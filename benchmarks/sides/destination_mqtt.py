"""Messages to an MQTT topic with QoS 1, by paho at its best and by Standpipe."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import orjson
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.case import Measurement, Params
from benchmarks.sides.delivery import MEMORY, deliver, spool
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.mqtt_server import URL, place, topic
from benchmarks.sides.watch import Watch
from standpipe.producers.mqtt import MqttProducer
from standpipe.producers.mqtt_config import MqttProducerConfig

WARM_UP = 500
WINDOW = 20
"""Messages on their way at once: what Mosquitto takes, and where paho is fastest."""
WITHIN = 120.0


def raw(params: Params) -> Measurement:
    """paho with its own thread and queue, MQTT 5, the id of each message as a user property."""
    return _raw(params["few_messages"], paho.MQTTv5)


def raw_v311(params: Params) -> Measurement:
    """The same with MQTT 3.1.1, which has no user properties."""
    return _raw(params["few_messages"], paho.MQTTv311)


def _raw(messages: int, protocol: MQTTProtocolVersion) -> Measurement:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=uuid4().hex, protocol=protocol)
    client.max_inflight_messages = WINDOW
    acknowledged, wanted, name = 0, 0, topic()
    connected, done = threading.Event(), threading.Event()

    def on_publish(*_: Any) -> None:
        nonlocal acknowledged
        acknowledged += 1
        if acknowledged == wanted:
            done.set()

    def send(count: int) -> None:
        nonlocal wanted
        done.clear()
        wanted = acknowledged + count
        for number in range(count):
            client.publish(name, orjson.dumps(MESSAGE), 1, False, _properties(number) if protocol == paho.MQTTv5 else None)
        if not done.wait(WITHIN):
            raise RuntimeError(f"{acknowledged} of {wanted} were acknowledged")

    client.on_publish = on_publish
    client.on_connect = lambda *_: connected.set()
    client.connect(*place())
    client.loop_start()
    try:
        connected.wait(WITHIN)
        send(WARM_UP)
        watch = Watch()
        send(messages)
        return watch.measured(messages)
    finally:
        client.disconnect()
        client.loop_stop()


def _properties(number: int) -> Properties:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    made.UserProperty = ("message-id", f"0123456789abcdef0123-{number}")
    return made


def standpipe(params: Params) -> Measurement:
    """`produce`, with the queue in memory, MQTT 5."""
    return _standpipe(params, MEMORY)


def standpipe_v311(params: Params) -> Measurement:
    """`produce`, with the queue in memory, MQTT 3.1.1, nothing in the message but itself."""
    return _standpipe(params, MEMORY, protocol="3.1.1", fields=[])


def standpipe_spool(params: Params) -> Measurement:
    """`produce`, with a `written` spool, MQTT 5."""
    return _standpipe(params, spool(params))


def _standpipe(params: Params, queue: dict[str, Any], **settings: Any) -> Measurement:
    place()
    given = {"name": "bench", "url": URL, "topic": topic(), "max_in_flight": WINDOW, "queue": queue, **settings}
    return deliver(MqttProducer(MqttProducerConfig.model_validate(given)), params["messages"], WARM_UP)
