"""Listens on a thread of this process, and leaves nothing open behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from typing import Any

HOST = "127.0.0.1"
WITHIN = 5.0

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Listener:
    """Listens on `port` of loopback (0: on a free one) and treats each connection with `serve`, which may just return, or raise
    OSError or EOFError, when it is done with it.

    Not asyncio's server: what that one has accepted at the moment when it is closed stays open until it is collected (3.11).
    """

    def __init__(self, name: str, port: int, serve: Serve, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self._serve, self._tls = serve, tls
        self._connections: set[asyncio.Task[None]] = set()
        self._listening = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Returns when it listens."""
        self._thread.start()
        assert self._listening.wait(WITHIN), f"{self._thread.name} does not listen"

    def drop(self) -> None:
        """Cut all connections; new ones are accepted."""
        self._loop.call_soon_threadsafe(self._cut_all)

    def close(self) -> None:
        """Cut all connections and listen no more. May be called twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(WITHIN)
            assert not self._thread.is_alive(), f"{self._thread.name} does not end"

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            runner.run(self._listen())

    async def _listen(self) -> None:
        with socket.create_server((HOST, self.port)) as listener:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            self._loop.add_reader(listener, self._accept, listener)
            self._listening.set()
            await self._end.wait()
            self._loop.remove_reader(listener)
        self._cut_all()
        if self._connections:
            await asyncio.wait(self._connections)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            connection, _ = listener.accept()
            task = self._loop.create_task(self._treat(connection))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            task.add_done_callback(lambda _: connection.close())  # also of a task that was cut before its first step

    async def _treat(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        with contextlib.suppress(OSError, EOFError):
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls)
            writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
            try:
                with contextlib.suppress(OSError, EOFError):
                    await self._serve(reader, writer)
                writer.close()
                await writer.wait_closed()  # what was said still arrives
            finally:
                transport.abort()

    def _cut_all(self) -> None:
        for task in self._connections:
            task.cancel()
