"""The end of a producer whose disk fails: whoever waits for a receipt is woken, and the receipt says what is true."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from standpipe.core.dead_letter import DeadLetter
from standpipe.delivery.dead_letters import MemoryDeadLetters
from standpipe.delivery.receipt import Receipt, State
from standpipe.producers import spooled_queue
from standpipe.producers.state_dir import LEFT, SPILL
from standpipe.spool.errors import SpoolError
from standpipe.testing.crashing_files import CrashingFileSystem
from tests.unit.delivery.scripted import Scripted, check, drive
from tests.unit.producers.spooled import OnCrashingDisk
from tests.unit.spool.damage import damage

PATIENCE = 10.0
"""Seconds that a waiter gets that should return at once."""

ACTIONS = ("write", "append", "sync", "create", "rename", "open", "remove", "truncate", "sync_folder", "read")
"""Everything that a disk can refuse."""


class Waiters:
    """Threads and a task that wait for a receipt without a limit."""

    def __init__(self, receipt: Receipt) -> None:
        self.seen: list[State] = []
        self._ready = threading.Barrier(4)
        self._threads = [
            threading.Thread(target=wait, daemon=True)
            for wait in (
                lambda: self._wait(receipt.wait),
                lambda: self._wait(receipt.wait_stored),
                lambda: self._wait(lambda: asyncio.run(self._await(receipt))),
            )
        ]
        for thread in self._threads:
            thread.start()
        self._ready.wait(PATIENCE)

    def _wait(self, wait: Callable[[], State]) -> None:
        self._ready.wait(PATIENCE)
        self.seen.append(wait())

    @staticmethod
    async def _await(receipt: Receipt) -> State:
        return await receipt

    def states(self) -> list[State]:
        """What they were told."""
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads), "somebody waits for ever"
        return self.seen


def doubtful(producer: OnCrashingDisk, number: int = 1) -> Receipt:
    """The receipt of a message that was accepted and not brought to the disk, which goes on failing."""
    producer.files.fail("sync", times=None)
    with pytest.raises(SpoolError) as caught:
        producer.produce(False, {"n": number})
    receipt: Receipt = caught.value.receipt
    assert receipt.state is State.QUEUED
    return receipt


@pytest.mark.parametrize("window", [1, spooled_queue.WINDOW_BYTES])
def test_who_waits_for_a_message_whose_sync_failed_is_woken_by_the_shutdown(
    lives: Any, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(spooled_queue, "WINDOW_BYTES", window)
    producer = lives(CrashingFileSystem(), durability="synced")
    producer.produce(False, {"n": 0})
    receipt = doubtful(producer)
    waiters = Waiters(receipt)
    report = producer.shutdown(timeout=0.0)
    assert report.spooled == 2
    assert receipt.done()
    assert waiters.states() == [State.QUEUED] * 3
    assert Waiters(receipt).states() == [State.QUEUED] * 3


@pytest.mark.parametrize("window", [1, spooled_queue.WINDOW_BYTES])
def test_a_message_that_closing_the_spool_brings_to_the_disk_is_stored(lives: Any, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(spooled_queue, "WINDOW_BYTES", window)
    producer = lives(CrashingFileSystem(), durability="synced")
    producer.produce(False, {"n": 0})
    receipt = doubtful(producer)
    waiters = Waiters(receipt)
    told: list[State] = []
    receipt.add_done_callback(lambda ended: told.append(ended.state))
    producer.files.heal()
    producer.shutdown(timeout=0.0)
    assert told == [State.STORED]
    assert waiters.states() == [State.STORED] * 3
    again = lives(producer.files.crash())
    again.work(100)
    assert [number for number, *_ in again.target.arrived] == [0, 1]


@pytest.mark.parametrize("durability", ["written", "synced"])
@pytest.mark.parametrize("action", ACTIONS)
def test_whatever_the_disk_refuses_at_the_end_everybody_is_woken(lives: Any, action: str, durability: str) -> None:
    producer = lives(CrashingFileSystem(), durability=durability)
    receipts = [producer.produce(False, {"n": n, "x": "x" * 1000}) for n in range(9)]
    producer.work(2)
    if durability == "synced":
        receipts.append(doubtful(producer, 9))
    producer.files.fail(action, times=None)
    waiters = [Waiters(receipt) for receipt in receipts[-3:]]
    report = producer.shutdown(timeout=0.0)
    check(producer.statistics())
    assert report.delivered + report.spooled == len(receipts)
    for receipt, waiter in zip(receipts[-3:], waiters, strict=True):
        assert waiter.states() == [receipt.state] * 3
    assert all(receipt.done() for receipt in receipts)
    assert not producer.files.locked


def test_files_that_cannot_even_be_closed_keep_nobody_waiting(lives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = lives(CrashingFileSystem(), durability="synced")
    producer.produce(False, {"n": 0})
    receipt = doubtful(producer)
    waiters = Waiters(receipt)

    def refuse(*_: Any) -> None:
        raise OSError("the server of this file system is gone")

    monkeypatch.setattr("standpipe.testing.crashing_files._Mapped.close", refuse)
    monkeypatch.setattr("standpipe.testing.crashing_files._Appended.close", refuse)
    assert producer.shutdown(timeout=0.0).spooled == 2
    assert waiters.states() == [State.QUEUED] * 3
    assert not producer.files.locked


def test_a_callback_may_shut_down_what_is_just_being_shut_down(lives: Any) -> None:
    producer = Scripted()
    receipt = producer.produce(False, {"n": 0})
    reports: list[Any] = []
    receipt.add_done_callback(lambda _: reports.append(producer.shutdown(timeout=0.0)))
    report = producer.shutdown(timeout=0.0)
    assert reports == [report]
    assert len(report.messages) == 1


class Refusing(MemoryDeadLetters):
    """Nothing can be stored there."""

    def add(self, letters: Any) -> None:
        """Refuse."""
        raise OSError("no room")


def test_who_waits_for_a_damaged_message_that_could_not_be_put_aside_is_woken(lives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled_queue, "WINDOW_BYTES", 1)
    producer = lives(CrashingFileSystem(), Refusing())
    receipts = [producer.produce(False, {"n": n, "x": "x" * 100}) for n in range(6)]
    damage(producer.files, 3)
    waiters = Waiters(receipts[3])
    drive(producer, seconds=20.0, timeout=0.0)
    assert [number for number, *_ in producer.target.arrived] == [0, 1, 2, 4, 5]
    assert producer.spooled.damaged
    assert waiters.states() == [State.STORED] * 3


class Spilling(Scripted):
    """A producer whose queue spills, on disks that fail."""

    def __init__(self, **settings: Any) -> None:
        self.disks = {SPILL: CrashingFileSystem(1), LEFT: CrashingFileSystem(2)}
        super().__init__(queue={"type": "memory", "max_messages": 2, "on_full": "spill", "path": "/nowhere"}, **settings)
        self.__dict__["_BaseProducer__queue"].open()

    def _spool_files(self, folder: Path) -> Any:
        return self.disks[folder.name]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_queue_that_spills_wakes_everybody_whatever_the_disk_refuses(action: str) -> None:
    producer = Spilling()
    receipts = [producer.produce(False, {"n": n, "x": "x" * 1000}) for n in range(6)]
    waiters = [Waiters(receipt) for receipt in receipts]
    for disk in producer.disks.values():
        disk.fail(action, times=None)
    report = producer.shutdown(timeout=0.0)
    assert report.spooled + report.undelivered == 6
    for receipt, waiter in zip(receipts, waiters, strict=True):
        assert receipt.state in (State.STORED, State.UNDELIVERED)
        assert waiter.states() == [receipt.state] * 3
    assert not any(disk.locked for disk in producer.disks.values())


class Slow(MemoryDeadLetters):
    """A store that outlasts the process, and takes its time: `meanwhile` is called while it does."""

    outlasts_the_process = True

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], None] = lambda: None

    def add(self, letters: Any) -> None:
        """Keep these."""
        self.meanwhile()
        super().add(letters)


def test_nobody_is_told_that_it_is_over_before_a_message_is_put_aside() -> None:
    letters = Slow()
    producer = Scripted(dead_letters=letters)
    receipt = producer.produce_encoded(False, b'{"n":0}', 1, only_copy=True)
    early: list[bool] = []
    letters.meanwhile = lambda: early.append(receipt.done())
    producer.shutdown(timeout=0.0)
    assert early == [False]
    assert receipt.state is State.DEAD_LETTERED
    kept: list[DeadLetter] = list(letters)
    assert len(kept) == 1
