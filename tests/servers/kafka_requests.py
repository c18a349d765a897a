"""As much of Kafka's protocol as the front understands: https://kafka.apache.org/protocol."""

from __future__ import annotations

import struct
from typing import Any, Self

FLEXIBLE_PRODUCE = 9
"""From this version on, a Produce request has lengths of variable size and tagged fields."""


class Request:
    """A request of a client: its head, and its body from front to back."""

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self._at = 0
        self.api, self.version, self.correlation = self._numbers(">hhi")
        self.text()  # the client's name; null counts as empty

    def _numbers(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(form, self.frame, self._at)
        self._at += struct.calcsize(form)
        return found

    def _take(self, size: int) -> bytes:
        found = self.frame[self._at : self._at + size]
        self._at += size
        return found

    def text(self) -> str:
        """A string, or null as an empty one."""
        (size,) = self._numbers(">h")
        return self._take(max(0, size)).decode()

    def octets(self) -> bytes:
        """Bytes, their number before them."""
        (size,) = self._numbers(">i")
        return self._take(size)

    def _count(self) -> int:
        """A number of variable size, which is one more than what it counts."""
        found = shift = 0
        while True:
            (byte,) = self._take(1)
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return found - 1

    def _no_tags(self) -> None:
        assert self._take(1) == b"\0", "the front knows no tagged fields"

    def refused_produce(self, error: int) -> bytes:
        """The answer to this Produce request that none of its partitions was written, because of `error`."""
        assert self.version >= FLEXIBLE_PRODUCE, f"the front does not understand version {self.version} of Produce"
        self._no_tags()
        self._take(max(0, self._count()))  # the transactional id
        self._numbers(">hi")
        answer = Response(self).tags()
        topics = self._count()
        answer.count(topics)
        for _ in range(topics):
            name = self._take(self._count())
            partitions = self._count()
            answer.count(len(name)).raw(name).count(partitions)
            for _ in range(partitions):
                (partition,) = self._numbers(">i")
                self._take(max(0, self._count()))
                self._no_tags()
                answer.number(">i", partition).number(">h", error)
                # Offset, time and first offset, as brokers have them with an error; no records at fault, no text.
                answer.number(">q", -1).number(">q", -1).number(">q", -1).count(0).count(-1).tags()
            self._no_tags()
            answer.tags()
        return answer.number(">i", 0).tags().frame


class Response:
    """An answer, made from front to back."""

    def __init__(self, request: Request) -> None:
        self.frame = struct.pack(">i", request.correlation)

    def raw(self, data: bytes) -> Self:
        """As it is."""
        self.frame += data
        return self

    def number(self, form: str, value: int) -> Self:
        """In a format of `struct`."""
        return self.raw(struct.pack(form, value))

    def nullable_text(self, text: str | None) -> Self:
        """A string, or null."""
        return self.number(">h", -1) if text is None else self.number(">h", len(text.encode())).raw(text.encode())

    def texts(self, texts: list[str]) -> Self:
        """An array of strings."""
        self.number(">i", len(texts))
        for text in texts:
            self.nullable_text(text)
        return self

    def octets(self, data: bytes) -> Self:
        """Bytes, their number before them."""
        return self.number(">i", len(data)).raw(data)

    def count(self, count: int) -> Self:
        """In a number of variable size; -1: null. More than 126 would need more than a byte."""
        assert -1 <= count < 127, f"the front cannot write a length of {count}"
        return self.raw(bytes([count + 1]))

    def tags(self) -> Self:
        """No tagged fields."""
        return self.raw(b"\0")
