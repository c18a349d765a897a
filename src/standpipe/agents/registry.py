"""Which agents there are: the built-in ones, installed ones (entry points `standpipe.agents`), or `package.module:Class`."""

from __future__ import annotations

from standpipe.agents.base import BaseAgent
from standpipe.core.plugins import Registry

AGENTS = Registry(
    kind="agent",
    base=BaseAgent,
    group="standpipe.agents",
    built_in={
        "tail": "standpipe.agents.tail:TailAgent",
        "stdin": "standpipe.agents.stdin:StdinAgent",
        "generator": "standpipe.agents.generator:GeneratorAgent",
    },
)
"""Finds the class of an agent by the `type:` in its configuration; the class names its `config_model`."""
