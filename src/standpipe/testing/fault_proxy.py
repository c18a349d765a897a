"""A TCP proxy on loopback that does to connections what networks and servers do: cut, refuse, delay, throttle, swallow, corrupt.

What happens to the bytes is decided in `faulty_line.py`; this file moves them, in one thread with one selector.
"""

from __future__ import annotations

import errno
import os
import random
import selectors
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, Self, TypeVar

from standpipe.testing.faulty_line import CutAfter, End, FaultyLine, LineFaults

Direction = Literal["to_upstream", "to_client", "both"]
How = Literal["rst", "fin"]
Result = TypeVar("Result")

READ_BYTES = 64 * 1024
VERB_TIMEOUT = 10.0
"""Seconds that a verb waits for the proxy's thread to do it; it takes some microseconds unless the machine is stuck."""
CONNECT_TIMEOUT = 10.0
"""Seconds that the upstream has to accept a connection."""

DRAIN_MAX = 64
"""Reads before an orderly close: a socket buffer of some megabytes is emptied, a client that never stops sending is left."""

_UPSTREAM, _CLIENT = 0, 1  # sides of a connection, and the index of the line that leads there
_SIDES: dict[Direction, tuple[int, ...]] = {"to_upstream": (_UPSTREAM,), "to_client": (_CLIENT,), "both": (_UPSTREAM, _CLIENT)}
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends a reset


@dataclass(frozen=True, slots=True)
class ProxyStatistics:
    """What went through a proxy, at one instant."""

    accepted: int = 0
    """connections taken from clients"""
    open: int = 0
    """connections open now"""
    open_max: int = 0
    """most connections open at a time"""
    cut: int = 0
    """connections cut by a verb"""
    unreachable: int = 0
    """connections reset because the upstream could not be reached"""
    to_upstream: int = 0
    """bytes passed on to the upstream"""
    to_client: int = 0
    """bytes passed on to clients"""
    swallowed: int = 0
    """bytes that went into a black hole"""
    corrupted: int = 0
    """bytes changed"""


class _Connection:
    """A client, the upstream, and a line to each of them."""

    def __init__(self, client: socket.socket, upstream: socket.socket, lines: tuple[FaultyLine, FaultyLine], now: float) -> None:
        self.sockets: list[socket.socket | None] = [upstream, client]
        self.lines = lines
        self.full = [False, False]  # a side takes no more bytes for now
        self.since = now
        self.connected = False

    @property
    def over(self) -> bool:
        """Nothing is left to be passed on. When an end was swallowed, the other side does not know yet, and must not be told."""
        one, other = self.lines
        if not (one.ended and other.ended):
            return False
        return self.sockets == [None, None] or not (one.lost or other.lost) or (one.end is not None and other.end is not None)

    def close(self, side: int, how: End) -> None:
        """Close one side for good. The line to it has nobody to lead to, the line from it no source."""
        found, self.sockets[side] = self.sockets[side], None
        self.lines[side].forget()
        if found is None:
            return
        with suppress(OSError):
            if how is End.RST:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            else:
                found.shutdown(socket.SHUT_WR)
                for _ in range(DRAIN_MAX):  # what was never read would turn the end into a reset
                    if not found.recv(READ_BYTES):
                        break
        found.close()

    def cut(self, directions: tuple[int, ...], how: End) -> None:
        """RST: the sides named see a reset, another side an ordinary end. FIN: only the lines named end; both: it is over."""
        if how is End.RST or len(directions) == 2:
            for side in (_UPSTREAM, _CLIENT):
                self.close(side, how if side in directions else End.FIN)
            return
        for side in directions:
            self.lines[side].forget()
            _end_writing(self.sockets[side])


def _end_writing(found: socket.socket | None) -> None:
    if found is not None:
        with suppress(OSError):
            found.shutdown(socket.SHUT_WR)


class FaultProxy:
    """Stands between a client and a TCP server (`host`, `port`) and mistreats their connections on demand.

    It listens on `proxy.host`, `proxy.port` from the beginning until `close()`; use it as a context manager. Without a fault it
    passes everything on unchanged. Verbs may be called at any moment, from any thread, and have taken effect when they return;
    a fault stays until it is replaced or `heal()` is called. `direction` is `to_upstream` (what the client sends),
    `to_client` (what the server answers) or `both`. `seed` decides what is left to chance: jitter, and which bits are flipped.

        with FaultProxy("127.0.0.1", 5432, seed=1) as proxy:
            client = connect(proxy.host, proxy.port)
            proxy.cut_after(1000, direction="to_upstream")     # in the middle of a send
            ...
            proxy.refuse()
            proxy.heal()

    The server need not be there yet: a connection that cannot be passed on is reset. Loopback only; one thread of its own.
    """

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self._upstream = (host, port)
        self._chance = random.Random(seed)
        self._faults = (LineFaults(), LineFaults())
        self._connections: list[_Connection] = []
        self._masks: dict[socket.socket, int] = {}
        self._counts = ProxyStatistics()
        self._changed = threading.Condition()
        self._commands: list[Callable[[], object]] = []
        self._closed = False
        self._process = os.getpid()
        # The holder never listens: it keeps the port ours while connections to it are refused.
        self._holder = _bound(0)
        self.host, self.port = self._holder.getsockname()
        self._listener: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._wake_from, self._wake_to = socket.socketpair()
        self._wake_from.setblocking(False)
        self._selector.register(self._wake_from, selectors.EVENT_READ)
        self._listen()
        self._thread = threading.Thread(target=self._run, name=f"standpipe-fault-proxy-{self.port}", daemon=True)
        self._thread.start()
        _proxies.add(self)

    # --- faults -------------------------------------------------------------------------------------------------------

    def cut(self, how: How = "rst", *, direction: Direction = "both") -> int:
        """Cut every open connection now; returns how many. New ones are accepted.

        `rst` resets: the sides that `direction` leads to see `ConnectionResetError`, another one an ordinary end. `fin` ends in
        order; with one direction only, the other goes on (a half-closed connection).
        """
        return self._do(lambda: self._cut(list(self._connections), _SIDES[direction], End(how)))

    def cut_after(self, count: int, how: How = "rst", *, direction: Direction = "to_upstream", times: int | None = 1) -> None:
        """Cut a connection when `count` more bytes were passed on in that direction: an open one counts from now, a new one from
        its beginning. `times`: how many connections (None: every one)."""
        if count < 0:
            raise ValueError(f"{count} is not a number of bytes; write 0 or more")

        def plan() -> None:
            fault = CutAfter(count, End(how), times)
            for side in _SIDES[direction]:
                self._faults[side].cut_after = fault
                for connection in self._connections:
                    connection.lines[side].count_from_here()

        self._do(plan)

    def refuse(self) -> None:
        """Refuse new connections, as when nobody listens; open ones stay. Ended by `accept` or `heal`."""
        self._do(self._stop_listening)

    def accept(self) -> None:
        """Accept connections again, on the same port."""
        self._do(self._listen)

    def delay(self, seconds: float, *, jitter: float = 0.0, direction: Direction = "both") -> None:
        """Pass everything on so much later, and up to `jitter` seconds more; the order of the bytes stays."""
        self._set(direction, delay=max(0.0, seconds), jitter=max(0.0, jitter))

    def throttle(self, bytes_per_second: float | None, *, direction: Direction = "both") -> None:
        """Pass on at most so many bytes per second on each connection; None: as fast as it goes."""
        if bytes_per_second is not None and bytes_per_second <= 0:
            raise ValueError(f"{bytes_per_second} bytes per second would never end; use stop_reading() to pass on nothing")
        self._set(direction, rate=bytes_per_second)

    def black_hole(self, *, direction: Direction = "both") -> None:
        """Take everything, pass on nothing, and tell nobody: also that one side has closed. New connections are accepted.

        A half-open peer, as after a power cut or a firewall's timeout. What was swallowed is gone: `heal` resets the connections
        that lost something, as a host that is back does.
        """
        self._set(direction, black_hole=True)

    def stop_reading(self, *, direction: Direction = "both") -> None:
        """Read nothing more from whoever sends in that direction, until `heal`; nothing is lost. Buffers fill up, then sends block:
        a frozen process."""
        self._set(direction, stopped=True)

    def corrupt(self, every: int = 1000, *, direction: Direction = "both") -> None:
        """Flip one bit in about every `every` bytes, the first byte of each connection's share included."""
        if every < 1:
            raise ValueError(f"{every} is not a number of bytes; write 1 or more")
        self._set(direction, corrupt_every=every)

    def heal(self) -> None:
        """End every fault: accept, and pass on at full speed what was held back. Connections that lost bytes are reset."""
        self._do(self._heal)

    def forward_to(self, host: str, port: int) -> None:
        """Lead new connections somewhere else, for example to a server that was started again on another port."""
        self._do(lambda: setattr(self, "_upstream", (host, port)))

    # --- telling ------------------------------------------------------------------------------------------------------

    def statistics(self) -> ProxyStatistics:
        """What has gone through so far."""
        with self._changed:
            return self._counts

    def wait_for(self, condition: Callable[[ProxyStatistics], bool], timeout: float = 10.0) -> ProxyStatistics:
        """Wait until `condition(statistics)` is true, and return them. Raises TimeoutError after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self._counts), timeout):
                raise TimeoutError(f"what was waited for did not happen within {timeout:g} s; the proxy has {self._counts}")
            return self._counts

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect to."""
        return self.host, self.port

    def close(self) -> None:
        """Reset what is open, stop listening, end the thread. May be called twice."""
        if self._closed:
            return
        self._do(self._stop)
        self._thread.join()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FaultProxy {self.host}:{self.port} -> {self._upstream[0]}:{self._upstream[1]}>"

    # --- commands, carried out by the proxy's thread ------------------------------------------------------------------

    def _do(self, command: Callable[[], Result]) -> Result:
        """Let the proxy's thread do something, and wait until it is done."""
        answer: Future[Result] = Future()

        def run() -> None:
            try:
                answer.set_result(command())
            except Exception as error:
                answer.set_exception(error)

        with self._changed:
            if self._closed:
                raise RuntimeError(f"{self!r} is closed; make a new one")
            if os.getpid() != self._process:
                raise RuntimeError(f"{self!r} belongs to the process that made it; make one in this process")
            self._commands.append(run)
            self._wake_to.send(b".")
        return answer.result(VERB_TIMEOUT)

    def _set(self, direction: Direction, **changes: object) -> None:
        def change() -> None:
            for side in _SIDES[direction]:
                for name, value in changes.items():
                    setattr(self._faults[side], name, value)

        self._do(change)

    def _cut(self, connections: list[_Connection], directions: tuple[int, ...], how: End) -> int:
        for connection in connections:
            connection.cut(directions, how)
        self._count(cut=len(connections))
        return len(connections)

    def _heal(self) -> None:
        for faults in self._faults:
            vars(faults).update(vars(LineFaults()))
        self._cut([c for c in self._connections if c.lines[_UPSTREAM].lost or c.lines[_CLIENT].lost], _SIDES["both"], End.RST)
        self._listen()

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(128)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _stop(self) -> None:
        self._stop_listening()
        for connection in self._connections:
            connection.cut(_SIDES["both"], End.RST)
        with self._changed:
            self._closed = True

    def _release(self) -> None:
        """Close what is left. Also called in the child after a fork, where no thread of ours runs: what the child inherited
        would keep connections open that the parent closes."""
        left = [self._holder, self._wake_from, self._wake_to, self._listener]
        left += [found for connection in self._connections for found in connection.sockets]
        for found in left:
            if found is not None:
                found.close()
        self._selector.close()

    def _in_child(self) -> None:
        self._changed = threading.Condition()
        self._release()
        self._closed = True

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._obey()
            if self._closed:
                return
            now = time.monotonic()
            for connection in self._connections:
                self._pass_on(connection, now)
            self._drop_over()
            self._watch()
            for key, mask in self._selector.select(self._next(now)):
                self._serve(key, mask)

    def _obey(self) -> None:
        with suppress(BlockingIOError):
            self._wake_from.recv(READ_BYTES)
        with self._changed:
            commands, self._commands = self._commands, []
        for command in commands:
            command()

    def _next(self, now: float) -> float | None:
        waiting = [c.lines[side] for c in self._connections for side in _SIDES["both"] if c.connected and not c.full[side]]
        times = [when for line in waiting if (when := line.next_time(now)) is not None]
        times += [c.since + CONNECT_TIMEOUT for c in self._connections if not c.connected]
        return max(0.0, min(times) - now) if times else None

    def _serve(self, key: selectors.SelectorKey, mask: int) -> None:
        if key.fileobj is self._listener:
            self._accept()
        elif isinstance(key.data, tuple):
            connection, side = key.data
            if not connection.connected:
                self._finish_connecting(connection)
                return
            if mask & selectors.EVENT_WRITE:
                connection.full[side] = False
            if mask & selectors.EVENT_READ:
                self._read(connection, side)

    def _accept(self) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()  # type: ignore[union-attr]
            client.setblocking(False)
            self._open(client)

    def _open(self, client: socket.socket) -> None:
        now = time.monotonic()
        host, port = self._upstream
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        upstream = socket.socket(family, kind, protocol)
        upstream.setblocking(False)
        for found in (client, upstream):
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = (FaultyLine(self._faults[_UPSTREAM], self._chance), FaultyLine(self._faults[_CLIENT], self._chance))
        connection = _Connection(client, upstream, lines, now)
        self._connections.append(connection)
        self._count(accepted=1)
        if upstream.connect_ex(address) not in (0, errno.EINPROGRESS, errno.EINTR):
            self._unreachable(connection)

    def _finish_connecting(self, connection: _Connection) -> None:
        upstream = connection.sockets[_UPSTREAM]
        if upstream is None:
            return
        if upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._unreachable(connection)
        else:
            connection.connected = True

    def _unreachable(self, connection: _Connection) -> None:
        connection.cut(_SIDES["both"], End.RST)
        self._count(unreachable=1)

    def _read(self, connection: _Connection, side: int) -> None:
        source, line = connection.sockets[side], connection.lines[1 - side]
        if source is None or not line.wants():
            return
        now = time.monotonic()
        try:
            data = source.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            line.take_end(End.RST, now)
            connection.close(side, End.RST)
            return
        swallowed, corrupted = line.swallowed, line.corrupted
        if data:
            line.take(data, now)
        else:
            line.take_end(End.FIN, now)
        self._count(swallowed=line.swallowed - swallowed, corrupted=line.corrupted - corrupted)

    def _pass_on(self, connection: _Connection, now: float) -> None:
        if not connection.connected:
            if now - connection.since > CONNECT_TIMEOUT:
                self._unreachable(connection)
            return
        for side in (_UPSTREAM, _CLIENT):
            self._write(connection, side, now)
            how = connection.lines[side].end_due(now)
            if how is not None:
                self._end(connection, side, how)

    def _write(self, connection: _Connection, side: int, now: float) -> None:
        line, swallowed = connection.lines[side], connection.lines[side].swallowed
        data = line.due(now)
        self._count(swallowed=line.swallowed - swallowed)
        sink = connection.sockets[side]
        if data and sink is not None and not connection.full[side]:
            try:
                count = sink.send(data)
            except (BlockingIOError, InterruptedError):
                connection.full[side] = True
                return
            except OSError:
                connection.lines[1 - side].take_end(End.RST, now)
                connection.close(side, End.RST)
                return
            line.passed(count)
            self._count(**{("to_upstream", "to_client")[side]: count})
        how = line.cut()
        if how is not None:
            self._cut([connection], _SIDES["both"], how)

    def _end(self, connection: _Connection, side: int, how: End) -> None:
        """Pass on the end of the other side."""
        if how is End.RST:
            connection.close(side, End.RST)
            connection.lines[1 - side].forget()
        else:
            connection.lines[side].forget()
            _end_writing(connection.sockets[side])

    def _drop_over(self) -> None:
        over = [connection for connection in self._connections if connection.over]
        if over:
            for connection in over:
                connection.cut(_SIDES["both"], End.FIN)
            self._connections = [connection for connection in self._connections if connection not in over]
        self._count()

    # --- what to wait for ---------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Tell the selector what is worth waking up for."""
        wanted = {found: (mask, data) for found, mask, data in self._wanted()}
        for found in [found for found in self._masks if found not in wanted]:
            del self._masks[found]
            with suppress(KeyError, ValueError):
                self._selector.unregister(found)
        for found, (mask, data) in wanted.items():
            if found not in self._masks:
                self._selector.register(found, mask, data)
            elif self._masks[found] != mask:
                self._selector.modify(found, mask, data)
            self._masks[found] = mask

    def _wanted(self) -> Iterator[tuple[socket.socket, int, tuple[_Connection, int] | None]]:
        if self._listener is not None:
            yield self._listener, selectors.EVENT_READ, None
        for connection in self._connections:
            for side, found in enumerate(connection.sockets):
                mask = self._mask(connection, side)
                if found is not None and mask:
                    yield found, mask, (connection, side)

    def _mask(self, connection: _Connection, side: int) -> int:
        if not connection.connected:
            return selectors.EVENT_WRITE if side == _UPSTREAM else 0
        reading = selectors.EVENT_READ if connection.lines[1 - side].wants() else 0
        return reading | (selectors.EVENT_WRITE if connection.full[side] else 0)

    def _count(self, **more: int) -> None:
        """Add to the counts, and wake who waits for them."""
        if not any(more.values()) and self._counts.open == len(self._connections):
            return
        with self._changed:
            now, count = self._counts, len(self._connections)
            added = {name: getattr(now, name) + value for name, value in more.items()}
            self._counts = replace(now, open=count, open_max=max(now.open_max, count), **added)
            self._changed.notify_all()


def _bound(port: int) -> socket.socket:
    """A socket bound to `port` of loopback (0: any that is free), which several of ours may share; it does not listen yet."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setblocking(False)
        made.bind(("127.0.0.1", port))
    except BaseException:
        made.close()
        raise
    return made


_proxies: weakref.WeakSet[FaultProxy] = weakref.WeakSet()


def _after_fork() -> None:
    for proxy in list(_proxies):
        proxy._in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
