"""MQTT on the wire, as far as published messages go: PUBLISH, what acknowledges it, and PUBREL.

The rest of the protocol is the client's. Messages are written and acknowledgements read here because the client does it one
object, one lock and several system calls at a time, and because it leaves out what the broker says to a message of QoS 2.

Numbers in brackets are sections of the specification of MQTT 5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PUBACK, PUBREC, PUBREL, PUBCOMP = 4, 5, 6, 7
"""Types of packets (2.1.2)."""
ACKNOWLEDGEMENTS = (PUBACK, PUBREC, PUBCOMP)

SUCCESS, NO_SUBSCRIBERS = 0x00, 0x10
FAILURE = 0x80
"""Reasons from here on say no (2.4)."""

_PUBLISH = 0x30
_PUBREL = b"\x62\x02"
_PAYLOAD_IS_TEXT = b"\x01\x01"
_EXPIRY, _CONTENT_TYPE, _REASON_STRING, _TOPIC_ALIAS, _USER_PROPERTY = b"\x02", b"\x03", 0x1F, b"\x23", b"\x26"
_REMEMBERED_MAX = 1000
"""Encoded headers that are remembered; applications have some ten."""


class Ack(NamedTuple):
    """What the broker says about a message."""

    kind: int
    """PUBACK, PUBREC or PUBCOMP"""
    packet_id: int
    code: int
    text: str
    """why, in the broker's own words"""


class Malformed(Exception):
    """what comes is not MQTT"""


def length_bytes(number: int) -> bytes:
    """A number of up to 268,435,455, seven bits to a byte, the lowest first (1.5.5)."""
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


_LENGTHS = [length_bytes(number) for number in range(2048)]


def text_bytes(text: str) -> bytes:
    """A text with its length before it (1.5.4). Raises ValueError if it is too long."""
    data = text.encode()
    if len(data) > 0xFFFF:
        raise ValueError(f"a text of {len(data)} bytes, and MQTT takes 65535")
    return len(data).to_bytes(2, "big") + data


def pubrel(packet_id: int) -> bytes:
    """The answer to a PUBREC."""
    return _PUBREL + packet_id.to_bytes(2, "big")


class Writer:
    """Makes PUBLISH packets. Not thread-safe.

    `alias_max`: how many topics can be given a number; 0: none.
    """

    def __init__(self, *, v5: bool, qos: int, content_type: str, expiry: int | None, alias_max: int) -> None:
        self._v5 = v5
        self._qos = qos
        expires = b"" if expiry is None else _EXPIRY + expiry.to_bytes(4, "big")
        self._constant = _PAYLOAD_IS_TEXT + expires + _CONTENT_TYPE + text_bytes(content_type)
        self._alias_max = alias_max
        self._aliases: dict[str, bytes] = {}
        self._topics: dict[str, bytes] = {}
        self._names: dict[str, bytes] = {}

    def publish(self, packet_id: int, topic: str, body: bytes, headers: Mapping[str, str], retain: bool) -> bytes:
        """One message. `packet_id` is not sent with QoS 0. Raises ValueError for what is too long."""
        head = b"" if self._qos == 0 else packet_id.to_bytes(2, "big")
        if self._v5:
            name, alias = self._named(topic)
            head += self._properties(headers, alias)
        else:
            name = self._topic(topic)
        length = len(name) + len(head) + len(body)
        first = bytes((_PUBLISH | self._qos << 1 | retain,))
        return b"".join((first, _LENGTHS[length] if length < 2048 else length_bytes(length), name, head, body))

    def forget(self) -> None:
        """A message was refused: whether the broker has noted the number of its topic is not certain."""
        self._aliases.clear()

    def _topic(self, topic: str) -> bytes:
        name = self._topics.get(topic)
        if name is None:
            if len(self._topics) >= _REMEMBERED_MAX:
                self._topics.clear()
            name = self._topics[topic] = text_bytes(topic)
        return name

    def _named(self, topic: str) -> tuple[bytes, bytes]:
        """The topic as it is sent, and the property with its number (3.3.2.3.4)."""
        alias = self._aliases.get(topic)
        if alias is not None:
            return b"\x00\x00", alias
        if len(self._aliases) >= self._alias_max:
            return self._topic(topic), b""
        alias = self._aliases[topic] = _TOPIC_ALIAS + (len(self._aliases) + 1).to_bytes(2, "big")
        return self._topic(topic), alias

    def _properties(self, headers: Mapping[str, str], alias: bytes) -> bytes:
        parts = [self._constant, alias]
        for name, value in headers.items():
            data = value.encode()
            parts += (self._names.get(name) or self._header_name(name), len(data).to_bytes(2, "big"), data)
        made = b"".join(parts)
        length = len(made)
        return (_LENGTHS[length] if length < 2048 else length_bytes(length)) + made

    def _header_name(self, name: str) -> bytes:
        if len(self._names) >= _REMEMBERED_MAX:
            self._names.clear()
        made = self._names[name] = _USER_PROPERTY + text_bytes(name)
        return made


class Reader:
    """Takes what the broker sends apart: acknowledgements, and the bytes of everything else, which is for the client."""

    def __init__(self, *, v5: bool) -> None:
        self._v5 = v5
        self._data = bytearray()

    def feed(self, data: bytes, acks: list[Ack], others: bytearray) -> None:
        """Add what `data` completes to `acks` and `others`. Raises Malformed."""
        buffer = self._data
        buffer += data
        start, end = 0, len(buffer)
        while end - start >= 2:
            length, size = buffer[start + 1], 2
            if length > 127:
                found = _length_in(buffer, start + 1, end)
                if found is None:
                    break
                length, size = found
            stop = start + size + length
            if stop > end:
                break
            kind = buffer[start] >> 4
            if kind not in ACKNOWLEDGEMENTS:
                others += buffer[start:stop]
            elif length == 2:
                acks.append(Ack(kind, buffer[stop - 2] << 8 | buffer[stop - 1], SUCCESS, ""))
            else:
                acks.append(self._long_ack(kind, buffer[start + size : stop]))
            start = stop
        del buffer[:start]

    def _long_ack(self, kind: int, content: bytearray) -> Ack:
        """One that gives its reason (3.4.2)."""
        if len(content) < 3 or not self._v5:
            raise Malformed(f"an acknowledgement of {len(content)} bytes")
        return Ack(kind, content[0] << 8 | content[1], content[2], _reason_string(content[3:]))


def _length_in(buffer: bytearray, start: int, end: int) -> tuple[int, int] | None:
    """The length that begins at `start`, and how many bytes the packet has before what it counts; None: not all of it is there."""
    length = shift = 0
    for position in range(start, min(end, start + 4)):
        byte = buffer[position]
        length |= (byte & 127) << shift
        if byte < 128:
            return length, position - start + 2
        shift += 7
    if end - start >= 4:
        raise Malformed("a length of more than four bytes")
    return None


def _reason_string(properties: bytearray) -> str:
    """The broker's own words, if it has some; they come first, or behind user properties, which tell us nothing."""
    found = _length_in(properties, 0, len(properties)) if properties else None
    position = 0 if found is None else found[1] - 1
    while position + 3 <= len(properties):
        identifier, length = properties[position], properties[position + 1] << 8 | properties[position + 2]
        text = properties[position + 3 : position + 3 + length]
        if identifier == _REASON_STRING:
            return text.decode("utf-8", "replace")
        if identifier != _USER_PROPERTY[0]:
            break
        position += 3 + length
        position += 2 + (properties[position] << 8 | properties[position + 1]) if position + 2 <= len(properties) else 2
    return ""
