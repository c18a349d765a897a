"""One HTTP request over a kept connection, made of the parts of aiohttp that its `ClientSession` is made of too.

The session would look anew for every request at what is decided here once or not wanted: cookies, logins in URLs, default headers,
redirects, middlewares. That takes a tenth of a small request or more. It also repeats a PUT by itself when a kept connection turns
out to be closed: an attempt that nobody would count.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from yarl import URL

from standpipe.producers.http_config import HttpProducerConfig


class HttpClient:
    """Keeps connections, and sends requests over them. `options`: `ssl`, `server_hostname`, `proxy` and `proxy_headers` as in aiohttp.

    For one event loop, which has to run when it is made.
    """

    def __init__(self, config: HttpProducerConfig, options: dict[str, Any]) -> None:
        self._connector = aiohttp.TCPConnector(limit=config.concurrency, keepalive_timeout=config.keep_alive)
        self._method = config.method
        self._read_timeout = config.read_timeout
        # `send_timeout` is the engine's, for the whole attempt: a second clock for it would only cost time.
        self._timeout = aiohttp.ClientTimeout(total=None, connect=config.connect_timeout, sock_connect=config.connect_timeout)
        self._options = {**options, "loop": asyncio.get_running_loop(), "response_class": aiohttp.ClientResponse}

    async def request(self, url: URL, headers: dict[str, str], body: Any) -> aiohttp.ClientResponse:
        """Send a request; returns when the headers of the answer are here. Raises aiohttp's errors."""
        request = aiohttp.ClientRequest(self._method, url, headers=headers, data=body, **self._options)
        try:
            connection = await self._connector.connect(request, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError("no connection in time") from error
        transport = connection.transport
        try:
            return await self._exchange(request, connection)
        except BaseException as error:
            connection.close()
            _abort(transport)
            if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError):
                raise aiohttp.ClientOSError(*error.args) from error
            raise

    async def _exchange(self, request: aiohttp.ClientRequest, connection: Any) -> aiohttp.ClientResponse:
        # Answers are asked for uncompressed; what is compressed nevertheless is kept as it is.
        connection.protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_timeout=self._read_timeout)
        response = await request.send(connection)
        try:
            return await response.start(connection)
        except BaseException:
            response.close()
            raise

    async def close(self) -> None:
        """Close all connections."""
        await self._connector.close()


def hang_up(response: aiohttp.ClientResponse) -> None:
    """End what is still open of a response."""
    transport = None if response.connection is None else response.connection.transport
    response.close()
    _abort(transport)


def _abort(transport: asyncio.Transport | None) -> None:
    """An orderly end would send what has been given up, and with TLS wait for an answer, longer than anybody is there."""
    if transport is not None:
        transport.abort()
