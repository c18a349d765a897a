"""A disk that refuses what a pipeline hands over stops nobody else, loses nothing, and moves no position."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from standpipe.agents.base import AgentBatch, BaseAgent, BaseAgentConfig
from standpipe.pipelines import feeder
from standpipe.pipelines.config import RouteConfig
from standpipe.pipelines.lane import Lane
from standpipe.pipelines.routes import Route
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.config import SpoolConfig
from standpipe.spool.files import FileSystem, MappedFile, RealFileSystem

WITHIN = 20.0
BATCHES = 12


class Disk(RealFileSystem):
    """A disk that can be made to refuse new segments, or to sync what was written."""

    fails = False
    fails_to_sync = False
    number = errno.EIO

    def create(self, name: str, size: int) -> MappedFile:
        if self.fails:
            raise OSError(self.number, os.strerror(self.number))
        return _Segment(self, super().create(name, size))


class _Segment:
    """A file of that disk."""

    def __init__(self, disk: Disk, file: MappedFile) -> None:
        self._disk = disk
        self._file = file
        self.buffer = file.buffer

    def write(self, offset: int, data: bytes) -> None:
        self._file.write(offset, data)

    def sync(self) -> None:
        if self._disk.fails_to_sync:
            raise OSError(errno.EIO, "Input/output error")
        self._file.sync()

    def close(self, size: int | None = None) -> None:
        self._file.close(size)


class Collecting(BaseProducer):
    """Keeps what arrives."""

    def __init__(self, config: BaseProducerConfig) -> None:
        self.arrived: list[int] = []
        self.disk: Disk | None = None
        self.reachable = threading.Event()
        self.reachable.set()
        super().__init__(config)

    def _connect(self) -> None:
        if not self.reachable.wait(0.01):
            raise ConnectionError("not yet")

    def _send(self, is_error: bool, message: Any) -> None:
        self.arrived.append(message["n"])

    def _close(self) -> None:
        pass

    def _spool_files(self, folder: Path) -> FileSystem:
        self.disk = Disk(folder)
        return self.disk


class Numbers(BaseAgent):
    """Hands over one number at a time."""

    def __init__(self) -> None:
        super().__init__(BaseAgentConfig(type="test", name="numbers"))
        self.acknowledged: list[object] = []
        self._next = 0

    def open(self) -> None:
        pass

    def _read(self) -> AgentBatch | None:
        if self._next == BATCHES:
            return None
        self._next += 1
        return AgentBatch(records=[{"n": self._next}], source={"agent": "numbers"}, position=self._next, size=1)

    def read(self, timeout: float) -> AgentBatch | None:
        batch = self._read()
        if batch is None:
            self._interrupted.wait(timeout)
        return batch

    def acknowledge(self, batch: AgentBatch) -> None:
        self.acknowledged.append(batch.position)

    def close(self) -> None:
        pass


def wait_until(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < until, f"not within {WITHIN:g} s: {what}"
        time.sleep(0.002)


@pytest.fixture
def spooled(tmp_path: Path) -> Iterator[Collecting]:
    spool = SpoolConfig(type="spool", path=str(tmp_path / "spool"), durability="written")
    producer = Collecting(BaseProducerConfig(type="test", name="spooled", queue=spool, ordering="fifo"))
    producer.start()
    yield producer
    producer.shutdown(5)


@pytest.fixture
def plain() -> Iterator[Collecting]:
    producer = Collecting(BaseProducerConfig(type="test", name="plain"))
    yield producer
    producer.shutdown(5)


@pytest.fixture
def lane(spooled: Collecting, plain: Collecting) -> Iterator[tuple[Lane, Numbers]]:
    agent = Numbers()
    routes = [(Route(RouteConfig(to=producer.name), in_order=True), producer) for producer in (spooled, plain)]
    lane = Lane("test", agent, [], routes, held_max=2**20)
    yield lane, agent
    lane.abort()
    lane.join(WITHIN)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_and_heals_costs_a_pipeline_nothing_but_time(
    lane: tuple[Lane, Numbers],
    spooled: Collecting,
    plain: Collecting,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    monkeypatch.setattr(feeder, "RETRY_DELAY", 0.001)
    running, agent = lane
    assert spooled.disk is not None
    spooled.disk.number = number
    spooled.disk.fails = True
    with caplog.at_level(logging.INFO, "standpipe.pipelines"):
        running.start()
        everything = list(range(1, BATCHES + 1))
        wait_until(lambda: plain.arrived == everything, "the other route goes on")
        wait_until(lambda: running.statistics().routes[0].disk_refusals >= 3, "it is tried again")
        assert agent.acknowledged == [], "nothing of it is safe"
        assert spooled.arrived == []
        assert running.failed is None

        spooled.disk.fails = False

        wait_until(lambda: len(spooled.arrived) == BATCHES, "everything arrives")
        wait_until(lambda: len(agent.acknowledged) == BATCHES, "the position moves")
    assert spooled.arrived == everything
    assert agent.acknowledged == everything
    assert running.statistics().routes[0].held == 0
    told = [record.getMessage() for record in caplog.records if record.name == "standpipe.pipelines"]
    assert [text for text in told if "tried again" in text] == told[:1], "one line, however often it fails"
    assert told[1:] == ["the spool of spooled takes messages again"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_delays_between_attempts_grow_and_the_end_does_not_wait_for_them(
    lane: tuple[Lane, Numbers], spooled: Collecting, plain: Collecting, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(feeder, "RETRY_DELAY", 1000.0)
    running, agent = lane
    assert spooled.disk is not None
    spooled.disk.number = number
    spooled.disk.fails = True
    running.start()
    wait_until(lambda: len(plain.arrived) == BATCHES, "the other route goes on")
    assert running.statistics().routes[0].disk_refusals == 1

    running.abort()

    assert running.wait_finished(WITHIN)
    assert agent.acknowledged == []
    assert running.failed is None


@pytest.fixture
def synced(tmp_path: Path) -> Iterator[Collecting]:
    spool = SpoolConfig(type="spool", path=str(tmp_path / "spool"), durability="synced")
    retry = {"initial": 0.001, "max": 0.01}
    config = {"type": "test", "name": "synced", "queue": spool, "ordering": "fifo", "retry": retry, "reconnect_wait": 0.01}
    producer = Collecting(BaseProducerConfig.model_validate(config))
    producer.reachable.clear()
    producer.start()
    yield producer
    producer.shutdown(5)


@pytest.fixture
def synced_lane(synced: Collecting) -> Iterator[tuple[Lane, Numbers]]:
    agent = Numbers()
    lane = Lane("test", agent, [], [(Route(RouteConfig(to="synced"), in_order=True), synced)], held_max=2**20)
    yield lane, agent
    lane.abort()
    lane.join(WITHIN)


def test_messages_whose_sync_failed_are_not_handed_over_twice_and_are_safe_with_the_next_that_the_disk_takes(
    synced_lane: tuple[Lane, Numbers], synced: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder, "RETRY_DELAY", 0.001)
    running, agent = synced_lane
    synced.produce(False, {"n": 0})  # the segment is there, so that what comes is written and only the sync fails
    assert synced.disk is not None
    synced.disk.fails_to_sync = True
    running.start()
    wait_until(lambda: running.statistics().routes[0].disk_refusals >= 3, "it is tried again")
    assert agent.acknowledged == [], "nothing of it is known to be safe"

    synced.disk.fails_to_sync = False

    wait_until(lambda: len(agent.acknowledged) == BATCHES, "the position moves, although nothing is delivered")
    assert agent.acknowledged == list(range(1, BATCHES + 1))
    assert synced.statistics().accepted == BATCHES + 1
    synced.reachable.set()
    wait_until(lambda: len(synced.arrived) > BATCHES, "everything arrives")
    assert synced.flush(WITHIN) == 0
    assert synced.arrived == list(range(BATCHES + 1))


def test_a_message_whose_sync_failed_moves_the_position_when_it_is_delivered(
    synced_lane: tuple[Lane, Numbers], synced: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder, "RETRY_DELAY", 1000.0)
    running, agent = synced_lane
    synced.produce(False, {"n": 0})
    assert synced.disk is not None
    synced.disk.fails_to_sync = True
    running.start()
    wait_until(lambda: running.statistics().routes[0].held == BATCHES - 1, "the others wait")
    assert agent.acknowledged == []

    synced.reachable.set()

    wait_until(lambda: agent.acknowledged == [1], "the position moves")
    assert synced.arrived == [0, 1]


def test_the_position_of_a_message_that_was_never_synced_does_not_move_at_the_end(
    synced_lane: tuple[Lane, Numbers], synced: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder, "RETRY_DELAY", 1000.0)
    running, agent = synced_lane
    synced.produce(False, {"n": 0})
    assert synced.disk is not None
    synced.disk.fails_to_sync = True
    running.start()
    wait_until(lambda: synced.statistics().accepted == 2, "it is handed over")
    wait_until(lambda: running.statistics().routes[0].held == BATCHES - 1, "the others wait")

    running.stop()
    synced.shutdown(0.0)
    running.abort()

    assert running.wait_finished(WITHIN)
    assert agent.acknowledged == []
    assert running.statistics().unacknowledged == BATCHES
