"""Destinations that cost nothing, so that what is measured is ours."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any, ClassVar

from standpipe.core.outcome import Outcome
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch


def config(name: str) -> BaseProducerConfig:
    """The configuration that users have who configure nothing."""
    return BaseProducerConfig(type="benchmark", name=name)


def on_disk(name: str, folder: Path, durability: str) -> BaseProducerConfig:
    """As `config`, with an empty spool in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    return in_spool(name, folder, durability)


def in_spool(name: str, folder: Path, durability: str) -> BaseProducerConfig:
    """As `config`, with the spool in `folder`, whatever is in it."""
    return BaseProducerConfig.model_validate(
        {"type": "benchmark", "name": name, "queue": {"type": "spool", "path": str(folder), "durability": durability}}
    )


class OneByOne(BaseProducer):
    """Its `_send` does nothing."""

    def _connect(self) -> None:
        pass

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        pass

    def _close(self) -> None:
        pass


class InBatches(BaseProducer):
    """Its `_send_batch` does nothing."""

    atomic_batches: ClassVar[bool] = True

    def _connect(self) -> None:
        pass

    def _send_batch(self, batch: Batch) -> list[Outcome]:
        return batch.delivered()

    def _close(self) -> None:
        pass


class Gated(InBatches):
    """A destination that is busy until its gate is opened: the worker waits in `_send_batch` while the caller is measured."""

    def __init__(self, given: BaseProducerConfig) -> None:
        self.gate = threading.Event()
        super().__init__(given)

    def _send_batch(self, batch: Batch) -> list[Outcome]:
        self.gate.wait()
        return batch.delivered()

    def drain(self) -> None:
        """Let everything through, then close the gate again."""
        self.gate.set()
        self.flush()
        self.gate.clear()


class Hanging(OneByOne):
    """A destination that answers nothing until it is let go."""

    def __init__(self, given: BaseProducerConfig) -> None:
        self.let_go = threading.Event()
        super().__init__(given)

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self.let_go.wait()
