"""`type: nats`: messages published to JetStream, thousands on their way at once, each counted when a stream has stored it.

The connection is in `nats_client.py`, what becomes of each message is followed in `nats_window.py`, what an error means is
said in `nats_errors.py`, and what the doctor finds in `nats_examine.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar
from uuid import uuid4

from standpipe.core.errors import Disconnected, NotSent, Reject, SendError
from standpipe.core.finding import Finding
from standpipe.core.outcome import Outcome
from standpipe.delivery.batch import Batch
from standpipe.producers.addresses import HostPort
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.envelope import Envelope
from standpipe.producers.error_table import ErrorTable
from standpipe.producers.nats_client import ServerClient
from standpipe.producers.nats_config import NatsProducerConfig
from standpipe.producers.nats_errors import ERRORS, Ended, NoStream, NoStreamForIt, TooLarge
from standpipe.producers.nats_examine import examine
from standpipe.producers.nats_streams import without_stream
from standpipe.producers.nats_window import Result, Sending, Window
from standpipe.producers.text_template import TextChoice

EXPECTED_STREAM = "Nats-Expected-Stream"

WAIT_SHARE = 0.9
"""Share of `send_timeout` that acknowledgements are waited for: then those that came are told from those that did not, which
the engine cannot do when it ends the send itself."""

TURN = 128
"""Messages after which the connection gets its turn, so that the server has something to do while the next are written."""

HEADERS_MAX = 2**16
"""Bytes that the headers of a message may have in JetStream: smaller messages need not be measured."""


class NatsProducer(BaseProducer):
    """Publishes messages to subjects of NATS; each counts as delivered when a stream has stored it.

    `receipt.detail` is `{"stream": "ORDERS", "sequence": 4711, "duplicate": False}`.
    """

    config_model: ClassVar[type[BaseProducerConfig]] = NatsProducerConfig
    errors: ClassVar[ErrorTable] = ERRORS

    config: NatsProducerConfig

    _client: ServerClient | None = None
    _window: Window
    _turn: asyncio.Lock
    """one batch after the other is written, so that messages leave in the order in which they were produced"""
    _envelope: Envelope
    _subjects: TextChoice

    _host = 0
    """which of the servers is next"""
    _discovered: tuple[HostPort, ...] = ()
    """servers that the cluster has named"""

    @property
    def max_in_flight(self) -> int:  # type: ignore[override]
        """Batches on their way at once."""
        return max(1, self.config.max_pending // self.config.batch.max_messages)

    @property
    def destination(self) -> str:
        """Server and subject, and that of errors."""
        config = self.config
        errors = "" if config.error_subject is None else f", errors: {config.error_subject}"
        return f"{config.url} {config.subject}{errors}"

    def examine(self) -> list[Finding]:
        """What would be lost when, as far as the user may ask. Opens a connection of its own, and publishes nothing."""
        return examine(self.config)

    # --- connection ---------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        await self._close()
        config = self.config
        stream, error_stream = config.streams
        self._envelope = Envelope(config, extra={} if stream is None else {EXPECTED_STREAM: stream})
        self._has_own_error_stream = error_stream != stream
        self._subjects = TextChoice(*config.subjects)
        self._turn = asyncio.Lock()
        self._window = Window(f"{config.inbox_prefix}.{uuid4().hex}", config.details, config.is_one_way)
        hosts = (*config.hosts, *self._discovered)
        host = hosts[self._host % len(hosts)]
        client = self._client = ServerClient(config, self._on_ended, self._window.on_denied)
        try:
            await client.open(host)
            if config.mode == "jetstream":
                await client.read_acknowledgements(self._window.filter, self._window.take, config.connect_timeout)
        except Exception as error:
            self._host += 1
            await self._close()
            failure = self.errors.translate(error)
            failure.args = (f"{host}: {failure}",)
            raise failure from error

    def _on_ended(self, error: BaseException | None) -> None:
        self._window.on_ended(Ended(str(error or "closed")))

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if self.config.discover and client.neighbours:  # what was named last
            self._discovered = tuple(host for host in client.neighbours if host not in self.config.hosts)
        await client.close()

    def _after_fork(self) -> None:
        """The connection is the parent's."""
        self._client = None
        super()._after_fork()

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _send_batch(self, batch: Batch) -> list[Any]:
        client = self._client
        if client is None or not client.is_connected:
            raise Disconnected("the connection is lost", arrived=False)
        faults: dict[int, Reject] = {}
        subjects = self._subjects.of(batch, faults)
        bodies, headers = self._envelope.wrap(batch, faults)
        if self._has_own_error_stream:
            headers = self._with_error_stream(headers, batch.is_errors())
        sending = self._window.begin(subjects)
        for position, fault in faults.items():
            sending.settle(position, fault)
        try:
            async with self._turn:
                await self._publish(client, sending, bodies, headers)
            await self._wait(client, sending)
        finally:
            self._window.end(sending)
        results = await self._looked_up(client, sending)
        batch.details = sending.details
        return results

    async def _publish(self, client: ServerClient, sending: Sending, bodies: Sequence[bytes], headers: Sequence[dict[str, str]]) -> None:
        """Write all messages that nothing is known of. They are on their way when this returns, or soon after."""
        publish, results, largest = client.publish, sending.results, client.max_payload
        measured = largest - HEADERS_MAX
        acknowledged = self.config.mode == "jetstream"
        prefix = f"{self._window.reply_to(sending)}."
        for position, (subject, body, header) in enumerate(zip(sending.subjects, bodies, headers, strict=True)):
            if results[position] is not None:
                continue
            if len(body) > measured and (size := len(body) + _size_of(header)) > largest:
                error = TooLarge(f"{size} bytes with headers, and the server takes {largest}")
                sending.settle(position, self.errors.translate(error))
                continue
            try:
                await publish(subject, body, f"{prefix}{position}" if acknowledged else "", header or None)
            except Exception as error:
                if not client.is_connected:
                    sending.settle_all(NotSent("the connection ended before it was sent"))
                    return
                sending.settle(position, self.errors.translate(error))
            if position % TURN == TURN - 1:
                await asyncio.sleep(0)

    async def _wait(self, client: ServerClient, sending: Sending) -> None:
        """Until something is known of every message, or time is up: then the rest may have arrived."""
        limit = self.config.send_timeout
        seconds = None if limit is None else limit * WAIT_SHARE
        try:
            async with asyncio.timeout(seconds):
                if self.config.mode == "core":
                    await _read_by_server(client, sending, seconds or self.config.connect_timeout)
                await sending.done
        except TimeoutError:
            sending.settle_all(SendError(f"no acknowledgement within {seconds:g} s ({WAIT_SHARE:.0%} of send_timeout)"))

    async def _looked_up(self, client: ServerClient, sending: Sending) -> list[Result]:
        """Results in which messages without a stream are rejected, if they are to be and the server says that there is none."""
        results = [Outcome.UNKNOWN if result is None else result for result in sending.results]
        if not self.config.rejects_without_stream:
            return results
        lost = [position for position, result in enumerate(results) if _is_without_stream(result)]
        if lost:
            nowhere = await without_stream(client, self.config, dict.fromkeys(sending.subjects[position] for position in lost))
            for position in lost:
                if sending.subjects[position] in nowhere:
                    results[position] = self.errors.translate(NoStreamForIt(sending.subjects[position]))
        return results

    def _with_error_stream(self, headers: Iterable[dict[str, str]], flags: Iterable[bool]) -> list[dict[str, str]]:
        expected = self.config.streams[True]
        more = {} if expected is None else {EXPECTED_STREAM: expected}
        return [
            {**{name: value for name, value in header.items() if name != EXPECTED_STREAM}, **more} if flag else header
            for header, flag in zip(headers, flags, strict=True)
        ]


async def _read_by_server(client: ServerClient, sending: Sending, seconds: float) -> None:
    """Without JetStream: all that the server has not refused by now is delivered. Returns early when the connection ends."""
    asked = asyncio.ensure_future(client.confirm(seconds))
    asked.add_done_callback(lambda task: task.cancelled() or task.exception())  # it is looked at here, or of no interest any more
    try:
        await asyncio.wait({asked, sending.done}, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            asked.result()
            sending.settle_all(Outcome.DELIVERED)
    finally:
        asked.cancel()


def _is_without_stream(result: Result) -> bool:
    return isinstance(result, SendError) and isinstance(result.__cause__, NoStream)


def _size_of(headers: dict[str, str]) -> int:
    """Bytes of the headers of a message as they are sent: a first line, a line for each, an empty line."""
    return 12 + sum(len(name) + len(value) + 4 for name, value in headers.items()) if headers else 0
