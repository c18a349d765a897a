"""Batches as transactions: all of a batch is seen by readers that ask for it (`read_committed`), or nothing.

One transaction at a time, and the worker waits for it: what is not committed is aborted, so it can be sent again without
becoming a duplicate. Only a commit whose answer is lost for good leaves open whether the batch has arrived.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from standpipe.core.errors import Disconnected, NotSent, Reject, RetryAfter, SendError, StandpipeError
from standpipe.delivery.batch import Batch
from standpipe.delivery.report import Report
from standpipe.producers.kafka_config import KafkaProducerConfig
from standpipe.producers.kafka_errors import is_fatal, translate

STEP = 1.0
"""Seconds between two looks at the clock while a transaction is committed."""

ABORT_WITHIN = 3.0
"""Seconds for an abort; if it takes longer, the next client does it."""

Sending = tuple[str, bytes, str | None, Any]
"""Topic, body, key and headers of a message."""

Failure = Callable[[KafkaError], StandpipeError]


class Transactions:
    """Sends batches as transactions of one client, which has been made ready for them. Worker thread only."""

    def __init__(self, client: Producer, config: KafkaProducerConfig, failure: Failure) -> None:
        self._client = client
        self._failure = failure
        self._details = config.details
        self._within = min(config.transaction_timeout, config.send_timeout or config.transaction_timeout)

    def send(self, messages: Iterable[Sending], batch: Batch, report: Report) -> None:
        """Send the messages of a batch about which nothing has been reported, and report each of them."""
        until = time.monotonic() + self._within
        attempt = _Attempt()
        try:
            self._client.begin_transaction()
            for position, message in enumerate(messages):
                if report.result(position) is None:
                    attempt.position = position
                    self._hand_over(message, partial(self._confirmed, attempt, position), until)
            attempt.position = None
            self._deliver(until)
            attempt.committing = True
            self._commit(until)
        except KafkaException as error:
            self._fail(error, attempt, batch, report)
            return
        report.all_delivered([attempt.details.get(position) for position in range(batch.count)])

    def _hand_over(self, message: Sending, confirmed: Callable[..., None], until: float) -> None:
        topic, body, key, headers = message
        while True:
            try:
                self._client.produce(topic, body, key, on_delivery=confirmed, headers=headers)
                return
            except BufferError:
                if time.monotonic() >= until:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None
                self._client.poll(STEP)

    def _confirmed(self, attempt: _Attempt, position: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            attempt.faults[position] = self._failure(error)
        elif self._details:
            attempt.details[position] = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}

    def _deliver(self, until: float) -> None:
        """Wait until the broker has all messages. `commit_transaction` would do it too, but calls back while an exception is set
        if the client ends in the middle of it; and it would not be known whether the commit was begun."""
        while len(self._client):
            if time.monotonic() >= until:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            self._client.poll(STEP)

    def _commit(self, until: float) -> None:
        """Raises KafkaException if it fails, or is not known in time."""
        while True:
            try:
                self._client.commit_transaction(STEP)
                return
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() >= until:
                    raise

    def _fail(self, error: KafkaException, attempt: _Attempt, batch: Batch, report: Report) -> None:
        """Abort, then report: rejected is the message at fault, the others are sent again."""
        failure = translate(error)
        if attempt.position is not None:
            attempt.faults.setdefault(attempt.position, failure)
        aborted = not is_fatal(error) and self._abort()
        rejected = {position: fault for position, fault in attempt.faults.items() if isinstance(fault, Reject)}
        for position, fault in rejected.items():
            report.failed(position, fault)
        report.all_failed(self._of_the_others(failure, bool(rejected), attempt.committing and not aborted, batch))

    @staticmethod
    def _of_the_others(failure: SendError, rejected: bool, open_end: bool, batch: Batch) -> SendError:
        """What is to be done about messages that are not at fault. `open_end`: they may have been committed."""
        if rejected and not open_end:
            return NotSent("the transaction was aborted because of another message in it")
        if isinstance(failure, (RetryAfter, Disconnected)):
            batch.unknown = batch.unknown or open_end
            return failure if open_end or isinstance(failure, RetryAfter) else Disconnected(str(failure), arrived=False)
        if open_end:
            return SendError(f"whether the transaction was committed is not known ({failure})")
        return NotSent(f"the transaction was aborted ({failure})")

    def _abort(self) -> bool:
        with contextlib.suppress(KafkaException):
            self._client.abort_transaction(ABORT_WITHIN)
            return True
        return False


class _Attempt:
    """What is known of one transaction."""

    def __init__(self) -> None:
        self.position: int | None = None  # the message that is being handed over
        self.committing = False
        self.faults: dict[int, StandpipeError] = {}
        self.details: dict[int, Any] = {}
