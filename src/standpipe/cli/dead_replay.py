"""Sending dead letters again, through their producer.

Each letter is sent once, from a queue in memory: it is on the disk already, in the store, and leaves that only when it was
delivered. A spool would be a second place that holds it, and could belong to a running process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standpipe.cli.dead_edit import CannotBeSent
from standpipe.cli.dead_stores import Part
from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.core.errors import EncodingError, MessageTooLarge, ProducerClosed, QueueFull
from standpipe.delivery.receipt import Receipt, State
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.config import QueueConfig
from standpipe.spool.dead_letter_table import StoredLetter
from standpipe.spool.files import RealFileSystem

CHUNK_LETTERS = 500
CHUNK_BYTES = 16 * 2**20
"""What is under way at a time: enough for full batches, little enough to hold in memory."""

QUEUE_BYTES_MAX = 2**40
"""The chunks bound the memory; a single letter, however large, fits."""

TICK = 0.1
"""Seconds between two looks at whether anything has been settled."""

Mend = Callable[[StoredLetter], bytes]


@dataclass(frozen=True)
class Result:
    """What became of one letter."""

    id: str
    producer: str
    outcome: str
    """`delivered`, `dead_lettered` (put aside again), `undelivered` (no answer in time), `refused` (could not be sent as it is)
    or `gone` (somebody else removed it meanwhile)"""
    error: str | None = None
    replays: int = 0

    @property
    def is_delivered(self) -> bool:
        """Whether it arrived."""
        return self.outcome == "delivered"


def producer_for_replay(kind: type[BaseProducer], config: BaseProducerConfig, state_dir: Path, rate: float | None) -> BaseProducer:
    """The configured producer, for this process alone: its queue in memory, what fails again back into the store."""
    slowest = min((limit for limit in (rate, config.rate_limit) if limit is not None), default=None)
    changes = {
        "queue": QueueConfig(max_messages=CHUNK_LETTERS, max_bytes=QUEUE_BYTES_MAX),
        "dead_letters": config.dead_letters.model_copy(update={"type": "sqlite"}),
        "rate_limit": slowest,
    }
    producer = kind(config.model_copy(update=changes))
    producer.keep_state_in(state_dir)
    return producer


class Replay:
    """The replay of one producer's letters. `run` once; `gave_up` says whether it ended before all were tried."""

    def __init__(self, part: Part, producer: BaseProducer, mend: Mend, timeout: float) -> None:
        self.gave_up = False
        self._store = part.store
        self._filter = part.filter
        self._name = part.producer
        self._producer = producer
        self._mend = mend
        rate = producer.config.rate_limit
        self._patience = timeout + (1 / rate if rate else 0.0)

    def run(self, limit: int | None) -> Iterator[Result]:
        """What becomes of each letter, at most `limit` of them, oldest first. One replay of a producer at a time.

        Gives up when nothing has been settled for the timeout; what has not been delivered then waits in the store as before.
        """
        files = RealFileSystem(self._store.path.parent)
        holder = files.lock(f"{self._name}.replay.lock")
        if holder is not None:
            raise CommandFailed(
                f"{self._name}: another replay of its dead letters is under way (process {holder}); wait for its end", ExitCode.UNDELIVERED
            )
        try:
            for chunk in self._chunks(limit):
                yield from self._send(chunk)
                if self.gave_up:
                    return
        finally:
            self._producer.shutdown(0 if self.gave_up else None)
            files.unlock()

    def _chunks(self, limit: int | None) -> Iterator[list[StoredLetter]]:
        chunk: list[StoredLetter] = []
        size = 0
        for letter in self._store.select(self._filter, limit):
            chunk.append(letter)
            size += letter.size
            if len(chunk) >= CHUNK_LETTERS or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def _send(self, chunk: list[StoredLetter]) -> Iterator[Result]:
        payloads: dict[int, bytes] = {}
        for letter in chunk:
            try:
                payloads[letter.seq] = self._mend(letter)
            except CannotBeSent as error:
                yield self._result(letter, "refused", str(error))
        ready = [letter for letter in chunk if letter.seq in payloads]
        taken = self._store.take_for_replay(ready)
        still_there = {letter.seq for letter in taken}
        yield from (self._result(letter, "gone") for letter in ready if letter.seq not in still_there)
        yield from self._deliver(taken, payloads)

    def _deliver(self, letters: Sequence[StoredLetter], payloads: dict[int, bytes]) -> list[Result]:
        """Hand over, wait, and bring the store up to date, however this ends."""
        sent: list[tuple[StoredLetter, Receipt]] = []
        results: list[Result] = []
        refused: list[StoredLetter] = []
        try:
            for letter in letters:
                try:
                    sent.append((letter, self._produce(letter, payloads[letter.seq])))
                except (EncodingError, MessageTooLarge, ProducerClosed, QueueFull) as error:
                    refused.append(letter)
                    results.append(self._result(letter, "refused", str(error)))
            self.gave_up = not self._all_settled([receipt for _, receipt in sent])
        except BaseException:
            self.gave_up = True
            raise
        finally:
            if self.gave_up:
                self._producer.shutdown(0)  # from here on nothing arrives any more
            self._store.replayed([letter for letter, receipt in sent if receipt.delivered])
            handed = {letter.seq for letter, receipt in sent if receipt.state in (State.DELIVERED, State.DEAD_LETTERED)}
            self._store.give_back([letter for letter in letters if letter.seq not in handed])
        return results + [self._settled(letter, receipt) for letter, receipt in sent]

    def _produce(self, letter: StoredLetter, payload: bytes) -> Receipt:
        details: dict[str, Any] = {"key": letter.key, "headers": letter.headers, "message_ids": [letter.id]}
        return self._producer.produce_encoded(letter.is_error, payload, 1, **details)

    def _all_settled(self, receipts: Sequence[Receipt]) -> bool:
        """Wait for all; False when none of them has been settled for too long."""
        progress, since = -1, time.monotonic()
        for receipt in receipts:
            while not receipt.done():
                receipt.wait(TICK)
                now = self._producer.statistics()
                if now.delivered + now.dead_lettered != progress:
                    progress, since = now.delivered + now.dead_lettered, time.monotonic()
                elif time.monotonic() - since > self._patience:
                    return False
        return True

    def _settled(self, letter: StoredLetter, receipt: Receipt) -> Result:
        if receipt.delivered:
            return self._result(letter, "delivered")
        if receipt.state is State.DEAD_LETTERED:
            found = self._store.get(letter.id)
            return self._result(letter, "dead_lettered", found.error if found is not None else None)
        return self._result(letter, "undelivered", self._producer.statistics().last_error)

    def _result(self, letter: StoredLetter, outcome: str, error: str | None = None) -> Result:
        return Result(letter.id, self._name, outcome, error, letter.replays)
