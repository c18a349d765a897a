"""`type: null`: takes every message and forgets it, for measuring and for trying things out."""

from __future__ import annotations

from typing import ClassVar

from standpipe.core.finding import Finding, Severity
from standpipe.core.outcome import Outcome
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch


class NullProducer(BaseProducer):
    """Discards every message: what it counts as delivered is gone."""

    atomic_batches: ClassVar[bool] = True

    @property
    def destination(self) -> str:
        """Nowhere."""
        return "null: what is sent there is discarded"

    def examine(self) -> list[Finding]:
        """What everybody should know who has one in earnest."""
        return [Finding(Severity.WARNING, "the type is null", "every message is discarded and counts as delivered", "name another type")]

    def _connect(self) -> None:
        """There is nothing to connect to."""

    def _send_batch(self, batch: Batch) -> list[Outcome]:
        return batch.delivered()

    def _close(self) -> None:
        """There is nothing to close."""


__all__ = ["BaseProducerConfig", "NullProducer"]
