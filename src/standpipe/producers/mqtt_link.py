"""One connection to a broker, driven from the producer's worker thread: paho's client, without any thread of its own.

The client opens and ends the connection, speaks for it and keeps it alive. Published messages and their acknowledgements go
past it, through the same socket: `mqtt_wire.py` stands between, reads and writes much at once, and sorts what comes. So the
client never has a message, and never sends one again by itself after a connection was lost.
"""

from __future__ import annotations

import contextlib
import errno
import math
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from standpipe.producers.mqtt_config import PACKET_MAX, WEBSOCKETS, MqttProducerConfig
from standpipe.producers.mqtt_errors import Closed, ConnectTimeout, Ended, HungUp, NotAdmitted
from standpipe.producers.mqtt_packets import FAILURE, Ack
from standpipe.producers.mqtt_wire import Wire
from standpipe.producers.tls import TlsConfig, ssl_context

TURN = 0.1
"""Seconds at most between two looks at the deadline, and at whether anybody still waits, while a connection is opened."""
BUFFERED_MAX = 2**20
"""Bytes that wait for the socket before no more messages are taken: several round trips' worth on a fast network."""
FAREWELL = 0.5
"""Seconds for the last bytes to leave; it takes none unless the broker is frozen."""

_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


class _Client(paho.Client):
    """paho's client on a connection that can be given up while it is opened."""

    def __init__(self, config: MqttProducerConfig, client_id: str, still_wanted: Callable[[], None]) -> None:
        scheme = config.url.scheme
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if config.is_v5 else config.clean_start,
            protocol=paho.MQTTv5 if config.is_v5 else paho.MQTTv311,
            transport="websockets" if scheme in WEBSOCKETS else "tcp",
            reconnect_on_failure=False,
        )
        self._standpipe = (config, still_wanted)
        self.wire: Wire | None = None
        self.socket_made: socket.socket | None = None
        self.connect_timeout = config.connect_timeout
        self.username, self.password = config.login
        if scheme in WEBSOCKETS:
            path = config.url.path or "/mqtt"
            self.ws_set_options(f"{path}?{config.url.query}" if config.url.query else path)
        if config.encrypted:
            self.tls_set_context(ssl_context(config.tls or TlsConfig()))

    # Should a later version of paho not call these any more, `Link.open` says so.

    def _create_socket(self) -> Any:
        self.wire = Wire(super()._create_socket(), self._standpipe[0].is_v5)
        return self.wire

    def _create_socket_connection(self) -> socket.socket:
        url = self._standpipe[0].url
        failure: OSError | None = None
        for family, kind, number, _, address in socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, number)
            try:
                self._open(sock, address)
            except BaseException as error:
                sock.close()
                if not isinstance(error, OSError):
                    raise
                failure = error
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.socket_made = sock
                return sock
        raise failure or ConnectionRefusedError("the host has no address")

    def _open(self, sock: socket.socket, address: Any) -> None:
        sock.setblocking(False)
        code = sock.connect_ex(address)
        while code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
            self._wait(sock, select.POLLOUT)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not code:
                break
        if code:
            raise OSError(code, f"{address[0]} port {address[1]}: {errno.errorcode.get(code, code)}")

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        config, _ = self._standpipe
        name = (config.tls.server_name if config.tls is not None else None) or config.url.host
        context = ssl_context(config.tls or TlsConfig())
        tcp_sock.getpeername()  # raises if the connection has ended: Python 3.11 would then leave the socket open that it makes
        wrapped = context.wrap_socket(tcp_sock, server_hostname=name, do_handshake_on_connect=False)
        self.socket_made = wrapped
        while True:
            try:
                wrapped.do_handshake()
                return wrapped
            except ConnectionError as error:
                raise ssl.SSLError(error.errno or 0, f"hung up during the handshake: {error}") from error
            except ssl.SSLWantReadError:
                self._wait(wrapped, select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(wrapped, select.POLLOUT)

    def _wait(self, sock: socket.socket, event: int) -> None:
        poll = select.poll()
        poll.register(sock, event)
        while not poll.poll(TURN * 1000):
            self._standpipe[1]()
        self._standpipe[1]()


class Link:
    """A connection; made for one `open`. Everything but `wake` is for one thread."""

    def __init__(self, config: MqttProducerConfig, client_id: str, given_up: Callable[[], bool]) -> None:
        self._config = config
        self._given_up = given_up
        self._until = 0.0
        self._waker = socket.socketpair()
        for end in self._waker:
            end.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._waker[0], select.POLLIN)
        self._watched: int | None = None
        self._client: Any = None
        self._client_id = client_id
        self._wire: Wire | None = None
        self._admitted = False
        self.lost: BaseException | None = None
        """why it is of no use any more"""
        self.server: dict[str, Any] = {}
        """what the broker said of itself when it let us in, by the names that the specification has for it"""

    # --- opening ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and log in. Raises what went wrong."""
        config = self._config
        self._until = time.monotonic() + config.connect_timeout
        client = self._client = _Client(config, self._client_id, self._check_time)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        more: dict[str, Any] = {"clean_start": config.clean_start, "properties": _connect_properties(config)} if config.is_v5 else {}
        client.connect(config.url.host, config.url.port or 1883, math.ceil(config.keepalive), **more)
        self._wire = client.wire
        if self._wire is None:
            raise RuntimeError("this version of paho-mqtt opens its connections in another way; use 2.2")
        self._watched = self._wire.fileno()
        self._poll.register(self._watched, select.POLLIN)
        while not self._admitted:
            self.turn(TURN)
            if self.lost is not None:
                raise HungUp(str(self.lost)) if isinstance(self.lost, ConnectionError) else self.lost
            self._check_time()

    def _check_time(self) -> None:
        if time.monotonic() > self._until or self._given_up():
            raise ConnectTimeout(f"not connected within connect_timeout ({self._config.connect_timeout:g} s)")

    # --- what the client tells ----------------------------------------------------------------------------------------

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        self.server = properties.json() if properties is not None and not properties.isEmpty() else {}
        if reason.value >= FAILURE:
            self._lose(NotAdmitted(reason.value, str(self.server.get("ReasonString", ""))))
        else:
            self._admitted = True

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if flags.is_disconnect_packet_from_server:
            said = properties.json() if properties is not None and not properties.isEmpty() else {}
            self._lose(Ended(reason.value, str(said.get("ReasonString", ""))))
        else:
            ended = None if self._wire is None else self._wire.lost
            self._lose(ended or Closed(f"paho: {reason}"))

    def _lose(self, reason: BaseException) -> None:
        if self.lost is None:
            self.lost = reason

    # --- use ----------------------------------------------------------------------------------------------------------

    @property
    def receive_max(self) -> int:
        """Messages of QoS 1 and 2 that the broker wants to have unacknowledged at most."""
        return int(self.server.get("ReceiveMaximum", 65_535))

    @property
    def packet_max(self) -> int:
        """Bytes of the largest packet that the broker takes."""
        return int(self.server.get("MaximumPacketSize", PACKET_MAX))

    @property
    def alias_max(self) -> int:
        """Topics that can be given a number."""
        return int(self.server.get("TopicAliasMaximum", 0))

    def write(self, data: bytes) -> None:
        """Whole packets; they leave with the next `turn`."""
        if self._wire is not None:
            self._wire.write(data)

    @property
    def full(self) -> bool:
        """Whether so much waits for the socket that nothing should be added."""
        return self._wire is not None and self._wire.buffered > BUFFERED_MAX

    @property
    def written(self) -> int:
        """Bytes that have been written so far, counted from the beginning."""
        return 0 if self._wire is None else self._wire.flushed + self._wire.buffered

    @property
    def flushed(self) -> int:
        """Those of them that the socket has taken."""
        return 0 if self._wire is None else self._wire.flushed

    def flush(self) -> None:
        """Hand the socket what it takes."""
        if self._wire is not None:
            self._wire.flush()

    def acks(self) -> list[Ack]:
        """What the broker has acknowledged since the last call."""
        wire = self._wire
        if wire is None or not wire.acks:
            return []
        acks, wire.acks = wire.acks, []
        return acks

    def turn(self, seconds: float) -> None:
        """Let the connection work, until something has come, at most so many seconds; 0: only what is there already."""
        wire = self._wire
        if wire is None or self.lost is not None:
            return
        wire.flush()
        if self._watched is not None:
            self._poll.modify(self._watched, select.POLLIN | (select.POLLOUT if wire.buffered else 0))
        readable = wire.has_more
        for descriptor, event in self._poll.poll(0 if readable else seconds * 1000):
            if descriptor != self._watched:
                self._drain_waker()
            elif event & _READABLE:
                readable = True
        if readable:
            wire.fill()
        wire.flush()
        self._serve_client(wire)

    def _serve_client(self, wire: Wire) -> None:
        client = self._client
        while wire.for_client and self.lost is None:
            client.loop_read()
        if self.lost is None:
            client.loop_misc()
        if wire.lost is not None and not wire.acks:
            self._lose(wire.lost)
        wire.flush()

    def _drain_waker(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._waker[0].recv(4096):
                pass

    def wake(self) -> None:
        """End the turn that is going on, or the next one, at once. Any thread."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._waker[1].send(b"\0")

    # --- closing ------------------------------------------------------------------------------------------------------

    def close(self, *, politely: bool) -> None:
        """Close. Not politely: at once, so that nothing more is sent."""
        wire = self._wire
        if wire is not None and self.lost is None and politely and self._admitted:
            self._say_goodbye(wire)
        elif wire is not None:
            wire.hang_up()
        self.drop()

    def _say_goodbye(self, wire: Wire) -> None:
        until = time.monotonic() + FAREWELL
        while wire.buffered and self.lost is None and (left := until - time.monotonic()) > 0:
            self.turn(left)
        with contextlib.suppress(Exception):
            self._client.disconnect()

    def drop(self) -> None:
        """Let go of what belongs to this process, without a word to the broker."""
        client, self._client = self._client, None
        if self._wire is not None:
            self._wire.forget()
            self._wire.close()
        if client is not None and client.socket_made is not None:
            client.socket_made.close()
        for end in self._waker:
            end.close()


def _connect_properties(config: MqttProducerConfig) -> Any:
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    if config.session_expiry:
        properties.SessionExpiryInterval = math.ceil(config.session_expiry)
    return properties
