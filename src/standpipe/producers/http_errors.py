"""What errors of the HTTP client mean for the messages of a request.

Everything after the first byte of a request is ambiguous: the server may have taken the message before the connection broke,
also when the connection was an idle one that it had just closed. Only what happens while a connection is being opened is not.
"""

from __future__ import annotations

import socket
import ssl

import aiohttp
from yarl import URL

from standpipe.core.errors import Misconfigured, NotSent, SendError
from standpipe.producers.error_table import ErrorRow, ErrorTable
from standpipe.producers.http_url import without_target
from standpipe.producers.tls_errors import certificate_rows


def _refused_by_proxy(error: BaseException) -> bool:
    return isinstance(error, aiohttp.ClientHttpProxyError) and error.status in (401, 403, 407)


ERRORS = ErrorTable(
    "HTTP",
    *certificate_rows("server"),
    ErrorRow(
        "the TLS handshake fails",
        (aiohttp.ClientConnectorSSLError, ssl.SSLError),
        NotSent,
        "the server does not speak TLS as expected; check the scheme and the port in url, and tls.min_version",
    ),
    ErrorRow(
        "the proxy refuses the user or the destination",
        _refused_by_proxy,
        Misconfigured,
        "the proxy refuses; correct user and password in proxy",
    ),
    ErrorRow(
        "the proxy cannot reach the server", aiohttp.ClientHttpProxyError, NotSent, "the proxy could not open a connection to the server"
    ),
    ErrorRow("the proxy cannot be reached", aiohttp.ClientProxyConnectionError, NotSent, "the proxy cannot be reached; check proxy"),
    ErrorRow(
        "the host name is unknown",
        (aiohttp.ClientConnectorDNSError, socket.gaierror),
        NotSent,
        "the host name cannot be resolved; check the host in url, and DNS",
    ),
    ErrorRow(
        "no connection can be opened, or not within `connect_timeout`",
        (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ConnectionRefusedError),
        NotSent,
        "the server cannot be reached; check the host and the port in url, and whether the server runs",
    ),
    ErrorRow(
        "the server is silent for longer than `read_timeout`",
        aiohttp.SocketTimeoutError,
        SendError,
        "the server was silent for longer than read_timeout",
    ),
    ErrorRow(
        "the connection ends before the answer",
        aiohttp.ServerDisconnectedError,
        SendError,
        "the server closed the connection without an answer",
    ),
    ErrorRow("the answer breaks off", aiohttp.ClientPayloadError, SendError, "the answer broke off in the middle"),
    ErrorRow(
        "the answer is not HTTP", aiohttp.ClientResponseError, SendError, "the answer is not HTTP; check the scheme and the port in url"
    ),
    ErrorRow("the connection breaks", (aiohttp.ClientConnectionError, OSError), SendError, "the connection broke"),
)


def hide_target(error: BaseException, url: URL) -> None:
    """Take path and query of the request out of what the client says in `error`."""
    if isinstance(error, aiohttp.ClientResponseError):
        info = error.request_info
        error.request_info = aiohttp.RequestInfo(url.origin(), info.method, info.headers, url.origin())
    else:
        error.args = tuple(without_target(each, url) if isinstance(each, str) else each for each in error.args)
