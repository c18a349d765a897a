"""The end of a lane: what was handed back is not acknowledged, and what cannot be read again is put aside."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from standpipe.agents.base import AgentBatch, BaseAgent, BaseAgentConfig
from standpipe.pipelines.config import PipelineConfig
from standpipe.pipelines.pipeline import build_lanes
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.spool.dead_letters import SqliteDeadLetters
from tests.unit.cli.destinations import Picky, Unreachable

WITHIN = 20.0


class Once(BaseAgent):
    """Hands over two messages, once; has no position to remember."""

    def open(self) -> None: ...

    def read(self, timeout: float) -> AgentBatch | None:
        if self._batches:
            self._wait(timeout)
            return None
        return self._counted(AgentBatch(lines=["one", "two"], source={"agent": "a"}))

    def close(self) -> None: ...


class Remembering(Once):
    """As `Once`, with a position."""

    def __init__(self, config: BaseAgentConfig) -> None:
        super().__init__(config)
        self.acknowledged = threading.Event()

    def acknowledge(self, batch: AgentBatch) -> None:
        self.acknowledged.set()


def ended(agent: BaseAgent, producer: BaseProducer) -> Any:
    """A lane from its start to its end, which comes when the producer has what was read."""
    config = PipelineConfig.model_validate({"name": "p", "from": "a", "routes": [{"to": "out"}]})
    (lane,) = build_lanes(config, [agent], {"out": producer})
    room = threading.Event()
    lane.start()
    for _ in range(2000):
        if producer.statistics().accepted == 2:
            break
        room.wait(0.005)
    if isinstance(producer, Picky):
        assert producer.flush(WITHIN) == 0
    lane.stop()
    report = producer.shutdown(timeout=0.2)
    lane.abort()
    lane.join(WITHIN)
    assert lane.finished
    return report


@pytest.fixture
def letters(tmp_path: Path) -> SqliteDeadLetters:
    return SqliteDeadLetters(tmp_path / "dead.sqlite")


SETTINGS = BaseProducerConfig(type="test", name="out")
AGENT = BaseAgentConfig(type="test", name="a")


def test_what_arrived_is_acknowledged(letters: SqliteDeadLetters) -> None:
    agent = Remembering(AGENT)
    assert ended(agent, Picky(SETTINGS, dead_letters=letters)).delivered == 2
    assert agent.acknowledged.is_set()


def test_what_was_handed_back_is_not_acknowledged_and_no_dead_letter(letters: SqliteDeadLetters) -> None:
    agent = Remembering(AGENT)
    report = ended(agent, Unreachable(SETTINGS, dead_letters=letters))
    assert (report.undelivered, report.dead_lettered, len(letters)) == (2, 0, 0)
    assert not agent.acknowledged.is_set()


def test_what_an_agent_without_a_position_has_read_becomes_dead_letters(letters: SqliteDeadLetters) -> None:
    report = ended(Once(AGENT), Unreachable(SETTINGS, dead_letters=letters))
    assert (report.undelivered, report.dead_lettered) == (0, 2)
    assert [letter.content()["message"] for letter in letters] == ["one", "two"]
