"""A pipeline: its agents, each with a lane of its own, the same steps and routes for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from standpipe.agents.base import BaseAgent
from standpipe.pipelines.config import PipelineConfig
from standpipe.pipelines.lane import Lane
from standpipe.pipelines.routes import Route
from standpipe.pipelines.steps import compile_steps
from standpipe.producers.base import BaseProducer


def build_lanes(config: PipelineConfig, agents: Sequence[BaseAgent], producers: Mapping[str, BaseProducer]) -> list[Lane]:
    """The lanes of one pipeline. The agents must be opened; each lane gets steps and routes (and counts) of its own."""
    lanes = []
    for agent in agents:
        routes = [(Route(route, producers[route.to].config.ordering == "fifo"), producers[route.to]) for route in config.routes]
        lanes.append(Lane(config.name, agent, compile_steps(config.steps), routes, config.held_max))
    return lanes
