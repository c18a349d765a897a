"""A clock set by hand, and a folder of logs with a `tail` agent over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from standpipe.agents.base import AgentBatch
from standpipe.agents.tail import TailAgent
from standpipe.agents.tail_config import TailConfig


class HandClock:
    """Monotonic seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Tailing:
    """A folder of logs, a folder for checkpoints, and agents over them, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.state = folder / "state"
        self.clock = HandClock()
        self.agent: TailAgent | None = None

    def start(self, *, keep: bool = True, **fields: Any) -> TailAgent:
        """Start an agent (`keep`: with a checkpoint), by default over `app.log`."""
        fields.setdefault("paths", [str(self.logs / "app.log")])
        fields.setdefault("name", "logs")
        self.agent = TailAgent(TailConfig(**fields), state=self.state if keep else None, clock=self.clock)
        self.agent.open()
        return self.agent

    def batches(self, *, looks: int = 3) -> list[AgentBatch]:
        """Everything that can be read now; the clock moves on by some looks at the files."""
        assert self.agent is not None
        found = []
        for _ in range(looks):
            while (batch := self.agent.read(0)) is not None:
                found.append(batch)
            self.clock.advance(self.agent.config.poll_interval)
        return found

    def lines(self, *, acknowledge: bool = True, looks: int = 3) -> list[str]:
        """The lines of `batches`, acknowledged."""
        lines: list[str] = []
        for batch in self.batches(looks=looks):
            assert batch.lines is not None
            lines += batch.lines
            if acknowledge and self.agent is not None:
                self.agent.acknowledge(batch)
        return lines

    def crash(self) -> None:
        """End the agent as `kill -9` would: nothing is written, the operating system takes files and locks back."""
        assert self.agent is not None
        self.agent._release()
        self.agent = None

    def stop(self) -> None:
        if self.agent is not None:
            self.agent.close()
            self.agent = None

    def path(self, name: str = "app.log") -> Path:
        return self.logs / name

    def write(self, text: str | bytes, name: str = "app.log") -> None:
        """Append to a log."""
        with self.path(name).open("ab") as log:
            log.write(text.encode() if isinstance(text, str) else text)
