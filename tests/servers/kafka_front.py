"""Stands before a Kafka broker that has no logins and never fails: asks for them, and refuses messages as brokers do."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from tests.servers.kafka_logins import Conversation, LoginRefused, Logins
from tests.servers.kafka_requests import Request, Response

HOST = "127.0.0.1"
STARTS_WITHIN = 5.0
PRODUCE, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 0, 17, 18, 36
UNSUPPORTED_MECHANISM, LOGIN_FAILED = 33, 58


@dataclass
class _Session:
    """One connection, until it is let in."""

    mechanism: str = ""
    conversation: Conversation | None = None
    let_in: bool = False


class _Cut(Exception):
    """The connection ends here."""


class KafkaFront:
    """Listens on `port` and passes requests on to `upstream`, both on loopback. In a thread of this process.

    With `logins` nobody gets further without one. `produce_error`: while it is not 0, each Produce request is answered with
    that error and goes no further (56: the disk has failed or is full; 44: against the broker's policy; 29: no permission).
    """

    def __init__(self, port: int, upstream: int, logins: Logins | None = None) -> None:
        self.logins = logins
        self.produce_error = 0
        self.refused_requests = 0
        self.refused_logins = 0
        self.let_in: list[str] = []
        """the mechanisms of the logins that were good"""
        self._port, self._upstream = port, upstream
        self._connections: set[asyncio.StreamWriter] = set()
        self._listening = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="kafka-front", daemon=True)

    def start(self) -> None:
        """Returns when it listens."""
        self._thread.start()
        assert self._listening.wait(STARTS_WITHIN), "the Kafka front does not listen"

    def drop(self) -> None:
        """Cut all connections; new ones are accepted."""
        self._loop.call_soon_threadsafe(self._cut_all)

    def close(self) -> None:
        """Cuts all connections. May be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(STARTS_WITHIN)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._connected, HOST, self._port)
        self._listening.set()
        await self._end.wait()
        server.close()  # the runner then cancels the connections' tasks

    def _cut_all(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    # --- one connection -----------------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            with contextlib.suppress(OSError, EOFError, _Cut, asyncio.CancelledError):
                from_broker, to_broker = await asyncio.open_connection(HOST, self._upstream)
                try:
                    await self._log_in(reader, writer, from_broker, to_broker)
                    await _until_one_ends(self._requests(reader, writer, to_broker), _frames(from_broker, writer))
                finally:
                    to_broker.transport.abort()
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _log_in(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_broker: asyncio.StreamReader, to_broker: asyncio.StreamWriter
    ) -> None:
        """Request by request. Before a login brokers answer nothing else but which versions they speak."""
        session = _Session(let_in=self.logins is None)
        while not session.let_in:
            request = Request(await _frame(reader))
            if request.api == API_VERSIONS:
                _send(to_broker, request.frame)
                _send(writer, await _frame(from_broker))
                continue
            _send(writer, self._answer(request, session))
            await writer.drain()
            if request.api == SASL_AUTHENTICATE and session.conversation is None and not session.let_in:
                writer.write_eof()  # what was said still arrives
                await reader.read()
                raise _Cut

    def _answer(self, request: Request, session: _Session) -> bytes:
        assert self.logins is not None
        if request.api == SASL_HANDSHAKE:
            session.mechanism = request.text()
            good = session.mechanism in self.logins.offered
            session.conversation = self.logins.conversation(session.mechanism) if good else None
            return Response(request).number(">h", 0 if good else UNSUPPORTED_MECHANISM).texts(self.logins.offered).frame
        if request.api != SASL_AUTHENTICATE or session.conversation is None:
            raise _Cut
        try:
            said, error, why = session.conversation.send(request.octets()), 0, None
        except StopIteration as end:
            said, error, why = end.value, 0, None
            session.let_in = True
            self.let_in.append(session.mechanism)
        except LoginRefused as refused:
            said, error, why = b"", LOGIN_FAILED, str(refused)
            session.conversation = None
            self.refused_logins += 1
        return Response(request).number(">h", error).nullable_text(why).octets(said).number(">q", 0).frame

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_broker: asyncio.StreamWriter) -> None:
        while True:
            frame = await _frame(reader)
            (api,) = struct.unpack_from(">h", frame)
            if api == PRODUCE and self.produce_error:
                self.refused_requests += 1
                _send(writer, Request(frame).refused_produce(self.produce_error))
            else:
                _send(to_broker, frame)
                await to_broker.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _send(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)


async def _frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Whole ones: an answer of ours must not come in the middle of the broker's."""
    while True:
        _send(writer, await _frame(reader))
        await writer.drain()


async def _until_one_ends(*both: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.ensure_future(each) for each in both]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
