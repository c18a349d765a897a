"""`type: redis`: messages as entries of Redis streams, elements of lists, or published to channels.

A batch goes out as one transaction. What the commands look like is said in `redis_commands.py`, what the answers mean in
`redis_transfer.py` and `redis_errors.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import redis

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, SendError, StandpipeError
from standpipe.core.finding import Finding
from standpipe.core.outcome import Outcome
from standpipe.delivery.batch import Batch
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.error_table import ErrorTable
from standpipe.producers.redis_commands import Commands
from standpipe.producers.redis_config import RedisProducerConfig
from standpipe.producers.redis_connection import ServerError, SpeakingConnection
from standpipe.producers.redis_errors import ERRORS, is_about_a_name
from standpipe.producers.redis_examine import findings
from standpipe.producers.redis_replicas import Replicas
from standpipe.producers.redis_session import open_session
from standpipe.producers.redis_transfer import Discarded, transfer

_log = logging.getLogger("standpipe.producers.redis")

Detail = dict[str, Any]
Result = Outcome | SendError


class RedisProducer(BaseProducer):
    """Adds messages to Redis streams (or lists), in batches that arrive as a whole; or publishes them to channels.

    `receipt.detail` is `{"stream": "orders", "id": "1700000000000-0"}`, `{"list": ..., "length": ...}` (right after the message
    was put in) or `{"channel": ..., "receivers": ...}`; with `"repeated": True` where `deduplicate` found it there already.
    """

    config_model: ClassVar[type[BaseProducerConfig]] = RedisProducerConfig
    errors: ClassVar[ErrorTable] = ERRORS

    config: RedisProducerConfig

    _connection: SpeakingConnection | None = None
    _commands: Commands | None = None
    _replicas: Replicas | None = None
    _fixed_names: Collection[str] = ()
    _warned = False

    @property
    def atomic_batches(self) -> bool:  # type: ignore[override]
        """Whether a batch arrives as a whole: what concerns a single message then concerns all for the same stream."""
        return self.config.transaction

    @property
    def destination(self) -> str:
        """Server and stream."""
        config = self.config
        errors = "" if config.error_stream is None else f", errors: {config.error_stream}"
        return f"{config.url}, {_NOUNS[config.mode]} {config.stream}{errors}"

    def examine(self) -> list[Finding]:
        """The server's settings, its replicas and our rights, and what of it loses messages."""
        try:
            return list(findings(self.config))
        except (redis.RedisError, OSError) as error:
            raise ERRORS.translate(error) from None

    # --- connection ---------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._close()
        try:
            self._connection = open_session(self.config)
        except (redis.RedisError, OSError, StandpipeError) as error:
            raise self._fault(error) from None
        self._commands = Commands(self.config)
        self._fixed_names = {template.constant for template in self.config.names if template.constant is not None}
        self._replicas = None if self.config.wait is None else Replicas(self.config.wait, self.config.send_timeout)
        if self.config.mode == "pubsub" and not self._warned:
            self._warned = True
            _log.warning("%s: publishing keeps nothing: a message that nobody listens to at that moment is lost", self.config.name)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()  # type: ignore[no-untyped-call]

    # --- sending ------------------------------------------------------------------------------------------------------

    def _send_batch(self, batch: Batch) -> list[Result]:
        connection, commands = self._connection, self._commands
        if connection is None or commands is None:
            raise NotSent("the connection is closed")
        faults: dict[int, Reject] = {}
        names, packed = commands.made(batch, faults)
        details: list[Detail | None] = [None] * batch.count
        failed: dict[int, SendError] = dict(faults)
        positions: Sequence[int] = range(batch.count)
        done = self._caught_up(connection, batch, details)
        if failed or done:
            positions = [position for position in positions if position not in failed and position not in done]
        self._deliver(connection, positions, names, packed, details, failed)
        self._await_replicas(connection, batch, positions, details, failed)
        if self.config.details:
            batch.details = details
        if not failed:
            return list(batch.delivered())
        return [failed.get(position, Outcome.DELIVERED) for position in range(batch.count)]

    def _deliver(
        self,
        connection: SpeakingConnection,
        positions: Sequence[int],
        names: list[str],
        packed: list[bytes],
        details: list[Detail | None],
        failed: dict[int, SendError],
    ) -> None:
        """Send what is at `positions`. When a transaction is discarded because of messages that can never be sent, the others
        are sent without them."""
        while positions:
            commands = packed if len(positions) == len(packed) else [packed[position] for position in positions]
            replies = transfer(connection, commands, self.config.send_timeout, together=self.config.transaction)
            self._settle(positions, replies, names, details, failed)
            if not failed:
                return
            discarded = [position for position in positions if isinstance(failed.get(position), Discarded)]
            refused = [failed[position] for position in positions if position in failed and not isinstance(failed[position], Discarded)]
            if discarded and not any(isinstance(fault, Reject) for fault in refused):
                raise refused[0]  # it concerns none of the messages alone
            for position in discarded:
                del failed[position]
            positions = discarded

    def _settle(
        self, positions: Sequence[int], replies: list[Any], names: list[str], details: list[Detail | None], failed: dict[int, SendError]
    ) -> None:
        """What the replies mean for each message."""
        mode, strict = self.config.mode, not self.config.create
        keeps = self.config.details or self._replicas is not None
        if mode == "stream" and set(map(type, replies)) == {bytes}:  # the usual case
            if keeps:
                for position, reply in zip(positions, replies, strict=True):
                    details[position] = {"stream": names[position], "id": reply.decode()}
            return
        for position, reply in zip(positions, replies, strict=True):
            if isinstance(reply, Exception):
                failed[position] = self._fault_of(reply, names[position])
            elif strict and reply is None:
                failed[position] = self._fault_of(ServerError("NOSTREAM it does not exist"), names[position])
            elif keeps:
                details[position] = _detail(mode, names[position], reply)

    def _fault_of(self, reply: Exception, name: str) -> SendError:
        if isinstance(reply, SendError):
            return reply
        fault = self._fault(reply)
        if is_about_a_name(reply) and name not in self._fixed_names:
            return Reject(f"{name!r}: {fault}")
        return fault

    def _fault(self, error: BaseException) -> SendError:
        fault = self.errors.translate(error)
        return Misconfigured(self.config.pause, str(fault)) if isinstance(fault, Misconfigured) else fault

    # --- replicas -----------------------------------------------------------------------------------------------------

    def _caught_up(self, connection: SpeakingConnection, batch: Batch, details: list[Detail | None]) -> Collection[int]:
        """Positions of messages that were sent before, and that enough replicas have by now."""
        if self._replicas is None:
            return ()
        try:
            known = self._replicas.caught_up(connection, batch.ids())
        except (redis.RedisError, OSError) as error:
            raise self._fault(error) from None
        for position, detail in known.items():
            details[position] = detail
        return known

    def _await_replicas(
        self,
        connection: SpeakingConnection,
        batch: Batch,
        positions: Sequence[int],
        details: list[Detail | None],
        failed: dict[int, SendError],
    ) -> None:
        sent = [position for position in positions if position not in failed] if self._replicas is not None else []
        if self._replicas is None or not sent:
            return
        ids = batch.ids()
        try:
            shortage = self._replicas.shortage(connection, {ids[position]: details[position] for position in sent})
        except (redis.RedisError, OSError) as error:
            failed.update((position, Disconnected(str(self._fault(error)))) for position in sent)
            return
        if shortage is not None:
            failed.update((position, SendError(shortage)) for position in sent)


def _detail(mode: str, name: str, reply: Any) -> Detail:
    """Where a message is, from what its command answered."""
    if isinstance(reply, list):  # what the script remembers of the first time
        return _detail(mode, name, reply[0] if mode == "stream" else int(reply[0])) | {"repeated": True}
    if mode == "stream":
        return {"stream": name, "id": reply.decode()}
    if mode == "list":
        return {"list": name, "length": reply}
    return {"channel": name, "receivers": reply}


_NOUNS = {"stream": "stream", "list": "list", "pubsub": "channel"}
