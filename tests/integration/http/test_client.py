"""The client on its own: what becomes of connections whose request has not been answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from yarl import URL

from standpipe.producers.http_client import HttpClient
from standpipe.producers.http_config import HttpProducerConfig

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def client_of(handle: Handle, **settings: Any) -> AsyncIterator[Callable[[], Awaitable[aiohttp.ClientResponse]]]:
    """Sends a request to a server that treats each connection with `handle`."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"
    client = HttpClient(HttpProducerConfig.model_validate({"name": "tested", "url": url, **settings}), {"ssl": True})
    async with server, asyncio.timeout(30):
        try:
            yield lambda: client.request(URL(url), {"Content-Type": "application/json"}, b"{}")
        finally:
            await client.close()


def test_a_request_that_is_given_up_takes_its_connection_with_it() -> None:
    async def story() -> None:
        asked, left = asyncio.Event(), asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"{}")
            asked.set()
            assert await reader.read() == b"", "nothing else comes over a connection whose answer nobody waits for"
            writer.close()
            left.set()

        async with client_of(silent) as send:
            sending = asyncio.ensure_future(send())
            await asked.wait()
            sending.cancel()
            await left.wait()
            with pytest.raises(asyncio.CancelledError):
                await sending

    asyncio.run(story())


def test_a_kept_connection_that_turns_out_to_be_closed_is_told_and_nothing_is_repeated() -> None:
    async def story() -> None:
        requests = 0

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal requests
            await reader.readuntil(b"{}")
            requests += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await reader.readuntil(b"{}")
            requests += 1
            writer.transport.abort()

        async with client_of(once, method="PUT") as send:
            assert (await send()).status == 200
            with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
                await send()
            assert requests == 2

    asyncio.run(story())


def test_waiting_for_a_free_connection_ends_with_the_connect_timeout() -> None:
    async def story() -> None:
        asked = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"{}")
            asked.set()
            await reader.read()
            writer.close()

        async with client_of(silent, concurrency=1, connect_timeout=0.05) as send:
            first = asyncio.ensure_future(send())
            await asked.wait()
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await send()
            first.cancel()
            await asyncio.wait([first])

    asyncio.run(story())
