"""The contract of agents: configuration, batches, statistics, registry."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from standpipe.agents.base import AgentBatch, AgentStatistics, BaseAgent, BaseAgentConfig
from standpipe.agents.generator import GeneratorConfig
from standpipe.agents.registry import AGENTS
from standpipe.agents.stdin import StdinConfig
from standpipe.agents.tail import TailAgent
from standpipe.agents.tail_config import TailConfig
from standpipe.core.errors import ConfigurationError


class OneLine(BaseAgent):
    """The smallest agent an author can write."""

    def open(self) -> None:
        pass

    def read(self, timeout: float) -> AgentBatch | None:
        return self._counted(AgentBatch(lines=["hello"], source={"agent": self.name}, size=6))

    def close(self) -> None:
        pass


def test_three_methods_make_an_agent_that_counts() -> None:
    with OneLine(BaseAgentConfig(type="one", name="one-line")) as agent:
        batch = agent.read(1)
        assert batch is not None
        agent.acknowledge(batch)
        assert agent.statistics() == AgentStatistics(batches=1, messages=1, bytes_read=6, batches_acknowledged=1)
        assert agent.finished is False


@pytest.mark.parametrize("name", ["a", "nginx.access_log-1", "x" * 100])
def test_ordinary_names_are_accepted(name: str) -> None:
    assert BaseAgentConfig(type="tail", name=name).name == name


@pytest.mark.parametrize("name", ["", "x" * 101, "a b", "a/b", "grün", "a\n"])
def test_a_name_that_makes_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"is not a usable name; use 1 to 100 letters, digits"):
        BaseAgentConfig(type="tail", name=name)


def test_an_empty_type_is_refused() -> None:
    with pytest.raises(ValidationError, match="type is empty; name an agent type"):
        BaseAgentConfig(type=" ", name="a")


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        BaseAgentConfig.model_validate({"type": "tail", "name": "a", "pahts": []})


def test_configuration_cannot_be_changed_afterwards() -> None:
    config = BaseAgentConfig(type="tail", name="a")
    with pytest.raises(ValidationError, match="frozen"):
        config.name = "b"  # type: ignore[misc]


@pytest.mark.parametrize("fields", [{}, {"lines": ["a"], "records": [{}]}])
def test_a_batch_has_either_lines_or_records(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either lines or records"):
        AgentBatch(source={"agent": "a"}, **fields)


def test_the_length_of_a_batch_is_its_number_of_messages() -> None:
    assert len(AgentBatch(lines=["a", "b"], source={})) == 2
    assert len(AgentBatch(records=[{"a": 1}], source={})) == 1


def test_an_agent_refuses_the_configuration_of_another_one() -> None:
    with pytest.raises(ConfigurationError, match="TailAgent needs a TailConfig, not a StdinConfig"):
        TailAgent(StdinConfig(name="a"))


@pytest.mark.parametrize("type_name", ["tail", "stdin", "generator", "standpipe.agents.tail:TailAgent"])
def test_every_built_in_type_resolves_to_an_agent_with_its_configuration(type_name: str) -> None:
    agent = AGENTS.resolve(type_name)
    assert issubclass(agent, BaseAgent)
    assert agent.config_model is not BaseAgentConfig


def test_an_unknown_type_names_the_nearest_one() -> None:
    with pytest.raises(ConfigurationError, match="unknown agent type 'tial'; did you mean 'tail'"):
        AGENTS.resolve("tial")


@pytest.mark.parametrize("model", [BaseAgentConfig, TailConfig, StdinConfig, GeneratorConfig])
def test_every_field_says_what_it_is_for(model: type[BaseAgentConfig]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []
