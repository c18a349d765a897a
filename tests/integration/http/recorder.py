"""An HTTP server in a process of its own that keeps what it took, so that it can be killed and frozen.

A request is written to the file before it is answered: what was answered with 200 is there, whatever happens.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import orjson

from tests.integration.http.answering import read_request
from tests.servers.oracle import Found
from tests.servers.server import HOST, Server, answers

PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
ROOT = Path(__file__).resolve().parents[3]


class Recorder(Server):
    """Takes every request. What it has taken outlives it."""

    service: ClassVar[str] = "http"
    debian: ClassVar[str] = "python3"
    brew: ClassVar[str] = "python"
    scheme: ClassVar[tuple[str, str]] = ("http", "https")

    @classmethod
    def program(cls) -> str | None:
        return sys.executable

    def _prepare(self) -> None:
        self._file.touch()

    def _command(self) -> Sequence[str]:
        return [sys.executable, "-m", "tests.integration.http.recorder", str(self.port), str(self._file)]

    def _working_folder(self) -> Path:
        return ROOT

    def _is_ready(self) -> bool:
        return answers(self.port, PING).startswith(b"HTTP/1.1 200")

    @property
    def _file(self) -> Path:
        return self.folder / "taken"

    def taken(self) -> Iterator[Found]:
        """Every message in the order in which it was taken."""
        for line in self._file.read_bytes().splitlines():
            entry = orjson.loads(line)
            headers, body = entry["headers"], entry["body"].encode()
            if headers["content-type"] == "application/json":
                yield Found(headers["idempotency-key"].strip('"'), body, headers.get("message-key"), "is-error" in headers)
                continue
            for record in body.splitlines():
                fields = orjson.loads(record)
                id, key, is_error = fields.pop("@id"), fields.pop("@key"), fields.pop("is_error")
                yield Found(id, orjson.dumps(fields), key, is_error)


async def _serve(port: int, path: str) -> None:
    with open(path, "ab", buffering=0) as file:

        async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while (request := await read_request(reader)) is not None:
                if request.target != "/ping":
                    file.write(orjson.dumps({"headers": request.headers, "body": request.body.decode()}, option=orjson.OPT_APPEND_NEWLINE))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            writer.close()

        server = await asyncio.start_server(connection, HOST, port)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2]))
