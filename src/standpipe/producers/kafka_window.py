"""Which message a report of the client is about, for those that are with it.

The client takes a function with every message and calls it when the message's fate is known. Made for each message, these
functions would be thousands of new objects that live for a moment, and Python's garbage collector would spend as much time on
them as the client on sending. So they are made once and used again, in blocks: a batch has a block until all its messages have
been spoken of, and each function knows the position of its message in the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from confluent_kafka import KafkaError, Message

from standpipe.core.errors import StandpipeError
from standpipe.delivery.report import Report

Callback = Callable[[KafkaError | StandpipeError | None, Message | None], None]
Failure = Callable[[KafkaError | StandpipeError], StandpipeError]


class Window:
    """The blocks of one client. Used by the worker thread alone.

    `failure` says what an error means for the message; `details`: whether reports are told topic, partition and offset.
    """

    def __init__(self, failure: Failure, details: bool) -> None:
        self._failure = failure
        self._details = details
        self._free: dict[int, list[_Block]] = {}  # by size, a power of two: small batches do not keep large blocks busy

    def take(self, report: Report, count: int) -> list[Callback]:
        """What tells `report` about the message at each position: the first `count` of them (1 or more), each to be called once."""
        size = 1 << (count - 1).bit_length()
        free = self._free.setdefault(size, [])
        block = free.pop() if free else _Block(size, free, self._failure, self._details)
        block.report = report
        block.left = count
        return block.callbacks


class _Block:
    """Callbacks for the messages of one batch at a time; goes back to `free` with the last of them."""

    __slots__ = ("_details", "_failure", "_free", "callbacks", "left", "report")

    report: Report

    def __init__(self, size: int, free: list[_Block], failure: Failure, details: bool) -> None:
        self._free = free
        self._failure = failure
        self._details = details
        self.left = 0
        self.callbacks: list[Callback] = [partial(self._told, position) for position in range(size)]

    def _told(self, position: int, error: KafkaError | StandpipeError | None, message: Message | None) -> None:
        """What became of a message. Called for each: everything is in one function for that."""
        report = self.report
        self.left -= 1
        if not self.left:
            self._free.append(self)
        if error is not None:
            report.failed(position, self._failure(error))
        elif self._details and message is not None:
            report.delivered(position, {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()})
        else:
            report.delivered(position)
