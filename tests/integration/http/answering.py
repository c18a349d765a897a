"""An HTTP server in a thread that notes every request and answers as a test says: rightly, wrongly, slowly, by half or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self

from tests.servers.listener import Listener

WITHIN = 20.0
"""Seconds that a test waits for requests; they come within milliseconds."""


class Received(NamedTuple):
    """A request that has come in whole. Header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """a number for each connection"""


@dataclass(frozen=True)
class Reply:
    """What to answer. `raw`: these bytes instead of an answer made of the other fields."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: bytes | None = None
    then: Literal["keep", "close", "reset", "hang"] = "keep"
    """what becomes of the connection afterwards; `hang`: it stays open and nothing more comes"""

    def encoded(self) -> bytes:
        if self.raw is not None:
            return self.raw
        lines = [
            f"HTTP/1.1 {self.status} Said",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {text}" for name, text in self.headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


async def read_request(reader: asyncio.StreamReader, connection: int = 0) -> Received | None:
    """The next request of a connection; None at its end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        return None
    method, target, _ = first.split(" ")
    return Received(method, target, headers, body, connection)


class AnsweringServer:
    """Answers with `script(request, number)`, called on the server's thread; the number counts requests from 0.

    A CONNECT that is answered with 200 gets its tunnel: then it is a proxy. A context manager; it listens on loopback from entry to exit.
    """

    def __init__(self, script: Callable[[Received, int], Reply] | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.script = script or (lambda request, number: Reply())
        self.received: list[Received] = []
        self.connections = 0
        self._tls = tls
        self._changed = threading.Condition()
        self._listener = Listener("answering-server", 0, self._connection, tls=tls)

    @property
    def port(self) -> int:
        """Known from entry on."""
        return self._listener.port

    @property
    def url(self) -> str:
        """With the host for which certificates are made."""
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}"

    def wait_for(self, count: int) -> list[Received]:
        """All requests, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= count, WITHIN), f"{len(self.received)} of {count} requests came"
            return list(self.received)

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        while (request := await read_request(reader, number)) is not None:
            reply = self._note(request)
            writer.write(reply.encoded())
            if request.method == "CONNECT" and reply.status == 200:
                await _tunnel(request.target, reader, writer)
                break
            if reply.then == "hang":
                await asyncio.Event().wait()  # until the server ends
            if reply.then == "reset":
                writer.transport.abort()
            if reply.then != "keep":
                break

    def _note(self, request: Received) -> Reply:
        with self._changed:
            reply = self.script(request, len(self.received))
            self.received.append(request)
            self._changed.notify_all()
        return reply


async def _tunnel(target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, _, port = target.rpartition(":")
    there, to_there = await asyncio.open_connection(host, int(port))
    try:
        await asyncio.gather(_pass_on(reader, to_there), _pass_on(there, writer), return_exceptions=True)
    finally:
        to_there.transport.abort()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
    target.close()


@contextlib.contextmanager
def answering(*replies: Reply, tls: ssl.SSLContext | None = None) -> Iterator[AnsweringServer]:
    """A server that gives these answers in turn, the last one for ever; without any it takes everything."""
    given = replies or (Reply(),)
    with AnsweringServer(lambda request, number: given[min(number, len(given) - 1)], tls=tls) as server:
        yield server
