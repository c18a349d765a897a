"""A small service for tests of the kit, and producers for it in each style that keep every promise.

The service takes lines: `login TOKEN`, then one JSON record per message. It answers each with `ok`, or `no` and why.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import threading
from contextlib import suppress
from typing import Any, ClassVar

import orjson
from pydantic import SecretStr

from standpipe.core.errors import Disconnected, Reject
from standpipe.core.outcome import Outcome
from standpipe.delivery.batch import Batch
from standpipe.delivery.report import Report
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.testing import Arrival, Subject

TOKEN = "open-sesame"
LINE_MAX = 2 * 2**20


class Ledger:
    """Writes down what it is sent, in one thread."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._stop_from, self._stop_to = socket.socketpair()
        self._selector.register(self._stop_from, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="ledger")
        self._thread.start()

    def close(self) -> None:
        self._stop_to.send(b".")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._stop_to.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._stop_from:
                    return
                if key.fileobj is self._listener:
                    connection, _ = self._listener.accept()
                    connection.settimeout(5.0)
                    self._selector.register(connection, selectors.EVENT_READ, bytearray())
                else:
                    self._read(key.fileobj, key.data)  # type: ignore[arg-type]

    def _read(self, connection: socket.socket, buffer: bytearray) -> None:
        try:
            data = connection.recv(2**20)
            buffer += data
            *lines, rest = buffer.split(b"\n")
            answers = b"".join(self._answer(bytes(line)) for line in lines)
            buffer[:] = rest
            if answers:
                connection.sendall(answers)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(connection)
            connection.close()

    def _answer(self, line: bytes) -> bytes:
        if line.startswith(b"login"):
            return b"ok\n" if line == f"login {TOKEN}".encode() else b"no wrong token\n"
        if len(line) > LINE_MAX:
            return b"no too large\n"
        try:
            record = orjson.loads(line)
        except ValueError:
            return b"no JSON\n"
        if "poison" in record["message"]:
            return b"no poison\n"
        self.records.append(record)
        return b"ok\n"


class LedgerConfig(BaseProducerConfig):
    host: str = "127.0.0.1"
    port: int
    token: SecretStr = SecretStr(TOKEN)


class LedgerSubject(Subject[LedgerConfig]):
    """A producer for a ledger that runs in this process."""

    def __init__(self, kind: type[BaseProducer], ledger: Ledger) -> None:
        super().__init__(kind, LedgerConfig(type="ledger", name="ledger", port=ledger.port))
        self._ledger = ledger

    def read_back(self) -> list[Arrival]:
        return [Arrival(record["message"], record["is_error"]) for record in list(self._ledger.records)]

    def refused(self, run: str, number: int) -> dict[str, Any]:
        return {"run": run, "number": number, "poison": True}


class OneByOne(BaseProducer):
    """`_send`: one message, one answer."""

    config_model: ClassVar[type[BaseProducerConfig]] = LedgerConfig
    config: LedgerConfig
    socket: socket.socket | None = None
    answers: Any = None

    def _connect(self) -> None:
        self._close()
        self.socket = socket.create_connection((self.config.host, self.config.port), self.config.send_timeout)
        self.answers = self.socket.makefile("rb")
        self._write(f"login {self.config.token.get_secret_value()}\n".encode())
        self._read_answer()

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self._write(self._record(is_error, message))
        self._read_answer()

    def _close(self) -> None:
        if self.socket is not None:
            self.answers.close()
            self.socket.close()
            self.socket = None

    def _record(self, is_error: bool, message: dict[str, Any]) -> bytes:
        return orjson.dumps({"is_error": is_error, "message": message}) + b"\n"

    def _write(self, data: bytes) -> None:
        if self.socket is None:
            raise Disconnected("not connected", arrived=False)
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Disconnected(str(error)) from error

    def _read_answer(self) -> None:
        if self.socket is None:
            raise Disconnected("not connected", arrived=False)
        try:
            answer = self.answers.readline()
        except OSError as error:
            raise Disconnected(str(error)) from error
        self._judge(answer)

    def _judge(self, answer: bytes) -> None:
        if answer == b"ok\n":
            return
        if answer.startswith(b"no ") and answer.endswith(b"\n"):
            raise Reject(answer.decode("ascii", "replace").strip())
        raise Disconnected(f"the answer was {answer!r}")


class InBatches(OneByOne):
    """`_send_batch`: all messages, then all answers."""

    def _send_batch(self, batch: Batch) -> list[Outcome | BaseException]:
        lines = [self._record(flag, message) for flag, message in zip(batch.is_errors(), batch.contents(), strict=True)]
        self._write(b"".join(lines))
        results: list[Outcome | BaseException] = []
        for _ in lines:
            try:
                self._read_answer()
                results.append(Outcome.DELIVERED)
            except Reject as refused:
                results.append(refused)
            except Disconnected as gone:
                return results + [gone] * (len(lines) - len(results))
        return results


class Asynchronous(BaseProducer):
    """Coroutines; answers come in the order of the lines."""

    config_model: ClassVar[type[BaseProducerConfig]] = LedgerConfig
    config: LedgerConfig
    max_in_flight = 16
    writer: asyncio.StreamWriter | None = None
    reader: asyncio.StreamReader
    turn: asyncio.Lock
    process = 0

    async def _connect(self) -> None:
        if self.process == os.getpid():  # after a fork it is the parent's: to be let go, not to be closed
            await self._close()
        self.process = os.getpid()
        self.turn = asyncio.Lock()
        async with asyncio.timeout(self.config.send_timeout):
            self.reader, self.writer = await asyncio.open_connection(self.config.host, self.config.port)
            await self._say(f"login {self.config.token.get_secret_value()}\n".encode())

    async def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        async with self.turn:
            await self._say(orjson.dumps({"is_error": is_error, "message": message}) + b"\n")

    async def _close(self) -> None:
        if self.writer is not None:
            writer, self.writer = self.writer, None
            writer.transport.abort()

    async def _say(self, data: bytes) -> None:
        if self.writer is None:
            raise Disconnected("not connected", arrived=False)
        try:
            self.writer.write(data)
            answer = await self.reader.readline()
        except (OSError, ValueError) as error:
            raise Disconnected(str(error)) from error
        except asyncio.CancelledError:
            self.writer.transport.abort()  # its answer must not be taken for that of another message
            raise
        if answer.startswith(b"no ") and answer.endswith(b"\n"):
            raise Reject(answer.decode("ascii", "replace").strip())
        if answer != b"ok\n":
            raise Disconnected(f"the answer was {answer!r}")


class Confirmed(OneByOne):
    """`_submit`: a thread reads the answers and reports them."""

    max_in_flight = 64
    reading: threading.Thread | None = None
    process = 0

    def _connect(self) -> None:
        if self.process != os.getpid():  # after a fork it is the parent's: to be let go, not to be shut down
            self.socket = self.reading = None
        self.process = os.getpid()
        super()._connect()
        assert self.socket is not None
        self.waiting: list[tuple[Report, int]] = []
        self.reading = threading.Thread(target=self._read_all, args=(self.socket, self.waiting), name="ledger-answers", daemon=True)
        self.reading.start()

    def _submit(self, batch: Batch, report: Report) -> None:
        for position, (flag, message) in enumerate(zip(batch.is_errors(), batch.contents(), strict=True)):
            self.waiting.append((report, position))
            self._write(self._record(flag, message))

    def _close(self) -> None:
        reading, self.reading = self.reading, None
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
        if reading is not None:
            reading.join()
        super()._close()

    def _read_all(self, connection: socket.socket, waiting: list[tuple[Report, int]]) -> None:
        gone, buffer = Disconnected("the connection has ended"), b""
        try:
            while data := _received(connection):
                *answers, buffer = (buffer + data).split(b"\n")
                for answer in answers:
                    self._report(answer + b"\n", *waiting.pop(0))
        except (OSError, Disconnected, IndexError) as error:
            gone = Disconnected(str(error))
        while waiting:
            report, position = waiting.pop(0)
            report.failed(position, gone)

    def _report(self, answer: bytes, report: Report, position: int) -> None:
        try:
            self._judge(answer)
            report.delivered(position)
        except Disconnected as gone:
            report.failed(position, gone)
            raise
        except Reject as refused:
            report.failed(position, refused)


def _received(connection: socket.socket) -> bytes:
    """The next bytes, however long they take: `send_timeout` is the engine's business here."""
    while True:
        with suppress(TimeoutError):
            return connection.recv(65536)


GOOD = [OneByOne, InBatches, Asynchronous, Confirmed]
