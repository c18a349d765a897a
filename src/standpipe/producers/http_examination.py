"""What `standpipe doctor` says about an HTTP endpoint: whether it can be reached, and which settings lose or repeat messages.

No request is made: only the connection is opened, because every request could do something.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from standpipe.core.errors import NotSent
from standpipe.core.finding import Finding, Severity
from standpipe.producers.addresses import Url, is_local
from standpipe.producers.http_config import HttpProducerConfig
from standpipe.producers.http_errors import ERRORS
from standpipe.producers.http_url import PORTS, UrlTemplate
from standpipe.producers.tls import ssl_context

KEEP_ALIVE_SAFE = 5.0
"""Seconds after which common servers (Node.js, uvicorn) close an idle connection."""


def findings(config: HttpProducerConfig) -> Iterator[Finding]:
    """What there is to say. Raises SendError if the endpoint, or the proxy in front of it, cannot be reached."""
    addresses = dict.fromkeys(UrlTemplate(text).address for text in (config.url, config.error_url) if text is not None)
    for address in addresses:
        yield from _reached(config, address)
        if address.scheme == "http" and not is_local(address.host):
            yield Finding(
                Severity.WARNING,
                f"requests to {address.host} are not encrypted",
                "whoever is between here and there can read and change messages and logins",
                "write https:// in url",
            )
    yield from _settings(config)


def _reached(config: HttpProducerConfig, address: Url) -> Iterator[Finding]:
    target = config.proxy or address
    try:
        with socket.create_connection((target.host, target.port or PORTS[target.scheme]), config.connect_timeout) as connection:
            if config.proxy is None and address.scheme == "https":
                yield _encrypted(config, address, connection)
                return
    except TimeoutError as error:
        raise NotSent(f"no connection to {target.host}:{target.port} within connect_timeout ({config.connect_timeout:g} s)") from error
    except OSError as error:
        raise ERRORS.translate(error) from error
    what = "the proxy" if config.proxy is not None else "the server"
    yield Finding(Severity.INFO, f"{what} {target.host}:{target.port} can be reached", "requests can be sent there", "")


def _encrypted(config: HttpProducerConfig, address: Url, connection: socket.socket) -> Finding:
    context = ssl_context(config.tls) if config.tls is not None else ssl.create_default_context()
    name = config.tls.server_name if config.tls is not None and config.tls.server_name is not None else address.host
    with context.wrap_socket(connection, server_hostname=name) as secured:
        version = secured.version()
        if context.verify_mode is ssl.CERT_NONE:
            return Finding(
                Severity.CRITICAL,
                f"the certificate of {address.host} is not checked (tls.verify is false)",
                "anybody between here and there can pose as the server, read the messages and swallow them with a 200",
                "remove tls.verify, and name the authority of the certificate in tls.ca_file",
            )
        until = (secured.getpeercert() or {}).get("notAfter", "unknown")
    return Finding(
        Severity.INFO,
        f"{address.host}:{address.port} has a good certificate, until {until}, and speaks {version}",
        "nobody reads along",
        "",
    )


def _settings(config: HttpProducerConfig) -> Iterator[Finding]:
    if (
        config.idempotency_header is None
        and config.message_id_header is None
        and "id" not in config.field_names
        and config.cloudevents is None
    ):
        yield Finding(
            Severity.WARNING,
            "no request carries the message id (idempotency_header is none)",
            "the server cannot recognise messages that come twice after a lost connection or a restart",
            "set idempotency_header or message_id_header, or put the id into the body with fields",
        )
    odd = sorted(status for status in config.statuses().success.statuses if not 200 <= status < 300)
    if odd:
        yield Finding(
            Severity.WARNING,
            f"answers {', '.join(map(str, odd[:5]))}{' ...' if len(odd) > 5 else ''} count as delivered",
            "messages that the server refuses with such a status are lost without a trace",
            "keep in success_statuses only what the server answers when it has the message",
        )
    if config.send_timeout is None and config.read_timeout is None:
        yield Finding(
            Severity.WARNING,
            "nothing bounds how long an answer is awaited (send_timeout and read_timeout are none)",
            f"a server that hangs stops delivery for good once it holds {config.concurrency} requests",
            "set send_timeout, such as 30s",
        )
    if config.keep_alive >= KEEP_ALIVE_SAFE:
        yield Finding(
            Severity.INFO,
            f"idle connections are kept for {config.keep_alive:g} s",
            "servers that close them sooner, many after 5 s, make requests fail that may have arrived: they are sent twice",
            "set keep_alive below the server's own time",
        )
