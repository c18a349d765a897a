"""What becomes of a window of sends when the destination goes away and comes back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from standpipe.core.errors import NotSent
from standpipe.producers.base import BaseProducer, BaseProducerConfig

WINDOW = 64
SEND = 0.05
"""Seconds that a send takes."""


class Window(BaseProducer):
    """Its first `WINDOW` sends fail together; then the destination is well."""

    max_in_flight = WINDOW

    def __init__(self) -> None:
        self.sends = self.under_way = self.most_after = 0
        retry = {"initial": "10ms"}
        super().__init__(BaseProducerConfig.model_validate({"type": "window", "name": "window", "retry": retry}), jitter=lambda: 1.0)

    async def _connect(self) -> None:
        pass

    async def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self.sends += 1
        down = self.sends <= WINDOW
        self.under_way += 1
        self.most_after = max(self.most_after, 0 if down else self.under_way)
        await asyncio.sleep(SEND)
        self.under_way -= 1
        if down:
            raise NotSent("refused")

    async def _close(self) -> None:
        pass


def test_a_window_of_sends_that_fail_together_puts_the_next_probe_off_no_longer_than_one() -> None:
    with Window() as producer:
        started = time.monotonic()
        receipts = [producer.produce(False, {"n": number}) for number in range(WINDOW)]
        assert all(receipt.wait(40).value == "delivered" for receipt in receipts)
        taken = time.monotonic() - started

    assert taken < 15  # half of the longest delay between retries, which a window of failures used to reach at once


def test_after_an_outage_the_whole_window_is_used_again_also_when_no_new_message_comes() -> None:
    with Window() as producer:
        receipts = [producer.produce(False, {"n": number}) for number in range(WINDOW)]
        assert all(receipt.wait(40).value == "delivered" for receipt in receipts)

    assert producer.most_after > WINDOW // 2
