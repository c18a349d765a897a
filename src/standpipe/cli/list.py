"""`standpipe list`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from standpipe.cli.options import AsJson

if TYPE_CHECKING:
    from standpipe.core.plugins import Registry


class Kind(StrEnum):
    """What can be listed."""

    PRODUCERS = "producers"
    AGENTS = "agents"
    STEPS = "steps"


def list_types(
    kind: Annotated[Kind | None, typer.Argument(metavar="[producers|agents|steps]", help="Only these.", show_default=False)] = None,
    json: AsJson = False,
) -> None:
    """List the types of producers, agents and steps there are."""
    from standpipe.cli.output import show, show_json

    found = {each.value: _types(each) for each in Kind if kind in (None, each)}
    if json:
        show_json(found)
        return
    width = max(len(entry["type"]) for entries in found.values() for entry in entries)
    blocks = []
    for name, entries in found.items():
        lines = [f"  {entry['type']:{width}}  {entry['from']:<9}  {entry['summary']}" for entry in entries]
        blocks.append("\n".join([name, *lines]))
    show("\n\n".join(blocks))


def _types(kind: Kind) -> list[dict[str, str]]:
    if kind is Kind.STEPS:
        from standpipe.pipelines.step_config import STEP_TYPES

        return [{"type": name, "from": "built in", "summary": summary} for name, summary in STEP_TYPES.items()]
    registry = _registry(kind)
    return [_entry(registry, name, target) for name, target in registry.types().items()]


def _registry(kind: Kind) -> Registry:
    from standpipe.agents.registry import AGENTS
    from standpipe.producers.registry import PRODUCERS

    return PRODUCERS if kind is Kind.PRODUCERS else AGENTS


def _entry(registry: Registry, name: str, target: str) -> dict[str, str]:
    return {
        "type": name,
        "from": "built in" if name in registry.built_in else "installed",
        "class": target,
        "summary": _summary(registry, name),
    }


def _summary(registry: Registry, name: str) -> str:
    """The first sentence of the class's docstring; for a plug-in that cannot be used here, why."""
    import inspect

    from standpipe.core.errors import ConfigurationError

    try:
        documentation = inspect.getdoc(registry.resolve(name)) or ""
    except ConfigurationError as error:
        return f"cannot be used here: {error}"
    sentence = " ".join(documentation.split("\n\n")[0].split()).partition(". ")[0].partition("; ")[0].removesuffix(".")
    return sentence[:1].lower() + sentence[1:]
