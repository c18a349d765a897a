"""TLS in front of a server that has none: takes it off and passes the bytes on."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from tests.servers.certificates import ServerTls
from tests.servers.listener import HOST, Listener

CHUNK = 2**16


class TlsFront:
    """Listens on `port`, talks to `upstream` on loopback. In a thread of this process: it is frozen and killed with nothing.

    `rest`: seconds in which it collects what the server says next, which then comes in few and large records of TLS.
    """

    def __init__(self, port: int, upstream: int, tls: ServerTls, *, rest: float = 0.0) -> None:
        self._upstream, self._rest = upstream, rest
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(tls.pair.cert_file, tls.pair.key_file)
        if tls.client_required:
            self._context.load_verify_locations(tls.ca_file)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = Listener("tls-front", port, self._pass_on)
        self.start, self.close = self._listener.start, self._listener.close

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Encrypted(self._context, reader, writer)
        await client.shake_hands()
        upstream_reader, upstream_writer = await asyncio.open_connection(HOST, self._upstream)
        pumps = [
            asyncio.ensure_future(_inwards(client, upstream_writer)),
            asyncio.ensure_future(_outwards(upstream_reader, client, self._rest)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            upstream_writer.transport.abort()  # before anything is awaited: another end may come there
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer.transport.abort()


class _Encrypted:
    """A connection with TLS, from the server's side. asyncio's own just hangs up on a client that it refuses; servers say why."""

    def __init__(self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def shake_hands(self) -> None:
        """Raises OSError if the client has not what it needs, or does not trust us."""
        try:
            while not await self._agreed():
                await self._feed()
        except ssl.SSLError:
            await self._flush()
            self._writer.write_eof()
            await self._reader.read()  # until the client hangs up: what it has sent would turn our end into a reset
            raise

    async def _agreed(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        await self._flush()
        return True

    async def read(self) -> bytes:
        """What the client says; nothing at its end."""
        while True:
            try:
                return self._tls.read(CHUNK)
            except ssl.SSLWantReadError:
                await self._feed()
            except ssl.SSLError:
                return b""

    async def write(self, data: bytes) -> None:
        """Say it to the client."""
        self._tls.write(data)
        await self._flush()

    async def _feed(self) -> None:
        await self._flush()
        if data := await self._reader.read(CHUNK):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        self._writer.write(self._outgoing.read())
        await self._writer.drain()


async def _inwards(client: _Encrypted, server: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await client.read():
            server.write(data)
            await server.drain()


async def _outwards(server: asyncio.StreamReader, client: _Encrypted, rest: float) -> None:
    with contextlib.suppress(OSError):
        while data := await server.read(CHUNK):
            await client.write(data)
            await asyncio.sleep(rest)
