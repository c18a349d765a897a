"""A producer whose destination is a list: for tests of programs that produce."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from standpipe.core.errors import NotSent, Reject
from standpipe.core.message import Message
from standpipe.core.outcome import Outcome
from standpipe.delivery.batch import Batch
from standpipe.producers.base import BaseProducer, BaseProducerConfig

RECORDING = BaseProducerConfig.model_validate(
    {"type": "recording", "name": "recording", "retry": {"initial": 0.001, "max": 0.01}, "reconnect_wait": 0.01}
)
"""Retries at once: a test does not wait."""


class RecordingProducer(BaseProducer):
    """Keeps what it is sent, with the real queue, worker and receipts: `messages`, `contents()`, `errors()`.

    `fail_with(...)` says what the next messages run into. `messages` may be read at any time, from any thread; what was
    produced is there once its receipt is settled (`producer.flush(5)`).
    """

    atomic_batches: ClassVar[bool] = True

    def __init__(self, config: BaseProducerConfig = RECORDING, **settings: Any) -> None:
        """`config` and `settings` as for every producer; the default has a name and retries at once."""
        self.messages: list[Message] = []
        """What has arrived, in order."""
        self._to_raise: list[BaseException] = []
        self._arrived = threading.Condition()
        super().__init__(config, **settings)

    def fail_with(self, errors: Iterable[BaseException]) -> None:
        """Let the next messages fail with these, one attempt each: `Reject(...)` puts a message aside, others are tried again."""
        with self._arrived:
            self._to_raise.extend(errors)

    def contents(self, *, is_error: bool | None = None) -> list[dict[str, Any]]:
        """The messages as dicts, in order of arrival; only error or only normal messages if `is_error` is given."""
        with self._arrived:
            return [message.content() for message in self.messages if is_error in (None, message.is_error)]

    def errors(self) -> list[dict[str, Any]]:
        """The error messages as dicts."""
        return self.contents(is_error=True)

    def wait_for(self, condition: Callable[[list[Message]], bool], timeout: float = 10.0) -> list[Message]:
        """Wait until `condition(messages)` is true, and return them. Raises TimeoutError after `timeout` seconds."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: condition(self.messages), timeout):
                raise TimeoutError(f"what was waited for did not happen within {timeout:g} s; {len(self.messages)} messages have arrived")
            return list(self.messages)

    def _connect(self) -> None:
        """There is nothing to connect to."""

    def _send_batch(self, batch: Batch) -> list[Outcome | BaseException]:
        results: list[Outcome | BaseException] = []
        with self._arrived:
            for message in batch:
                error = self._to_raise.pop(0) if self._to_raise else None
                if error is None:
                    self.messages.append(message)
                results.append(Outcome.DELIVERED if error is None else error)
                if error is not None and not isinstance(error, Reject):  # as `atomic_batches` promises: nothing after it arrives
                    results += [NotSent("it comes after a message that failed")] * (batch.count - len(results))
                    break
            self._arrived.notify_all()
        return results

    def _close(self) -> None:
        """There is nothing to close."""
