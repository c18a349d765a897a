"""Stands before a Kafka broker that has no logins and never fails: asks for them, and refuses messages as brokers do."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from tests.servers.kafka_logins import Conversation, LoginRefused, Logins
from tests.servers.kafka_requests import Request, Response
from tests.servers.listener import HOST, Listener

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
        self._upstream = upstream
        self._listener = Listener("kafka-front", port, self._connected)
        self.start, self.drop, self.close = self._listener.start, self._listener.drop, self._listener.close

    # --- one connection -----------------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(_Cut):
            from_broker, to_broker = await asyncio.open_connection(HOST, self._upstream)
            try:
                await self._log_in(reader, writer, from_broker, to_broker)
                await _until_one_ends(self._requests(reader, writer, to_broker), _frames(from_broker, writer))
            finally:
                to_broker.transport.abort()
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
