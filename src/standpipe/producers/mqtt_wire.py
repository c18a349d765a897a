"""What stands between the client, the published messages and the socket of one connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from typing import Any

from standpipe.producers.mqtt_errors import Closed
from standpipe.producers.mqtt_packets import Ack, Malformed, Reader

READ = CHUNK = 2**16
READS_AT_ONCE = 16
"""Reads of a turn, so that a broker that says much does not keep us from sending."""

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_RESET = struct.pack("ii", 1, 0)


class Wire:
    """Stands for the socket: the client and the messages write into one buffer, packet by packet, and what comes is sorted."""

    def __init__(self, sock: Any, v5: bool) -> None:
        self._sock = sock
        self._reader = Reader(v5=v5)
        self._out = bytearray()
        self._others = bytearray()
        self._ended: BaseException | None = None
        self.acks: list[Ack] = []
        """what has come and was not fetched yet"""
        self.flushed = 0
        """bytes that the socket has taken"""

    @property
    def buffered(self) -> int:
        """Bytes that wait for the socket."""
        return len(self._out)

    @property
    def for_client(self) -> bool:
        """Whether there is something for the client: a packet, or the end."""
        return bool(self._others) or (self._ended is not None and not self.acks)

    @property
    def has_more(self) -> bool:
        """Whether TLS has read more from the socket than was taken from it: then the socket, which may be empty, need not become
        readable. A WebSocket takes frame by frame, of which a record of TLS can hold a thousand."""
        pending = getattr(self._sock, "pending", None)
        return self._ended is None and pending is not None and pending() > 0

    @property
    def lost(self) -> BaseException | None:
        """Why nothing more will come."""
        return self._ended

    def write(self, data: bytes) -> None:
        """Whole packets, in the order of the calls."""
        self._out += data

    def flush(self) -> None:
        """Hand the socket what it takes."""
        out = self._out
        try:
            while out:
                sent = self._sock.send(out if len(out) <= CHUNK else out[:CHUNK])
                if not sent:  # a WebSocket's frame has left in part
                    return
                self.flushed += sent
                del out[:sent]
        except _WOULD_BLOCK:
            pass
        except OSError as error:
            out.clear()
            self.fill()  # what has come before may say why
            self._fail(error)

    def fill(self) -> None:
        """Read what there is."""
        try:
            for _ in range(READS_AT_ONCE):
                data = self._sock.recv(READ)
                if not data:
                    raise Closed("closed by the other side")
                self._reader.feed(data, self.acks, self._others)
                if len(data) < READ and not self.has_more:
                    break
        except _WOULD_BLOCK:
            pass
        except (OSError, Malformed) as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._ended is None:
            self._ended = error

    def forget(self) -> None:
        """What waits for the socket is not sent any more."""
        self._out.clear()

    def hang_up(self) -> None:
        """The same for what the system has not sent yet."""
        self.forget()
        inner = getattr(self._sock, "_socket", self._sock)  # of a WebSocket
        with contextlib.suppress(OSError, AttributeError):
            inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    # --- what the client expects of a socket --------------------------------------------------------------------------

    def recv(self, size: int) -> bytes:
        """What is for the client."""
        data = bytes(self._others[:size])
        if not data and self._ended is None:
            raise BlockingIOError
        del self._others[:size]
        return data

    def send(self, data: bytes) -> int:
        """Takes everything."""
        self.write(data)
        return len(data)

    def fileno(self) -> int:
        """Of the connection."""
        return int(self._sock.fileno())

    def setblocking(self, flag: bool) -> None:
        """As for sockets."""
        self._sock.setblocking(flag)

    def close(self) -> None:
        """Close the connection; what waits for the socket leaves, as far as it can at once."""
        if self._ended is None:
            self.flush()
        with contextlib.suppress(OSError):
            self._sock.close()
