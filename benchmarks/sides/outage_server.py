"""An HTTP server that is killed and comes back: it writes every body down before it answers, so that what it had taken can be counted."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.sides.http_server import ANSWER, LENGTH


class Noting(asyncio.Protocol):
    """Appends the body of each request to a file, which a kill of this process cannot take back, and then answers."""

    def __init__(self, file: int) -> None:
        self._file = file

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._data = bytearray()

    def data_received(self, data: bytes) -> None:
        """Take and answer every request that is here as a whole."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[:end]).lower()
            size = int(head.partition(LENGTH)[2].partition(b"\r\n")[0])
            if len(self._data) < end + 4 + size:
                return
            os.write(self._file, self._data[end + 4 : end + 4 + size])
            del self._data[: end + 4 + size]
            self._transport.write(ANSWER)


class Mortal:
    """A server and its successor at the same address. The successor is there from the start and only waits for its turn: to start a
    process would disturb the one that is measured."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "taken"
        self._file.touch()
        self._first = self._start("0")
        self._port = int(_line(self._first))
        self._second = self._start(str(self._port))
        _line(self._second)

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"http://127.0.0.1:{self._port}/in"

    def kill(self) -> None:
        """End the server with SIGKILL, whatever it is doing."""
        self._first.kill()

    def come_back(self) -> None:
        """Let the successor take the address."""
        self._go(self._second)

    def close(self) -> None:
        """End both."""
        for process in (self._first, self._second):
            process.kill()
            process.communicate()

    def bodies(self) -> bytes:
        """All that both have taken."""
        return self._file.read_bytes()

    def _start(self, port: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmarks.sides.outage_server", port, str(self._file)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if port == "0":
            self._go(process)
        return process

    @staticmethod
    def _go(process: subprocess.Popen[str]) -> None:
        if process.stdin is not None:
            process.stdin.write("\n")
            process.stdin.flush()


def _line(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline().strip() if process.stdout is not None else ""


@contextmanager
def running(folder: Path) -> Iterator[Mortal]:
    """A server that can be killed and come back."""
    server = Mortal(folder)
    try:
        yield server
    finally:
        server.close()


async def _serve(port: int, file: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Noting(file), "127.0.0.1", port)
    if port == 0:
        print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def main(port: str, path: str) -> None:
    """`python -m benchmarks.sides.outage_server PORT FILE`: serves when a line comes in; port 0 is any free one, which is printed."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    if port != "0":
        print("waiting", flush=True)
    if sys.stdin.readline():
        asyncio.run(_serve(int(port), file))


if __name__ == "__main__":
    main(*sys.argv[1:])
