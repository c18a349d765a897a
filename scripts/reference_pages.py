"""The pages of `docs/reference`, made from the models, docstrings and tables of the code."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import standpipe
from scripts.reference_cli import command_line
from scripts.reference_fields import doc_of, field_table, member_table, sentence, table
from standpipe.agents.base import AgentStatistics, BaseAgentConfig
from standpipe.agents.lines import LineAgentConfig
from standpipe.agents.registry import AGENTS
from standpipe.agents.tail import TailStatistics
from standpipe.app.configuration import RootConfig
from standpipe.app.ledger import Ledger, LedgerRow
from standpipe.config import ConfigProblems, Problem
from standpipe.core import errors, units
from standpipe.core.message import Message
from standpipe.core.outcome import Outcome
from standpipe.core.plugins import Registry
from standpipe.delivery.breaker import BreakerState
from standpipe.delivery.dead_letters import DeadLetter, Reason
from standpipe.delivery.receipt import State
from standpipe.delivery.statistics import ProducerStatistics, ShutdownReport
from standpipe.pipelines import expression_rules
from standpipe.pipelines.config import PipelineConfig
from standpipe.pipelines.expression import LENGTH_MAX, NODES_MAX, ExpressionError
from standpipe.pipelines.expression_functions import FUNCTIONS, METHODS, ROUND_DIGITS_MAX, TEXT_MAX
from standpipe.pipelines.lane import LaneStatistics, RouteStatistics
from standpipe.pipelines.presets import PRESETS
from standpipe.pipelines.step import StepStatistics
from standpipe.pipelines.step_config import STEP_TYPES
from standpipe.producers.base import BaseProducerConfig
from standpipe.producers.error_table import ErrorTable
from standpipe.producers.network_config import ConnectedProducerConfig, NetworkProducerConfig
from standpipe.producers.registry import PRODUCERS
from standpipe.spool import errors as spool_errors
from standpipe.spool.dead_letter_database import DeadLetterError, DeadLettersTooNew

_HEAD = "<!-- Made by scripts/docs.py from the code: change the code, then run `make docs`. -->\n\n"


def _page(title: str, *parts: str) -> str:
    text = "\n\n".join(part.strip() for part in (f"# {title}", *parts) if part.strip())
    return _HEAD + re.sub("\n{3,}", "\n\n", text) + "\n"


# --- configuration ------------------------------------------------------------------------------------------------------


def configuration() -> str:
    """Every field of a configuration file."""
    return _page(
        "Configuration",
        "One YAML file (YAML 1.2: `yes`, `no`, `on` and `off` are text, `true` and `false` are not). Unknown fields and duplicate keys "
        "are errors. `standpipe check FILE` reports every problem at once, each with `file:line:column`; `standpipe schema` writes a "
        "JSON Schema for editors.",
        "## At the top",
        _top(),
        "## Values",
        _values(),
        "## Every producer",
        "\n\n".join(_model(BaseProducerConfig)),
        "## Every producer with a connection",
        "Producers that talk to a service over the network also have:",
        "\n\n".join(_model(ConnectedProducerConfig, BaseProducerConfig.model_fields)),
        "## Every producer with headers",
        "Those of them whose messages have headers, or something like them, also have:",
        "\n\n".join(_model(NetworkProducerConfig, ConnectedProducerConfig.model_fields)),
        *_components("producer", PRODUCERS),
        "## Every agent",
        field_table(BaseAgentConfig),
        "Agents that read lines (`tail`, `stdin`) also have:",
        field_table(LineAgentConfig, BaseAgentConfig.model_fields),
        *_components("agent", AGENTS),
        "## Pipelines",
        "An item of `pipelines:`.",
        "\n\n".join(_model(PipelineConfig)),
        "### The steps",
        table(("step", "what it does"), [(f"`{name}`", sentence(text)) for name, text in STEP_TYPES.items()]),
        "### Presets of `parse`",
        table(("preset", "for"), [(f"`{name}`", preset.summary) for name, preset in PRESETS.items()]),
    )


def _top() -> str:
    rows = [
        (
            "`include`",
            "Path, or list of paths, of other files (relative to this one; globs are allowed) whose lists and mappings are added",
        ),
        ("`producers`", "List of producers, each with a `type` and a `name`; at least one"),
        ("`agents`", "List of agents, each with a `type` and a `name`"),
        ("`pipelines`", "List of pipelines: from agents, through steps, to producers"),
    ]
    fields = [(f"`{name}`", sentence(info.description or "")) for name, info in RootConfig.model_fields.items()]
    return table(("field", "meaning"), rows + fields)


def _values() -> str:
    durations = ", ".join(f"`{unit}`" for unit in units.SECONDS_PER_UNIT if unit)
    sizes = ", ".join(f"`{unit}`" for unit in ("B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"))
    return table(
        ("kind", "how it is written"),
        [
            ("duration", f"Seconds as a number, or a number with a unit: {durations} (such as `500ms`, `1.5h`)"),
            ("size", f"Bytes as a whole number, or a number with a unit: {sizes} (in any case; `kB` is 1000, `KiB` is 1024)"),
            ("expression", "See [expressions](expressions.md)"),
            ("`${env:NAME}`", "In any text value: the environment variable; `${env:NAME:-default}` with a default. Hidden in all output"),
            ("`${file:path}`", "In any text value: the content of a file without its last newline. Hidden in all output"),
            ("`$${`", "The text `${`"),
        ],
    )


_SHARED: dict[str, tuple[type[BaseModel], ...]] = {
    "producer": (NetworkProducerConfig, ConnectedProducerConfig, BaseProducerConfig),
    "agent": (LineAgentConfig, BaseAgentConfig),
}
"""Models whose fields are told once for all that extend them, the innermost first."""
_ALSO: dict[type[BaseModel], str] = {
    ConnectedProducerConfig: "It has the fields of every producer and of those [with a connection](#every-producer-with-a-connection).",
    NetworkProducerConfig: "It has the fields of every producer, of those [with a connection](#every-producer-with-a-connection) "
    "and of those [with headers](#every-producer-with-headers).",
}


def _components(kind: str, registry: Registry) -> Iterator[str]:
    for name in registry.built_in:
        component = registry.resolve(name)
        model: type[BaseModel] = component.config_model
        shared = next(base for base in _SHARED[kind] if issubclass(model, base))
        yield f"## {sentence(kind)} `{name}`"
        yield doc_of(component)
        yield _ALSO.get(shared, "")
        own = [part for part in _model(model, _inherited(model, shared)) if part]
        yield "\n\n".join(own) if own else f"It has the fields of every {kind} and none of its own."
        yield from _error_rows(component)


def _inherited(model: type[BaseModel], shared: type[BaseModel]) -> set[str]:
    """The fields that are as in `shared`; one with another default is told again."""
    return {name for name, info in shared.model_fields.items() if name == "type" or _told(model.model_fields[name]) == _told(info)}


def _told(info: FieldInfo) -> tuple[Any, str | None]:
    return info.default, info.description


def _error_rows(component: type[Any]) -> Iterator[str]:
    """What the errors of the service mean, if the component has a table of them."""
    errors = getattr(component, "errors", None)
    if isinstance(errors, ErrorTable):
        yield f"### Errors of {errors.service}"
        yield "The first row that fits decides; an error that is in no row may have arrived, and is tried again under the same message id."
        yield table(("error", "the message is", "because"), errors.described())


def _model(model: type[BaseModel], without: Iterable[str] = (), name: str = "") -> Iterator[str]:
    """The table of a model, then those of the models inside it."""
    if name:
        yield f"### `{name}`"
        yield doc_of(model)
    yield field_table(model, without)
    for field, info in model.model_fields.items():
        if field not in set(without):
            for inner in _models_in(info.annotation):
                yield from _model(inner, (), f"{name}.{field}" if name else field)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [inner for argument in get_args(annotation) for inner in _models_in(argument)]


# --- expressions --------------------------------------------------------------------------------------------------------


def expressions() -> str:
    """The language of `when`, `filter`, `set`, `key` and `is_error`."""
    special = {
        "record": "the whole record",
        "is_error": "its error flag",
        "source": "where it came from: `source.agent`, for files `source.path`",
    }
    return _page(
        "Expressions",
        "Conditions and values in pipelines (`filter`, `set`, and a route's `when`, `is_error` and `key`) are written in a part of "
        "Python's syntax, compiled once, and refused when the configuration is read if something in them is not allowed.",
        "## What a name means",
        'A name is a field of the record: `status`. `a.b` and `a["b"]` reach into nested mappings; a field that is not there is `None`. '
        "These names are not fields:",
        table(("name", "stands for"), [(f"`{name}`", special[name]) for name in expression_rules.SPECIAL_NAMES]),
        'A field whose name is a word of Python, or has other characters in it, is `record["from"]` or `get("user-agent")`.',
        "## What may be written",
        '- Literals: numbers, texts, `True`, `False`, `None`, lists, tuples, mappings, `f"{field}"`.\n'
        "- Comparisons, also chained (`500 <= status < 600`), `in`, `not in`, `is None`; `and`, `or`, `not`; `x if condition else y`.\n"
        "- Arithmetic: `+ - * / // %`.\n"
        "- The functions and methods below. Nothing else can be called, and nothing of Python can be reached.",
        "## When something is missing or of the wrong kind",
        '- Comparing by order with `None`, or between kinds that have no order (`"abc" >= 500`), is `False`.\n'
        "- Arithmetic with `None`, and a function of `None`, is `None`.\n"
        '- What goes wrong beyond that (dividing by zero, `int("x")`) gives `None`, `False` in a condition, and is counted.',
        "## Functions",
        table(("function", "result"), [_function(function.summary) for function in FUNCTIONS.values()]),
        "## Methods",
        "Of texts, as in Python; `get` is of mappings: " + ", ".join(f"`.{name}()`" for name in METHODS) + ".",
        "## Bounds",
        table(
            ("what", "at most"),
            [
                ("length of an expression", f"{LENGTH_MAX:,} bytes"),
                ("pieces of its syntax tree", f"{NODES_MAX:,}"),
                ("nesting", f"{expression_rules.DEPTH_MAX} levels"),
                ("a text that an expression makes", f"{TEXT_MAX:,} characters"),
                ("digits of `round`", str(ROUND_DIGITS_MAX)),
            ],
        ),
    )


def _function(summary: str) -> tuple[str, str]:
    call, _, result = summary.partition("): ")
    return f"`{call})`", sentence(result)


# --- what can be asked --------------------------------------------------------------------------------------------------


def statistics() -> str:
    """Every number and state that can be asked for."""
    owners: tuple[tuple[str, type[Any]], ...] = (
        ("`producer.statistics()`", ProducerStatistics),
        ("`producer.shutdown()`", ShutdownReport),
        ("A message of `report.messages`", Message),
        ("A letter of `producer.dead_letters`", DeadLetter),
        ("`app.ledger()`", Ledger),
        ("A row of the ledger", LedgerRow),
        ("A lane of the ledger: one agent of one pipeline", LaneStatistics),
        ("A route of a lane", RouteStatistics),
        ("A step of a lane", StepStatistics),
        ("The source of a lane: what its agent counts", AgentStatistics),
        ("More of the `tail` agent", TailStatistics),
    )
    states: tuple[tuple[str, type[Enum]], ...] = (
        ("`receipt.state`", State),
        ("`letter.reason`", Reason),
        ("`statistics.breaker`", BreakerState),
        ("An outcome, in the results of `_send_batch`", Outcome),
    )
    parts = [f"## {title}\n\n{doc_of(owner)}\n\n{_fields(owner)}" for title, owner in owners]
    parts += [f"## {title}\n\n{doc_of(owner)}\n\n{member_table(owner, ('value', 'meaning'))}" for title, owner in states]
    return _page("Statistics and states", *parts)


def _fields(owner: type[Any]) -> str:
    if owner is TailStatistics:
        inherited = {field.name for field in dataclasses.fields(AgentStatistics)}
        return "\n".join(line for line in member_table(owner).split("\n") if line.partition("`")[2].partition("`")[0] not in inherited)
    return member_table(owner)


# --- errors -------------------------------------------------------------------------------------------------------------


def error_page() -> str:
    """Every error, as a tree."""
    return _page(
        "Errors",
        "Every error Standpipe raises is a `StandpipeError`. Three are raised by authors of producers, to say what is to be done with a "
        "message: `Reject`, `RetryAfter`, `Disconnected` (and `NotSent`, to say that a retry cannot make a duplicate). Those of the "
        "spool are in `standpipe.spool.errors`, all others in `standpipe.core.errors` if no other place is named.",
        table(("error", "is a", "means"), _errors()),
        "## Problems of a configuration",
        "A configuration that cannot be used raises `ConfigProblems`: its `problems` are all that is wrong, each a `Problem`. "
        + doc_of(Problem).partition("\n\n")[2],
    )


def _errors() -> Iterator[tuple[str, str, str]]:
    known = [
        error
        for module in (errors, spool_errors)
        for error in vars(module).values()
        if isinstance(error, type) and issubclass(error, Exception) and error.__module__ == module.__name__
    ]
    for error in (*known, DeadLetterError, DeadLettersTooNew, ConfigProblems, ExpressionError):
        parents = ", ".join(f"`{base.__name__}`" for base in error.__bases__)
        first, _, rest = doc_of(error).partition("\n\n")
        yield f"`{error.__name__}`", parents, sentence(f"{first}. {rest}" if rest else first)


# --- Python -------------------------------------------------------------------------------------------------------------


def python() -> str:
    """What `from standpipe import ...` offers."""
    return _page(
        "Python",
        "What can be imported from `standpipe`; the same names stay where they are defined (`standpipe.producers.base.BaseProducer`).",
        *(_described(name, getattr(standpipe, name)) for name in sorted(standpipe.__all__, key=str.lower) if not name.startswith("__")),
    )


def _described(name: str, thing: Any) -> str:
    parts = [f"## `{name}`", f"`from {thing.__module__} import {name}`", doc_of(thing)]
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return f"{parts[0]}\n\n{parts[1]}\n\nSee [errors](errors.md)."
    if inspect.isclass(thing) and issubclass(thing, BaseModel):
        return "\n\n".join([*parts, "Its fields: [every producer](configuration.md#every-producer)."])
    if inspect.isclass(thing) and (issubclass(thing, Enum) or dataclasses.is_dataclass(thing)):
        return "\n\n".join([*parts, "Its fields: [statistics and states](statistics.md)."])
    if inspect.isclass(thing):
        parts += [_member(member_name, member) for member_name, member in vars(thing).items() if _is_told(member_name, member)]
    return "\n\n".join(parts)


def _is_told(name: str, member: Any) -> bool:
    contract = {"_connect", "_send", "_send_batch", "_close"}
    internal = {"part", "choose", "singles", "key_set", "produce_encoded", "when_room", "has_room"}
    public = name in contract or not (name.startswith("_") or name in internal)
    return public and (inspect.isfunction(member) or isinstance(member, property)) and bool(inspect.getdoc(member))


def _member(name: str, member: Any) -> str:
    if isinstance(member, property):
        return f"### `{name}`\n\n{doc_of(member)}"
    word = "async " if inspect.iscoroutinefunction(member) else ""
    signature = str(inspect.signature(member)).replace("(self, ", "(").replace("(self)", "()").replace("'", "")
    return f"### `{name}()`\n\n```text\n{word}{name}{signature}\n```\n\n{doc_of(member)}"


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "expressions.md": expressions,
    "statistics.md": statistics,
    "errors.md": error_page,
    "python.md": python,
    "command-line.md": command_line,
}
"""The pages by the name of their file."""
