"""Producers that each break one promise, in ways that people do by mistake."""

from __future__ import annotations

import logging
import mmap
import socket
import threading
from contextlib import suppress
from typing import Any, ClassVar

import orjson

from standpipe.core.errors import Disconnected, Reject
from standpipe.core.outcome import Outcome
from standpipe.delivery.batch import Batch
from tests.integration.conformance.ledger import InBatches, LedgerConfig, OneByOne

RELEASE = threading.Event()
"""Lets threads end that hang on purpose."""


class ClaimsEarly(OneByOne):
    """Does not wait for the answer."""

    def _read_answer(self) -> None:
        pass


class BuffersClaims(OneByOne):
    """Claims what only lies in a list, and forgets the list when it is closed."""

    lines: list[bytes] | None = None

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self.lines = [*(self.lines or []), self._record(is_error, message)]
        if len(self.lines) >= 5:
            lines, self.lines = self.lines, None
            self._write(b"".join(lines))
            for _ in lines:
                self._read_answer()

    def _close(self) -> None:
        self.lines = None
        super()._close()


class SwallowsErrors(OneByOne):
    """An exception that is logged and forgotten."""

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        try:
            super()._send(is_error, message)
        except Disconnected as error:
            logging.getLogger(__name__).warning("cannot send: %s", error)
            self._close()
            with suppress(OSError, Disconnected):
                self._connect()


class PretendsToConnect(OneByOne):
    """Connects some other time, and claims what it sends nowhere."""

    def _connect(self) -> None:
        with suppress(OSError, Disconnected):
            super()._connect()

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        if self.socket is not None:
            super()._send(is_error, message)
        else:
            self._connect()


class LosesOnReconnect(OneByOne):
    """Takes the first message of a new connection for the one that it has sent before."""

    connects = 0
    sent_on = 1

    def _connect(self) -> None:
        super()._connect()
        self.connects += 1

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        if self.connects != self.sent_on:
            self.sent_on = self.connects
            return
        super()._send(is_error, message)


class LeaksSockets(OneByOne):
    """Keeps every connection that it ever had."""

    kept: ClassVar[list[Any]] = []

    def _close(self) -> None:
        if self.socket is not None:
            self.kept.append((self.socket, self.answers))
            self.socket = None


class LeaksMemory(OneByOne):
    """Notes something large at each connection."""

    notes: ClassVar[list[Any]] = []

    def _connect(self) -> None:
        super()._connect()
        self.notes.append(bytearray(20_000))


class LeaksMappings(OneByOne):
    """Takes memory that Python knows nothing of at each connection."""

    kept: ClassVar[list[mmap.mmap]] = []

    def _connect(self) -> None:
        super()._connect()
        self.kept.append(mmap.mmap(-1, 100_000))
        self.kept[-1].write(bytes(100_000))


class LeaksThreads(OneByOne):
    """A heartbeat for each connection, which never ends."""

    def _connect(self) -> None:
        super()._connect()
        threading.Thread(target=RELEASE.wait, args=(60.0,), name="heartbeat", daemon=True).start()


class SendsFromOtherThreads(OneByOne):
    """A batch in which each message is sent by a thread of its own."""

    def _send_batch(self, batch: Batch) -> list[Outcome]:
        results: list[Outcome] = []
        for flag, message in zip(batch.is_errors(), batch.contents(), strict=True):
            sender = threading.Thread(target=self._try, args=(flag, message, results))
            sender.start()
            sender.join()
        return results

    def _try(self, is_error: bool, message: dict[str, Any], results: list[Outcome]) -> None:
        try:
            self._send(is_error, message)
            results.append(Outcome.DELIVERED)
        except Exception:
            results.append(Outcome.UNKNOWN)


class ConnectsAtOnce(OneByOne):
    """Connects when it is made."""

    kept: ClassVar[list[Any]] = []

    def __init__(self, config: LedgerConfig, **settings: Any) -> None:
        super().__init__(config, **settings)
        self._connect()
        self.kept.append((self.socket, self.answers))


class StartsAThread(OneByOne):
    """Starts a thread when it is made."""

    def __init__(self, config: LedgerConfig, **settings: Any) -> None:
        super().__init__(config, **settings)
        threading.Thread(target=RELEASE.wait, args=(60.0,), name="watchdog", daemon=True).start()


class Reorders(InBatches):
    """Promises `atomic_batches`, and sends the last message first."""

    atomic_batches: ClassVar[bool] = True

    def _send_batch(self, batch: Batch) -> list[Outcome | BaseException]:
        for flag, message in reversed(list(zip(batch.is_errors(), batch.contents(), strict=True))):
            self._send(flag, message)
        return list(batch.delivered())


class HangsInClose(OneByOne):
    """Waits in `_close` for something that never comes."""

    def _close(self) -> None:
        if self.socket is not None:
            super()._close()
            RELEASE.wait(60.0)


class SaysGoodbye(OneByOne):
    """Waits in `_close` for an answer, without a limit."""

    def _close(self) -> None:
        if self.socket is not None:
            self.socket.settimeout(None)
            with suppress(OSError):
                self.socket.sendall(b"login goodbye\n")
                self.socket.recv(100)
            super()._close()


class ClosesOnce(OneByOne):
    """Cannot be closed twice."""

    opened = False

    def _connect(self) -> None:
        super()._connect()
        self.opened = True

    def _close(self) -> None:
        if self.opened and self.socket is None:
            raise RuntimeError("closed already")
        super()._close()


class NeedsAConnectionToClose(OneByOne):
    """Cannot be closed when it was never connected."""

    def _connect(self) -> None:
        if self.socket is not None:
            super()._close()
        super()._connect()

    def _close(self) -> None:
        if self.answers is None:
            raise RuntimeError("not connected")
        super()._close()


class WaitsForEver(OneByOne):
    """Has no timeout."""

    def _connect(self) -> None:
        super()._connect()
        assert self.socket is not None
        self.socket.settimeout(None)


class ImpatientAndSure(OneByOne):
    """Takes silence for consent."""

    def _connect(self) -> None:
        super()._connect()
        assert self.socket is not None
        self.socket.settimeout(0.01)

    def _read_answer(self) -> None:
        try:
            super()._read_answer()
        except Disconnected as error:
            if "timed out" not in str(error):
                raise


class TriesRefusedForEver(OneByOne):
    """Does not tell a refusal from a failure."""

    def _judge(self, answer: bytes) -> None:
        if answer != b"ok\n":
            raise ConnectionError(f"the answer was {answer!r}")


class RejectsTheWholeBatch(InBatches):
    """One message that is refused condemns its batch."""

    def _send_batch(self, batch: Batch) -> list[Outcome | BaseException]:
        results = super()._send_batch(batch)
        refused = [result for result in results if isinstance(result, Reject)]
        return list(refused[:1] * batch.count) if refused else results


class ForgetsTheOdd(InBatches):
    """Sends messages in pairs, and claims the last one of an odd number without a partner."""

    def _send_batch(self, batch: Batch) -> list[Outcome | BaseException]:
        pairs = list(zip(batch.is_errors(), batch.contents(), strict=True))
        for flag, message in pairs[: max(1, batch.count // 2 * 2)]:
            self._send(flag, message)
        return list(batch.delivered())


class MixesErrors(OneByOne):
    """Every message is a normal one."""

    def _record(self, is_error: bool, message: dict[str, Any]) -> bytes:
        return super()._record(False, message)


class ChangesText(OneByOne):
    """Sends text in an encoding that cannot hold it."""

    def _record(self, is_error: bool, message: dict[str, Any]) -> bytes:
        text = orjson.dumps({"is_error": is_error, "message": message}).decode()
        return text.encode("ascii", "replace") + b"\n"


class CutsLongText(OneByOne):
    """Sends as much of a message as there is room for."""

    def _record(self, is_error: bool, message: dict[str, Any]) -> bytes:
        if len(str(message.get("payload", ""))) > 10_000:
            message = message | {"payload": str(message["payload"])[:10_000]}
        return super()._record(is_error, message)


class SharesItsConnection(OneByOne):
    """One connection for the whole program, also for processes that are forked from it."""

    shared: ClassVar[dict[int, tuple[socket.socket, Any]]] = {}

    def _connect(self) -> None:
        if self.config.port not in self.shared:
            super()._connect()
            assert self.socket is not None
            self.shared[self.config.port] = (self.socket, self.answers)
        self.socket, self.answers = self.shared[self.config.port]

    def _close(self) -> None:
        self.shared.pop(self.config.port, None)
        super()._close()


class ShutsDownWhatItInherits(OneByOne):
    """Begins with a proper end of the connection that it had, which after a fork is its parent's."""

    def _close(self) -> None:
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
        super()._close()


class LogsItsToken(OneByOne):
    """Tells the log how it has logged in."""

    def _connect(self) -> None:
        super()._connect()
        logging.getLogger(__name__).info("logged in with %s", self.config.token.get_secret_value())


class ShowsItsToken(OneByOne):
    """Has its token in its name for people."""

    @property
    def destination(self) -> str:
        return f"ledger://{self.config.token.get_secret_value()}@{self.config.host}"


class ConnectsOnlyOnce(OneByOne):
    """Refuses to connect when it believes that it is connected."""

    def _connect(self) -> None:
        if self.socket is not None:
            raise RuntimeError("connected already")
        super()._connect()


class GivesUp(OneByOne):
    """Never tries again after an answer that it does not understand."""

    broken = False

    def _judge(self, answer: bytes) -> None:
        self.broken = self.broken or (bool(answer) and answer != b"ok\n" and not answer.startswith(b"no "))
        if self.broken:
            raise ConnectionError("protocol error")
        super()._judge(answer)


class ForgetsTheRest(OneByOne):
    """Ends its own shutdown before the backlog is sent: what is left it only pretends to send."""

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        if not self.closed:
            super()._send(is_error, message)
