"""Messages that come back from the disk together are still messages of their own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

from standpipe.core.errors import Reject
from standpipe.core.outcome import Outcome
from standpipe.delivery.receipt import State
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch
from standpipe.producers.spooled_queue import WINDOW_BYTES

WITHIN = 20.0


class Destination(BaseProducer):
    """Takes nothing until `open`, and never what it is told to refuse."""

    atomic_batches: ClassVar[bool] = True

    def __init__(self, folder: Path, refuse: int | None = None) -> None:
        self.open = threading.Event()
        self.got: list[tuple[str, int]] = []
        self.refuse = refuse
        super().__init__(BaseProducerConfig.model_validate({"type": "t", "name": "t", "queue": {"type": "spool", "path": str(folder)}}))

    def _connect(self) -> None:
        if not self.open.wait(0.05):
            raise ConnectionError("not yet")

    def _send_batch(self, batch: Batch) -> list[Any]:
        numbers = [content["n"] for content in batch.contents()]
        self.got += [pair for pair in zip(batch.ids(), numbers, strict=True) if pair[1] != self.refuse]
        return [Reject("no") if number == self.refuse else Outcome.DELIVERED for number in numbers]

    def _close(self) -> None:
        pass


def left_behind(folder: Path, count: int) -> list[str]:
    """The ids of messages that a former process could not deliver."""
    producer = Destination(folder)
    ids = [producer.produce(False, {"n": number}).message_id for number in range(count)]
    assert producer.shutdown(0).spooled == count
    return ids


def test_what_a_former_process_left_arrives_in_order_under_the_same_ids(tmp_path: Path) -> None:
    ids = left_behind(tmp_path, 5000)
    producer = Destination(tmp_path)
    producer.open.set()
    producer.start()

    assert producer.flush(WITHIN) == 0
    producer.shutdown()

    assert producer.got == list(zip(ids, range(5000), strict=True))


def test_one_message_of_many_is_rejected_alone(tmp_path: Path) -> None:
    ids = left_behind(tmp_path, 3000)
    producer = Destination(tmp_path, refuse=1234)
    producer.open.set()
    producer.start()

    assert producer.flush(WITHIN) == 0
    (letter,) = producer.dead_letters
    producer.shutdown()

    assert letter.id == ids[1234]
    assert sorted(number for _, number in producer.got) == [number for number in range(3000) if number != 1234]


def test_receipts_that_somebody_holds_are_settled_also_from_the_disk(tmp_path: Path) -> None:
    producer = Destination(tmp_path)
    large = "x" * 40_000
    beyond_the_window = WINDOW_BYTES // len(large)
    for _ in range(beyond_the_window):
        producer.produce(False, {"n": -1, "x": large})
    held = []
    for number in range(0, 2000, 2):
        held.append(producer.produce(False, {"n": number}))
        producer.produce(False, {"n": number + 1})

    producer.open.set()

    assert producer.flush(WITHIN) == 0
    assert {receipt.state for receipt in held} == {State.DELIVERED}
    producer.shutdown()
    by_id = dict(producer.got)
    assert [by_id[receipt.message_id] for receipt in held] == list(range(0, 2000, 2))
    assert len(producer.got) == beyond_the_window + 2000
