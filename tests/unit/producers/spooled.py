"""A producer with a spool on a crashing disk, its worker driven by the test's own thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from standpipe.core.errors import NotSent, Reject, SendError
from standpipe.core.outcome import Outcome
from standpipe.producers.base import BaseProducerConfig, Batch
from standpipe.producers.config import SpoolConfig
from standpipe.testing.crashing_files import CrashingFileSystem
from tests.unit.delivery.scripted import ScriptedBatch

FOR_EVER = 1e6
"""Seconds between the syncs of the queue's own thread: the tests sync."""


def config(segment_bytes: int = 4096, *, durability: str = "written", **more: Any) -> BaseProducerConfig:
    """Segments may be smaller than anybody could configure. `on_full`, `max_bytes`, `full_timeout` are the queue's."""
    queue = {name: more.pop(name) for name in ("on_full", "max_bytes", "full_timeout") if name in more}
    spool = SpoolConfig.model_validate({"type": "spool", "path": "/nowhere", "durability": durability, "sync_interval": FOR_EVER, **queue})
    return BaseProducerConfig(type="test", name="test", queue=spool.model_copy(update={"segment_bytes": segment_bytes}), **more)


STEPS_MAX = 200
"""More than a shutdown or an opening takes."""


class Destination:
    """What has arrived, over all lives. `does` says what becomes of the next messages; after that they arrive."""

    def __init__(self) -> None:
        self.arrived: list[tuple[int, str, str | None, int]] = []  # number, id, key, life
        self.tried: set[tuple[int, int]] = set()
        self.does: list[str] = []


class WorkedByHand(ScriptedBatch):
    """Its worker is driven by the test's own thread."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.engine = self.__dict__["_BaseProducer__engine"]
        self.driver = self.__dict__["_BaseProducer__driver"]

    def work(self, steps: int = STEPS_MAX) -> None:
        """The worker's loop, here and now, for so many batches or until there is nothing to do."""
        for _ in range(steps):
            if not self.engine.connected:
                self.driver.safe_connect()
            with self.engine.lock:
                self.engine.queue.progress()
                batch, due = self.engine.choose(self.clock.now)
            if batch is not None:
                self.driver._attempt_batch(batch)
            elif due is None:
                return
            else:
                self.clock.now = max(self.clock.now, due)


class OnCrashingDisk(WorkedByHand):
    """One life of the producer."""

    def __init__(self, files: CrashingFileSystem, destination: Destination, life: int, **more: Any) -> None:
        self.files = files
        self.target = destination
        self.life = life
        super().__init__(**more)
        self.spooled = self.__dict__["_BaseProducer__queue"]
        self.is_open = False

    def start(self) -> None:
        if not self.is_open:
            self.spooled.open()
            self.is_open = True

    def _spool_files(self, folder: Path) -> Any:
        return self.files

    def _send_batch(self, batch: Batch) -> Any:
        results: list[Any] = []
        for message in batch:
            number = message.content()["n"]
            self.target.tried.add((number, self.life))
            what = self.target.does.pop(0) if self.target.does else "arrive"
            if what in ("arrive", "arrive without a word"):
                self.target.arrived.append((number, message.id, message.key, self.life))
            results.append(
                {"arrive": Outcome.DELIVERED, "reject": Reject("no"), "fail": NotSent("busy")}.get(what, SendError("connection lost"))
            )
        return results

    def end(self) -> None:
        """The process is gone; only its thread has to be told."""
        self.spooled._ending.set()
        if self.spooled._syncer is not None:
            self.spooled._syncer.join()
