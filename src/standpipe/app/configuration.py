"""A configuration file as a plan: every component's class and validated configuration, or all problems at once."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from standpipe.agents.base import BaseAgent, BaseAgentConfig
from standpipe.agents.registry import AGENTS
from standpipe.config import Validator, json_schema, redacted
from standpipe.core.errors import ConfigurationError
from standpipe.core.plugins import Registry
from standpipe.pipelines.config import PipelineConfig
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.registry import PRODUCERS
from standpipe.producers.state_dir import default_state_dir

LISTS = ("producers", "agents", "pipelines")

ConfigPath = tuple[str | int, ...]


class RootConfig(BaseModel):
    """What stands at the top of a configuration beside producers, agents and pipelines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state_dir: str | None = Field(
        default=None,
        description="folder for spools, dead letters and checkpoints, relative to the working folder as all paths are; "
        "default: standpipe in the XDG state folder (~/.local/state/standpipe)",
    )


@dataclass(frozen=True)
class Plan:
    """A valid configuration, nothing of it built yet."""

    path: Path
    root: RootConfig
    producers: dict[str, tuple[type[BaseProducer], BaseProducerConfig]]
    agents: dict[str, tuple[type[BaseAgent], BaseAgentConfig]]
    pipelines: list[PipelineConfig]
    warnings: list[str] = field(default_factory=list)
    effective: dict[str, Any] = field(default_factory=dict)
    """the configuration as it was read, includes added, secrets redacted: for printing"""

    def state_dir(self, override: str | os.PathLike[str] | None = None) -> Path:
        """The folder for everything that must survive a restart."""
        if override is not None:
            return Path(override)
        if self.root.state_dir is not None:
            return Path(self.root.state_dir).expanduser()
        return default_state_dir()


def read_plan(path: str | os.PathLike[str], environment: Mapping[str, str] | None = None) -> Plan:
    """Read and check a configuration file. Raises ConfigProblems with everything that is wrong with it; touches nothing."""
    folder = os.path.dirname(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.append(folder)  # so that `type: my_producers:Mine` finds the file beside the configuration
    validator = Validator.open(path, environment)
    return _Reader(validator, Path(path)).plan()


class _Reader:
    """Reads one document part by part, so that the problems of all parts are found."""

    def __init__(self, validator: Validator, path: Path) -> None:
        self._validator = validator
        self._path = path
        self._warnings: list[str] = []

    def plan(self) -> Plan:
        validator = self._validator
        validator.check_fields((), ["include", *LISTS, *RootConfig.model_fields])
        data = validator.document.data
        root = validator.model(RootConfig, {name: data[name] for name in RootConfig.model_fields if name in data}, ())
        producers = self._components("producers", PRODUCERS)
        agents = self._components("agents", AGENTS)
        pipelines = self._pipelines(producers, agents)
        if not producers and not validator.problems:
            validator.report(
                ("producers",), "there is no producer", "add at least one under `producers:`; `standpipe init` writes an example"
            )
        validator.raise_if_any()
        self._warn_unused(pipelines, producers, agents)
        effective = redacted(validator.document)
        return Plan(self._path, root or RootConfig(), _known(producers), _known(agents), pipelines, self._warnings, effective)

    def _components(self, name: str, registry: Registry) -> dict[str, tuple[type[Any], Any] | None]:
        """Class and configuration by name; None for those that are declared but wrong, so that references to them are no problem."""
        found: dict[str, tuple[type[Any], Any] | None] = {}
        for path, item in self._validator.mappings(name):
            self._unique(path, item, found)
            component = self._component(path, item, registry)
            given = item.get("name")
            if component is not None:
                found[component[1].name] = component
            elif isinstance(given, str):
                found.setdefault(given, None)
        return found

    def _component(self, path: ConfigPath, item: dict[str, Any], registry: Registry) -> tuple[type[Any], Any] | None:
        type_name = item.get("type")
        if not isinstance(type_name, str):
            if item.get("type", ...) is None and "null" in registry.built_in:
                remedy = 'write type: "null", in quotes, if the one that discards everything is meant'
                self._validator.report((*path, "type"), "the type is empty", remedy)
            elif "type" not in item:
                self._validator.report(path, f"the {registry.kind} has no type", f"add `type:`; there are: {', '.join(registry.types())}")
            else:
                self._validator.report((*path, "type"), "the type is not text", f"there are: {', '.join(registry.types())}")
            return None
        try:
            kind = registry.resolve(type_name)
        except ConfigurationError as error:
            self._validator.report((*path, "type"), str(error))
            return None
        config = self._validator.model(kind.config_model, item, path)
        return None if config is None else (kind, config)

    def _unique(self, path: ConfigPath, item: dict[str, Any], found: Iterable[str]) -> None:
        name = item.get("name")
        if isinstance(name, str) and name in found:
            kind = str(path[0])
            self._validator.report((*path, "name"), f"the name {name!r} is used twice in {kind}", "give each a name of its own")

    def _pipelines(self, producers: Mapping[str, Any], agents: Mapping[str, Any]) -> list[PipelineConfig]:
        pipelines: list[PipelineConfig] = []
        for path, item in self._validator.mappings("pipelines"):
            self._unique(path, item, [pipeline.name for pipeline in pipelines])
            config = self._validator.model(PipelineConfig, item, path)
            self._check_references(path, item, producers, agents)
            if config is not None:
                pipelines.append(config)
        return pipelines

    def _check_references(self, path: ConfigPath, item: dict[str, Any], producers: Mapping[str, Any], agents: Mapping[str, Any]) -> None:
        """As the file has them: something else that is wrong with the pipeline does not hide a wrong name."""
        sources = item.get("from")
        for where, name in _items((*path, "from"), sources) if isinstance(sources, list) else [((*path, "from"), sources)]:
            self._refers(where, "agent", name, agents)
        for where, route in _items((*path, "routes"), item.get("routes")):
            if isinstance(route, dict):
                self._refers((*where, "to"), "producer", route.get("to"), producers)

    def _refers(self, path: ConfigPath, kind: str, name: Any, known: Mapping[str, Any]) -> None:
        if not isinstance(name, str) or name in known:
            return
        near = difflib.get_close_matches(name, known, n=1)
        there_are = f"there are: {', '.join(known)}" if known else f"add it under `{kind}s:`"
        self._validator.report(path, f"there is no {kind} named {name!r}", f"did you mean {near[0]!r}?" if near else there_are)

    def _warn_unused(self, pipelines: list[PipelineConfig], producers: Iterable[str], agents: Iterable[str]) -> None:
        used = {name for pipeline in pipelines for name in pipeline.agents}
        self._warnings += [f"agent {name!r} is read by no pipeline" for name in agents if name not in used]
        fed = {route.to for pipeline in pipelines for route in pipeline.routes}
        if pipelines:
            self._warnings += [f"no route leads to producer {name!r}" for name in producers if name not in fed]
        stdin = [p.name for p in pipelines for name in p.agents if name in agents and self._type_of(name) == "stdin"]
        if len(stdin) > 1:
            self._warnings.append(
                f"standard input is read by {len(stdin)} pipelines ({', '.join(stdin)}); each line reaches only one of them"
            )

    def _type_of(self, agent: str) -> object:
        return next((item.get("type") for _, item in self._validator.mappings("agents") if item.get("name") == agent), None)


def _items(path: ConfigPath, listed: Any) -> list[tuple[ConfigPath, Any]]:
    return [((*path, index), value) for index, value in enumerate(listed)] if isinstance(listed, list) else []


def _known(found: Mapping[str, tuple[type[Any], Any] | None]) -> dict[str, tuple[type[Any], Any]]:
    return {name: component for name, component in found.items() if component is not None}


def configuration_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, with every type that can be imported here."""
    return json_schema(_models(PRODUCERS), _models(AGENTS), PipelineConfig, RootConfig)


def _models(registry: Registry) -> dict[str, type[BaseModel]]:
    models: dict[str, type[BaseModel]] = {}
    for name in registry.types():
        try:
            models[name] = registry.resolve(name).config_model
        except ConfigurationError:
            continue  # an installed plug-in whose own requirements are missing
    return models
