"""A producer of your own: three methods, and what to raise in them.

    python examples/custom_producer.py

The service below is made up and misbehaves on purpose: it loses its connection once, and does not take every message.
"""

from __future__ import annotations

from typing import Any

from standpipe import BaseProducer, BaseProducerConfig, Reject


class LedgerService:
    """The client of some service."""

    calls = 0

    def post(self, entry: dict[str, Any]) -> None:
        """Raises ConnectionError at the third call, and ValueError for what it will never take."""
        LedgerService.calls += 1
        if LedgerService.calls == 3:
            raise ConnectionError("connection reset by peer")
        if entry["amount"] < 0:
            raise ValueError("a negative amount")

    def close(self) -> None:
        """Hang up."""


class LedgerProducer(BaseProducer):
    """Posts each message to the service."""

    _service: LedgerService | None = None

    def _connect(self) -> None:
        self._service = LedgerService()  # raise if it cannot be opened: it is tried again, with growing delays

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        if self._service is None:
            raise ConnectionError("not connected")
        try:
            self._service.post(message)  # returning claims success; any exception means: try this message again
        except ValueError as error:
            raise Reject(str(error)) from error  # never going to be taken: a dead letter, and the others go on

    def _close(self) -> None:
        self._service = None


def main() -> None:
    """Three good messages, and one that is rejected."""
    config = BaseProducerConfig(type="ledger", name="bookings", max_retries=5)
    with LedgerProducer(config) as producer:
        for amount in (10, 20, -5, 30):
            producer.produce(is_error=False, message={"amount": amount})
        producer.flush(timeout=10)
        now = producer.statistics()
        print(f"{now.delivered} delivered, {now.retries} tried again, {now.dead_lettered} dead-lettered")
        for letter in producer.dead_letters:
            print(f"put aside: {letter.content()}, {letter.reason.value}: {letter.error}")


if __name__ == "__main__":
    main()

# In a configuration it is named by its module and class: `type: custom_producer:LedgerProducer`.
