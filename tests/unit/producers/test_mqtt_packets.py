"""MQTT on the wire: packets are what paho makes of the same message, and answers are found however they are cut up."""

from __future__ import annotations

import random
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from standpipe.producers.mqtt_packets import PUBACK, PUBCOMP, PUBREC, Ack, Malformed, Reader, Writer, length_bytes, pubrel, text_bytes

HEADERS = {"message-id": "one", "käse": "Grüße \U0001f6b0"}


class Captured(paho.Client):
    """paho, that says what it would send."""

    def __init__(self, v5: bool) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5 if v5 else paho.MQTTv311)
        self.written = b""
        self._sock = self  # type: ignore[assignment]
        self._last_mid = 299

    def send(self, data: bytes) -> int:
        self.written += data
        return len(data)

    def close(self) -> None:
        """Nothing is open."""


def by_paho(v5: bool, topic: str, body: bytes, qos: int, retain: bool, expiry: int | None = None, alias: int | None = None) -> bytes:
    properties: Any = None
    if v5:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.PayloadFormatIndicator = 1
        properties.ContentType = "application/json"
        properties.UserProperty = list(HEADERS.items())
        if expiry is not None:
            properties.MessageExpiryInterval = expiry
        if alias is not None:
            properties.TopicAlias = alias
    client = Captured(v5)
    client.publish(topic, body, qos, retain, properties)
    client._sock = None
    return client.written


def parts(packet: bytes, v5: bool, qos: int) -> tuple[bytes, list[bytes], bytes]:
    """What stands before the properties, the properties in any order, and what stands behind them."""
    if not v5:
        return packet, [], b""
    start = 1
    while packet[start] > 127:
        start += 1
    topic = int.from_bytes(packet[start + 1 : start + 3], "big")
    start += 3 + topic + (2 if qos else 0)
    length, size, shift = 0, 0, 0
    while True:
        byte = packet[start + size]
        length |= (byte & 127) << shift
        shift, size = shift + 7, size + 1
        if byte < 128:
            break
    inner = packet[start + size : start + size + length]
    return packet[:start], sorted(bytes((byte,)) for byte in inner), packet[start + size + length :]


@pytest.mark.parametrize("v5", [True, False])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 2000, 16_383, 70_000, 2_100_000])
def test_message_is_written_as_paho_writes_it(v5: bool, qos: int, size: int) -> None:
    writer = Writer(v5=v5, qos=qos, content_type="application/json", expiry=None, alias_max=0)
    body = b"x" * size
    ours = writer.publish(300, "orders/é", body, HEADERS, bool(size % 2))
    theirs = by_paho(v5, "orders/é", body, qos, bool(size % 2))
    assert len(ours) == len(theirs)
    assert parts(ours, v5, qos) == parts(theirs, v5, qos)


def test_expiry_and_topic_number_are_written_as_paho_writes_them() -> None:
    writer = Writer(v5=True, qos=1, content_type="application/json", expiry=3600, alias_max=1)
    assert parts(writer.publish(300, "t", b"{}", HEADERS, False), True, 1) == parts(by_paho(True, "t", b"{}", 1, False, 3600, 1), True, 1)
    assert parts(writer.publish(300, "t", b"{}", HEADERS, False), True, 1) == parts(by_paho(True, "", b"{}", 1, False, 3600, 1), True, 1)


def test_no_more_topics_are_numbered_than_the_broker_allows_and_all_are_named_anew_after_a_refusal() -> None:
    writer = Writer(v5=True, qos=1, content_type="c", expiry=None, alias_max=2)
    written = [writer.publish(1, topic, b"", {}, False) for topic in ("a", "b", "c", "a", "b", "c")]
    assert [topic.encode() in packet for topic, packet in zip("abcabc", (packet[2:6] for packet in written), strict=True)] == [
        True,
        True,
        True,
        False,
        False,
        True,
    ]
    assert [b"\x23\x00" in packet for packet in written] == [True, True, False, True, True, False]
    writer.forget()
    assert b"\x00\x01b" in writer.publish(1, "b", b"", {}, False)


def test_text_that_is_too_long_is_no_packet() -> None:
    writer = Writer(v5=True, qos=1, content_type="c", expiry=None, alias_max=0)
    for topic, headers in (("x" * 65_536, {}), ("t", {"x" * 65_536: ""})):
        with pytest.raises(ValueError, match="65535"):
            writer.publish(1, topic, b"", headers, False)
    with pytest.raises(OverflowError):
        writer.publish(1, "t", b"", {"name": "x" * 65_536}, False)
    assert text_bytes("é") == b"\x00\x02\xc3\xa9"


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455])
def test_lengths_have_seven_bits_to_a_byte(number: int) -> None:
    made = length_bytes(number)
    assert sum((byte & 127) << 7 * place for place, byte in enumerate(made)) == number
    assert [byte > 127 for byte in made] == [True] * (len(made) - 1) + [False]


def user_property(name: bytes, value: bytes) -> bytes:
    return b"\x26" + len(name).to_bytes(2, "big") + name + len(value).to_bytes(2, "big") + value


STREAM = (
    b"\x20\x02\x00\x00"  # CONNACK
    b"\x40\x02\x00\x01"
    b"\x50\x02\x01\x00"
    b"\x70\x02\xff\xff"
    b"\x40\x03\x00\x02\x10"
    b"\x40\x0b\x00\x03\x97\x07\x1f\x00\x04full"
    b"\xd0\x00"  # PINGRESP
    b"\x40\x16\x00\x04\x83\x12"
    + user_property(b"a", b"bc")
    + b"\x1f\x00\x07because"
    + b"\x30"  # a PUBLISH that somebody's session still has
    + length_bytes(300)
    + b"p" * 300
)
ACKS = [
    Ack(PUBACK, 1, 0, ""),
    Ack(PUBREC, 256, 0, ""),
    Ack(PUBCOMP, 65_535, 0, ""),
    Ack(PUBACK, 2, 0x10, ""),
    Ack(PUBACK, 3, 0x97, "full"),
    Ack(PUBACK, 4, 0x83, "because"),
]
OTHERS = b"\x20\x02\x00\x00\xd0\x00\x30" + length_bytes(300) + b"p" * 300


def test_acknowledgements_are_found_and_all_else_is_passed_on_however_the_stream_is_cut() -> None:
    for seed in range(300):
        dice, reader = random.Random(seed), Reader(v5=True)
        acks: list[Ack] = []
        others = bytearray()
        start = 0
        while start < len(STREAM):
            stop = start + dice.choice((1, 1, 2, 3, 7, 50, 1000))
            reader.feed(STREAM[start:stop], acks, others)
            start = stop
        assert acks == ACKS
        assert others == OTHERS


@pytest.mark.parametrize("data", [b"\x40\x01\x00", b"\x40\x00", b"\x30\xff\xff\xff\xff\x01"])
def test_what_is_not_mqtt_is_said_to_be_so(data: bytes) -> None:
    with pytest.raises(Malformed):
        Reader(v5=True).feed(data, [], bytearray())
    with pytest.raises(Malformed):
        Reader(v5=False).feed(b"\x40\x03\x00\x01\x00", [], bytearray())


def test_odd_properties_of_an_acknowledgement_do_no_harm() -> None:
    for seed in range(2000):
        dice = random.Random(seed)
        content = bytes(dice.choice((0x1F, 0x26, 0, 1, 2, 5, 130, 255)) for _ in range(dice.randrange(3, 20)))
        acks: list[Ack] = []
        try:
            Reader(v5=True).feed(b"\x40" + bytes((len(content),)) + content, acks, bytearray())
        except Malformed:
            continue
        assert (acks[0].packet_id, acks[0].code) == (content[0] << 8 | content[1], content[2])


def test_answer_to_a_pubrec_has_its_packet_id() -> None:
    assert pubrel(258) == b"\x62\x02\x01\x02"
