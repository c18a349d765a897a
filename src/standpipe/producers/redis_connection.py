"""A connection to Redis on which many commands go out together and every answer is looked at, within a given time.

redis-py opens the connection and logs in. Its pipelines cost several times what the server needs, so the commands of a batch
are packed and the answers parsed by hiredis directly.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, Connection, UnixDomainSocketConnection
from redis.retry import Retry

from standpipe.producers.redis_config import RedisProducerConfig
from standpipe.producers.tls import TlsConfig, ssl_context

READ_BYTES = 2**16
"""Read at once: the answers to two thousand messages."""
LAST_WORDS_SECONDS = 0.2
"""How long a server that takes no more is listened to, for why."""

IDLE_SECONDS = 1.0
"""After so long without a command it is looked whether the server has closed the connection meanwhile (its `timeout`, a load
balancer's): what is sent on a closed one might have arrived, as far as we know."""

_NOTHING: Final = object()

Word = str | bytes | int

pack = cast("Callable[[tuple[Word, ...]], bytes]", hiredis.pack_command)
"""A command as it is sent."""


class ServerError(redis.ResponseError):
    """An error that the server answered. `code` is its first word: `OOM`, `WRONGTYPE`, `ERR`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        code, _, _ = text.partition(" ")
        self.code = code if code.isupper() else "ERR"


class TlsFailed(redis.ConnectionError):
    """No encrypted connection can be made."""


@dataclass
class Answers:
    """What came back. Fewer than asked for: `failure` says why, and the connection is closed."""

    replies: list[Any] = field(default_factory=list)
    """values, and ServerErrors"""
    failure: Exception | None = None
    begun: bool = False
    """whether anything was handed to the system"""
    sent: bool = False
    """whether everything was handed to the system; if not, the last command did not get out"""


class SpeakingConnection(AbstractConnection):
    """A connection of redis-py, with answers read all together. For one thread."""

    context: ssl.SSLContext | None = None
    server_name: str = ""
    _reader: hiredis.Reader
    _used_at = float("inf")

    def _connect(self) -> socket.socket:
        """For redis-py: the socket. What follows at connecting may take as long as connecting itself."""
        sock: socket.socket = super()._connect()  # type: ignore[safe-super, no-untyped-call]
        try:
            sock.settimeout(self.socket_connect_timeout)
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_hostname=self.server_name)
        except ssl.SSLError as error:
            sock.close()
            raise TlsFailed(str(error)) from error
        except TimeoutError as error:  # a server that does not encrypt waits for the end of what it takes for a command
            sock.close()
            raise redis.TimeoutError("no answer to the request to encrypt; look whether the port is that for TLS") from error
        except BaseException:
            sock.close()
            raise
        self._reader = hiredis.Reader(replyError=ServerError, notEnoughData=_NOTHING)
        return sock

    def exchange(self, data: bytes, count: int, seconds: float | None) -> Answers:
        """Send commands and read their `count` answers, all within `seconds` (None: no limit). Raises nothing."""
        answers = Answers()
        sock = self._sock
        if sock is None:
            answers.failure = ConnectionError("the connection is closed")
            return answers
        now = time.monotonic()
        until = None if seconds is None else now + seconds
        if now - self._used_at >= IDLE_SECONDS and self.context is None and _has_ended(sock):
            answers.failure = ConnectionError("the server had closed the connection before anything was sent")
            self.disconnect()
            return answers
        try:
            sock.settimeout(seconds)
            answers.begun = True
            sock.sendall(data)
            answers.sent = True
        except OSError as error:
            answers.failure = error
            if isinstance(error, TimeoutError):
                self.disconnect()
                return answers
            until = time.monotonic() + LAST_WORDS_SECONDS
        self._read(sock, answers, count, until)
        self._used_at = time.monotonic()
        return answers

    def _read(self, sock: socket.socket, answers: Answers, count: int, until: float | None) -> None:
        gets, add, buffer = self._reader.gets, answers.replies.append, bytearray(READ_BYTES)
        try:
            while len(answers.replies) < count:
                reply = gets()
                if reply is not _NOTHING:
                    add(reply)
                    continue
                sock.settimeout(_left(until))
                received = sock.recv_into(buffer)
                if not received:
                    raise ConnectionError("the server closed the connection")
                self._reader.feed(buffer, 0, received)  # type: ignore[arg-type]  # its types do not know what it takes
        except (OSError, hiredis.HiredisError) as error:
            answers.failure = answers.failure or error
        if answers.failure is not None:
            self.disconnect()  # type: ignore[no-untyped-call]

    def ask(self, *words: Word, seconds: float | None) -> Any:
        """Send one command and return its answer. Raises ServerError, or why there is no answer."""
        answers = self.exchange(pack(words), 1, seconds)
        if answers.failure is not None and not answers.replies:
            raise answers.failure
        reply = answers.replies[0]
        if isinstance(reply, ServerError):
            raise reply
        return reply


class TcpConnection(SpeakingConnection, Connection):
    """To a host and port."""


class UnixConnection(SpeakingConnection, UnixDomainSocketConnection):
    """To a socket of this machine."""


def open_connection(config: RedisProducerConfig) -> SpeakingConnection:
    """Connect and log in. Raises redis-py's errors, OSErrors, and ConfigurationError for files of `tls`."""
    user, password = config.login
    options: dict[str, Any] = {
        "db": config.database,
        "username": user,
        "password": password,
        "socket_timeout": config.connect_timeout,
        "socket_connect_timeout": config.connect_timeout,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),  # by default redis-py would send again by itself, which doubles messages
        "protocol": 2,
    }
    url = config.url
    if url.scheme == "unix":
        kind: Any = UnixConnection
        options["path"] = url.path
    else:
        kind = TcpConnection
        options |= {"host": url.host, "port": url.port or 6379, "socket_keepalive": True}
    connection: SpeakingConnection = kind(**options)
    if url.scheme == "rediss":
        tls = config.tls or TlsConfig()
        connection.context, connection.server_name = ssl_context(tls), tls.server_name or url.host
    try:
        connection.connect()  # type: ignore[no-untyped-call]
    except redis.ConnectionError as error:
        if isinstance(error.__context__, ssl.SSLError) and (config.tls is None or config.tls.cert_file is None):
            # With TLS 1.3 a server refuses clients without a certificate only after the handshake.
            raise TlsFailed(f"{error}; the server may want a certificate: tls.cert_file") from error
        raise
    return connection


def _has_ended(sock: socket.socket) -> bool:
    """Whether there is something to read although nothing was asked: the end, or what we would take for an answer."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


def _left(until: float | None) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
