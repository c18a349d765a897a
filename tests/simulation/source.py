"""A source that can be read again: it outlives the processes, and an agent of each process reads it from its checkpoint on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from standpipe.agents.base import AgentBatch, BaseAgent, BaseAgentConfig

if TYPE_CHECKING:
    from tests.simulation.process import Process


class Source:
    """Batches of messages, and up to where they have been checkpointed."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.checkpoint = 0

    def numbers(self) -> list[int]:
        """Every message it has."""
        return [content["n"] for batch in self.batches for content in batch]


class ReplayAgent(BaseAgent):
    """Reads a `Source`. The checkpoint is written at every third acknowledgement, and at the end."""

    def __init__(self, process: Process, source: Source) -> None:
        super().__init__(BaseAgentConfig(type="replay", name="replay"))
        self.source = source
        self.process = process
        self.position = source.checkpoint
        self.safe = source.checkpoint

    def open(self) -> None:
        """Nothing to open."""

    def read(self, timeout: float) -> AgentBatch | None:
        """The next batch, if there is one."""
        if self.position >= len(self.source.batches):
            return None
        contents = self.source.batches[self.position]
        self.position += 1
        self.process.read_from_source(contents)
        records = [dict(content) for content in contents]
        return self._counted(AgentBatch(records=records, source={"agent": "replay"}, position=self.position))

    def acknowledge(self, batch: AgentBatch) -> None:
        """A checkpoint must never lead what has become of the messages."""
        super().acknowledge(batch)
        assert isinstance(batch.position, int)
        self.process.acknowledged(self.source.batches[batch.position - 1])
        self.safe = batch.position
        if self.safe % 3 == 0:
            self.source.checkpoint = self.safe

    def close(self) -> None:
        """The last checkpoint."""
        self.source.checkpoint = self.safe
