"""A producer written with asyncio, used from asyncio: up to 16 sends are under way at once, and nothing blocks the loop.

python examples/asyncio_webhooks.py
"""

from __future__ import annotations

import asyncio
from typing import Any

from standpipe import BaseProducer, BaseProducerConfig, RetryAfter


class WebhookProducer(BaseProducer):
    """Stands for a service that takes 50 ms for an answer and is too busy now and then."""

    max_in_flight = 16

    async def _connect(self) -> None:
        self.answers = 0

    async def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.05)
        self.answers += 1
        if self.answers == 10:
            raise RetryAfter(0.2, "the service is busy")  # the same message is sent again after that time

    async def _close(self) -> None:
        """There is no connection to close."""


async def main() -> None:
    """A hundred requests, each of which emits an event and does not wait for its delivery."""
    async with WebhookProducer(BaseProducerConfig(type="webhook", name="webhooks")) as producer:
        receipts = [await producer.aproduce(is_error=False, message={"request": number}) for number in range(100)]
        print(f"{len(receipts)} handed over, {producer.statistics().delivered} delivered so far")

        state = await receipts[-1]  # resumes when that message has reached its end
        print(f"the last one is {state.value}")
    now = producer.statistics()
    print(f"{now.delivered} delivered in {now.attempts} attempts")


if __name__ == "__main__":
    asyncio.run(main())
