"""Messages as they go over the wire: the frames of `basic.publish` (AMQP 0-9-1, 2.3.5 and 4.2).

pika makes objects for each frame and hands each to the socket alone: 20 us for a message, ten times as much as it costs to
write the frames of a whole batch next to each other and hand them over at once. The tests compare with pika's, byte by byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from pika import frame, spec

CHUNK = 2**18
"""Bytes that are joined before they are handed to the socket; more would only copy larger pieces."""

_OVERHEAD = 8  # type, channel, length and end of a frame
_HEAD_PREFIX = b"\x00\x3c\x00\x00"  # class `basic`, weight 0
_END = b"\xce"
_FLAG_HEADERS = 1 << 13
_FLAG_CORRELATION_ID = 1 << 10
_KNOWN_MAX = 1000
"""Routes whose frame is remembered: as many exchanges and routing keys as most applications have."""

_frame_start = Struct(">BHI").pack
_length = Struct(">I").pack
_long_string = Struct(">cI").pack
_size = Struct(">Q").pack
_flags = Struct(">H").pack


class HeadersTooLarge(Exception):
    """the headers of a message do not fit into one frame"""


def short_string(text: str) -> bytes:
    """A short string. Raises ValueError if it is longer than 255 bytes."""
    data = text.encode()
    if len(data) > 255:
        raise ValueError(f"{len(data)} bytes, and 255 is the most there can be")
    return bytes((len(data),)) + data


def header_table(headers: Mapping[str, str]) -> bytes:
    """Headers as a field table. Raises UnicodeEncodeError for what is not Unicode."""
    pieces: list[bytes] = []
    for name, value in headers.items():
        data = value.encode()
        pieces += (short_string(name), _long_string(b"S", len(data)), data)
    body = b"".join(pieces)
    return _length(len(body)) + body


class Frames:
    """Encodes messages for one channel. Not thread-safe."""

    def __init__(
        self,
        channel: int,
        frame_max: int,
        *,
        content_type: str,
        persistent: bool,
        mandatory: bool,
        content_encoding: str | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
    ) -> None:
        self._channel = channel
        self._body_max = frame_max - _OVERHEAD
        self._mandatory = mandatory
        same = spec.BasicProperties(content_type, content_encoding, None, 2 if persistent else 1, priority)
        same.expiration = None if expiration_ms is None else str(expiration_ms)
        same.message_id = ""
        self._flags = int.from_bytes(same.encode()[0], "big")
        self._first = short_string(content_type) + (b"" if content_encoding is None else short_string(content_encoding))
        self._second = bytes((2 if persistent else 1,)) + (b"" if priority is None else bytes((priority,)))
        self._third = b"" if expiration_ms is None else short_string(str(expiration_ms))
        self._plain = _flags(self._flags) + self._first + self._second + self._third
        self._head_start = _frame_start(2, channel, 0)[:3]
        self._body_start = _END + _frame_start(3, channel, 0)[:3]
        self._routes: dict[tuple[str, str], bytes] = {}
        self._table_of: tuple[object, bytes] = (None, b"")

    def add(
        self,
        pieces: list[bytes],
        exchange: str,
        routing_key: str,
        id: str,
        body: bytes,
        headers: Mapping[str, str],
        mark: str | None = None,
    ) -> None:
        """Add the frames of one message to `pieces`. `mark`: the property `correlation_id`. Nothing is added when it raises:
        HeadersTooLarge; ValueError (UnicodeEncodeError among them) for an id or header that cannot be encoded."""
        last = short_string(id)
        if headers or mark is not None:
            properties = self._with_headers(headers, mark) + last
            if len(properties) + 12 > self._body_max:
                raise HeadersTooLarge(f"{len(properties)} bytes of headers, and {self._body_max - 12} fit into a frame")
        else:
            properties = self._plain + last
        size = len(body)
        pieces += (
            self._routes.get((exchange, routing_key)) or self._route(exchange, routing_key),
            self._head_start,
            _length(12 + len(properties)),
            _HEAD_PREFIX,
            _size(size),
            properties,
        )
        if 0 < size <= self._body_max:
            pieces += (self._body_start, _length(size), body, _END)
        else:
            self._add_long(pieces, body)

    def _add_long(self, pieces: list[bytes], body: bytes) -> None:
        for start in range(0, len(body), self._body_max):
            part = body[start : start + self._body_max]
            pieces += (self._body_start, _length(len(part)), part)
        pieces.append(_END)

    def _with_headers(self, headers: Mapping[str, str], mark: str | None) -> bytes:
        if self._table_of[0] is not headers:  # messages that have nothing of their own share one dict
            self._table_of = (headers, header_table(headers) if headers else b"")
        table = self._table_of[1]
        flags = self._flags | (_FLAG_HEADERS if headers else 0) | (_FLAG_CORRELATION_ID if mark is not None else 0)
        correlation = b"" if mark is None else short_string(mark)
        return _flags(flags) + self._first + table + self._second + correlation + self._third

    def _route(self, exchange: str, routing_key: str) -> bytes:
        method = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=self._mandatory)
        made: bytes = frame.Method(self._channel, method).marshal()
        if len(self._routes) >= _KNOWN_MAX:
            self._routes.clear()
        self._routes[exchange, routing_key] = made
        return made
