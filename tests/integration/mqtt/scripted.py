"""A broker that says what the test tells it to: for reasons that a real one gives only in rare states."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType

CONNECT, PUBLISH, PUBREL, PINGREQ = 1, 3, 6, 12
WELCOME = b"\x20\x03\x00\x00\x00"
"""CONNACK of MQTT 5, success, without properties."""

Answer = Callable[[int, bytes], bytes | None]
"""Gets a PUBLISH, PUBREL or PINGREQ (type and body), gives what is answered; None: hang up."""


def packet(kind: int, body: bytes) -> bytes:
    """A packet of less than 128 bytes."""
    return bytes((kind << 4, len(body))) + body


def disconnect(code: int) -> bytes:
    """DISCONNECT with a reason."""
    return packet(14, bytes((code, 0)))


def packet_id(body: bytes) -> bytes:
    """That of a PUBLISH."""
    start = 2 + int.from_bytes(body[:2], "big")
    return body[start : start + 2]


def ack(kind: int, body: bytes, code: int = 0, text: str = "") -> bytes:
    """PUBACK, PUBREC or PUBCOMP for a PUBLISH (or PUBREL), with its reason."""
    identifier = packet_id(body) if len(body) > 4 else body[:2]
    reason = b"\x1f" + len(text).to_bytes(2, "big") + text.encode() if text else b""
    return packet(kind, identifier + (bytes((code, len(reason))) + reason if code else b""))


class ScriptedBroker:
    """Listens on a port of its own, while it is entered. `welcome`: what each CONNECT is answered, the last one for all others."""

    def __init__(self, answer: Answer, *welcome: bytes) -> None:
        self._answer = answer
        self._welcome = list(welcome or (WELCOME,))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.url = f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"
        self.published: list[bytes] = []
        self.connections = 0

    def __enter__(self) -> ScriptedBroker:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="scripted-broker", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.add(connection)
                self.connections += 1
                self._start(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), connection, connection.makefile("rb") as stream:
            while True:
                kind, body = _read(stream.read)
                if kind == CONNECT:
                    said: bytes | None = self._welcome.pop(0) if len(self._welcome) > 1 else self._welcome[0]
                elif kind in (PUBLISH, PUBREL, PINGREQ):
                    self.published += [body] if kind == PUBLISH else []
                    said = self._answer(kind, body)
                else:
                    continue
                if said is None:
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                connection.sendall(said)
        self._open.discard(connection)


def _read(read: Callable[[int], bytes]) -> tuple[int, bytes]:
    first = read(1)
    if not first:
        raise EOFError
    length = shift = 0
    while True:
        byte = read(1)[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return first[0] >> 4, read(length)
