"""Messages that wait on a disk that cannot be read: they wait, people are told, and delivery goes on when the disk does."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from standpipe.delivery.receipt import State
from standpipe.producers import spilling_queue, spooled_queue
from standpipe.producers.config import SpoolConfig
from standpipe.producers.state_dir import LEFT, SPILL
from standpipe.spool.log import Spool
from standpipe.testing.crashing_files import CrashingFileSystem
from tests.unit.delivery.scripted import ScriptedBatch, check, drive

SEGMENT_BYTES = 400
"""Two messages."""

SPOOL = "spool"


class Producer(ScriptedBatch):
    """Its queue spills, or is a spool; its segments are smaller than anybody could configure."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.disks = {name: CrashingFileSystem(number) for number, name in enumerate((SPILL, LEFT, SPOOL))}
        spool = SpoolConfig(type="spool", path="/nowhere/spool", sync_interval=1e6)
        spilling = {"type": "memory", "max_messages": 2, "on_full": "spill", "path": "/nowhere"}
        super().__init__(queue=spool if kind == SPOOL else spilling, batch={"max_messages": 2}, retry={"initial": 0.001})
        self.queue = self.__dict__["_BaseProducer__queue"]
        make = self.queue._make_spool

        def small(*place: Any) -> Spool:
            made: Spool = make(*place)
            made._segment_bytes = SEGMENT_BYTES
            return made

        self.queue._make_spool = small
        self.queue.open()

    @property
    def disk(self) -> CrashingFileSystem:
        """Where messages wait."""
        return self.disks[self.kind]

    def _spool_files(self, folder: Path) -> Any:
        return self.disks[folder.name]

    def fill(self, count: int = 12) -> list[Any]:
        """So many messages, of which most are on the disk only."""
        return [self.produce(False, {"n": n, "x": "x" * 100}) for n in range(count)]

    def numbers(self) -> list[int]:
        """What has arrived."""
        return [message["n"] for message in self.sent]


@pytest.fixture(params=[SPILL, SPOOL])
def producer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Producer]:
    monkeypatch.setattr(spooled_queue, "WINDOW_BYTES", 1)
    for module in (spooled_queue, spilling_queue):
        monkeypatch.setattr(module, "READ_BYTES", 1)
    made = Producer(request.param)
    yield made
    made.shutdown(timeout=0.0)


def at(producer: Producer, seconds: float, *actions: Callable[[], object]) -> None:
    """So many seconds from now, in virtual time."""
    for action in actions:
        producer.clock.at(producer.clock.now + seconds, action)


def levels(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    """How what contains `text` was told."""
    return [record.levelname for record in caplog.records if text in record.getMessage()]


def test_what_cannot_be_read_waits_until_it_can_and_people_are_told(producer: Producer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    receipts = producer.fill()
    producer.disk.fail("read", errno.EACCES, times=None)
    during: list[Any] = []
    at(producer, 20.5, lambda: during.append(producer.statistics()), producer.disk.heal)
    at(producer, 22.0, lambda: during.append(producer.statistics()))
    drive(producer, seconds=30.0)
    assert producer.numbers() == list(range(12))
    assert [receipt.state for receipt in receipts] == [State.DELIVERED] * 12
    assert "Permission denied" in during[0].last_error
    assert during[1].last_error is None
    assert during[1].pending == 0
    assert levels(caplog, "cannot be read now") == ["ERROR"]
    assert "its messages wait until that is mended; it is tried again every 1 s" in caplog.text
    assert levels(caplog, "can be read again") == ["INFO"]
    assert "internal error" not in caplog.text


def test_a_disk_that_cannot_be_read_is_asked_once_a_second_whoever_hands_over(producer: Producer) -> None:
    producer.fill()
    producer.disk.fail("read", times=None)
    for tenth in range(100):
        at(producer, 5.0 + tenth / 10, lambda: producer.produce(False, {"n": 99}))
    asked: list[int] = []
    at(producer, 5.0, lambda: asked.append(len(producer.disk.steps)))
    at(producer, 15.0, lambda: asked.extend([len(producer.disk.steps), producer.disk.steps[asked[0] :].count(("read", _first(producer)))]))
    at(producer, 15.0, producer.disk.heal)
    drive(producer, seconds=30.0)
    assert 9 <= asked[2] <= 11
    assert len(producer.numbers()) == 112


def _first(producer: Producer) -> str:
    """The file that is asked for."""
    return next(name for action, name in reversed(producer.disk.steps) if action == "read")


def test_what_waits_after_a_failed_sync_comes_without_anybody_handing_over(producer: Producer, caplog: pytest.LogCaptureFixture) -> None:
    producer.fill(8)
    producer.disk.fail("sync", times=None)
    refused = 0
    for n in range(100, 110):
        try:
            producer.produce(False, {"n": n, "x": "x" * 100})
        except Exception:
            refused += 1
    assert refused
    producer.disk.fail("create", times=None)
    at(producer, 20.0, producer.disk.heal)
    drive(producer, seconds=30.0)
    now = check(producer.statistics())
    assert now.pending == 0
    assert set(range(4)) <= set(producer.numbers())
    assert "internal error" not in caplog.text


def test_a_segment_that_somebody_removes_is_told_and_all_others_are_delivered(producer: Producer, caplog: pytest.LogCaptureFixture) -> None:
    receipts = producer.fill()
    names = sorted(name for name in producer.disk.contents() if name.endswith(".seg"))
    at(producer, 5.0, lambda: producer.disk.remove(names[2]))
    producer.on_send = lambda message: producer.clock.advance(6.0) if message["n"] == 0 else None
    drive(producer, seconds=30.0)
    missing = sorted(set(range(12)) - set(producer.numbers()))
    assert 0 < len(missing) <= 2
    now = check(producer.statistics())
    assert (now.accepted, now.delivered, now.pending) == (12 - len(missing), 12 - len(missing), 0)
    assert levels(caplog, f"{len(missing)} message(s) cannot be read any more") == ["WARNING"]
    assert "internal error" not in caplog.text
    assert {receipt.state for number, receipt in enumerate(receipts) if number in missing} == {State.QUEUED}
    assert all(receipt.done() for receipt in receipts)
