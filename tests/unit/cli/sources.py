"""Agents for configurations: `type: tests.unit.cli.sources:Exploding`."""

from __future__ import annotations

from standpipe.agents.base import AgentBatch, BaseAgent


class Exploding(BaseAgent):
    """Raises what no agent may raise."""

    def open(self) -> None: ...

    def read(self, timeout: float) -> AgentBatch | None:
        raise RuntimeError("the source exploded")

    def close(self) -> None: ...
