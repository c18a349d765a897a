"""Which message a report of the client is about, for those that are with it.

The client takes a function with every message and calls it when the message's fate is known. Made for each message, these
functions would be thousands of new objects that live for a moment, and Python's garbage collector would spend as much time on
them as the client on sending. So they are made once and used again, in blocks: a batch has a block until all its messages have
been spoken of, and each function knows the position of its message in the batch.

Most batches arrive whole. So a block notes what has arrived and reports it in one piece, when that was the last message, or when
somebody asks for what there is (`tell`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, overload

from confluent_kafka import KafkaError, Message

from standpipe.core.errors import StandpipeError
from standpipe.delivery.report import Report

Callback = Callable[[KafkaError | StandpipeError | None, Message | None], None]
Failure = Callable[[KafkaError | StandpipeError], StandpipeError]


class Coordinates(Sequence[dict[str, Any]]):
    """Where each message of a batch is at the brokers: `{"topic": "orders", "partition": 3, "offset": 1742}`, made when asked for."""

    def __init__(self, topics: Sequence[str], partitions: Sequence[int], offsets: Sequence[int]) -> None:
        self._topics = topics
        self._partitions = partitions
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, which: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, which: slice) -> Coordinates: ...

    def __getitem__(self, which: int | slice) -> dict[str, Any] | Coordinates:
        topic, partition, offset = self._topics[which], self._partitions[which], self._offsets[which]
        if isinstance(topic, str) and isinstance(partition, int):
            return {"topic": topic, "partition": partition, "offset": offset}
        return Coordinates(topic, partition, offset)  # type: ignore[arg-type]  # they were sliced


class Window:
    """The blocks of one client. Used by the worker thread alone.

    `failure` says what an error means for the message; `details`: whether reports are told topic, partition and offset.
    """

    def __init__(self, failure: Failure, details: bool) -> None:
        self._failure = failure
        self._details = details
        self._free: dict[int, list[_Block]] = {}  # by size, a power of two: small batches do not keep large blocks busy
        self._busy: dict[_Block, None] = {}

    def take(self, report: Report, topics: Sequence[str]) -> list[Callback]:
        """What tells `report` about the message at each position, one for each of the topics, to be called once. There may be more."""
        size = 1 << (len(topics) - 1).bit_length()
        free = self._free.setdefault(size, [])
        block = free.pop() if free else _Block(size, self._failure, self._details)
        block.report, block.topics, block.left = report, topics, len(topics)
        block.done = partial(self._done, block, free)
        self._busy[block] = None
        return block.callbacks

    def tell(self) -> None:
        """Reports are told everything that has arrived until now."""
        for block in list(self._busy):
            block.tell()

    def _done(self, block: _Block, free: list[_Block]) -> None:
        del self._busy[block]
        free.append(block)


class _Block:
    """Callbacks for the messages of one batch at a time. `done` is called when all of them have been."""

    report: Report
    topics: Sequence[str]
    done: Callable[[], object]

    def __init__(self, size: int, failure: Failure, details: bool) -> None:
        self.left = 0  # messages of which the report has not been told
        self._arrived: list[int] = []
        self._failure = failure
        self._details = details
        self._partitions = [0] * size
        self._offsets = [0] * size
        self.callbacks: list[Callback] = [self._callback(position) for position in range(size)]

    def _callback(self, position: int) -> Callback:
        arrived, partitions, offsets, details = self._arrived, self._partitions, self._offsets, self._details

        def told(error: KafkaError | StandpipeError | None, message: Message | None) -> None:
            """What became of a message. Called for each: everything frequent is here, and nothing is looked up."""
            if error is None:
                arrived.append(position)
                if details and message is not None:
                    partitions[position] = message.partition()  # type: ignore[assignment]  # never None of what has arrived
                    offsets[position] = message.offset()  # type: ignore[assignment]
                if len(arrived) == self.left:
                    self.tell()
            else:
                self._failed(position, error)

        return told

    def _failed(self, position: int, error: KafkaError | StandpipeError) -> None:
        self.left -= 1
        self.report.failed(position, self._failure(error))
        if self.left == len(self._arrived):
            self.tell()

    def tell(self) -> None:
        """The report is told what has arrived."""
        if self.left and not self._arrived:
            return
        report, count = self.report, len(self.topics)
        arrived = self._arrived.copy()
        self._arrived.clear()
        self.left -= len(arrived)
        details = Coordinates(self.topics, self._partitions[:count], self._offsets[:count]) if self._details else None
        if not self.left:
            self.done()
        if len(arrived) == count:
            report.all_delivered(details)
        else:
            for position in arrived:
                report.delivered(position, None if details is None else details[position])
