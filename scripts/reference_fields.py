"""Tables of fields: from Pydantic models and from documented dataclasses to Markdown."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import types
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from standpipe.core.units import BYTES_PER_UNIT, parse_duration, parse_size

_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    SecretStr: "secret text",
    SecretBytes: "secret text",
}
_UNITS: dict[Callable[..., Any], str] = {parse_duration: "duration", parse_size: "size"}


_PLAIN: dict[str | tuple[str, str], str] = {
    "accepted": "handed over and taken",
    "accepted_at": "when it was accepted",
    "agent": "name of the agent",
    "attempts": "how often it was tried",
    "dead_lettered": "put aside for good",
    "delivered": "confirmed by the destination",
    "destination": "where it was to go",
    "dropped": "dropped by the overflow policy that the user named",
    "error": "the last error, as one line without secrets",
    "errors": "could not be treated as the step says",
    "expression_errors": "messages for which an expression of the route had no result",
    "disk_refusals": "times that the disk of the producer's spool refused what was handed over; it is held and tried again",
    "failed": "why the lane has stopped, if it has failed",
    "filtered": "did not fulfil a filter's condition",
    "finished": "whether the lane has ended",
    "first_attempt_at": "when it was first tried, if it ever was",
    "headers": "text to text, if it has any",
    "held": "messages that wait for room in the producer's queue",
    "id": "the message id, the same in every attempt",
    "is_error": "whether it is an error message",
    "key": "its key, if it has one",
    "lanes": "one for each agent of each pipeline",
    "last_attempt_at": "when it was last tried, or put aside",
    "left_out": "messages that the steps left out (filtered or dropped)",
    "messages": "messages that have taken this route",
    "oversized": "messages larger than the producer's whole queue, replaced by a note that shows their beginning",
    "payload": "the message as JSON, as it will be or would have been sent",
    "pending": "accepted and not settled",
    "pipeline": "name of the pipeline",
    "producer": "name of the producer",
    "read": "messages read",
    "reason": "why it was put aside",
    "records_in": "records that came in",
    "records_out": "records that went on",
    "replays": "how often it was sent again from the dead letters",
    "routes": "one for each route",
    "rows": "one for each producer",
    "source": "what the agent counts",
    "steps": "one for each step",
    "time": "when it was accepted, in seconds since 1970",
    "to": "name of the producer",
    "traceback": "the innermost part of the traceback, without secrets",
    "type": "name of the step",
    "unacknowledged": "batches read of which not every message is settled",
    "unconverted": "values that are not of the type they should be, kept as text",
    "unencodable": "messages that JSON cannot say, replaced by a note that shows them",
    "unrouted": "messages that took no route",
    ("BreakerState", "closed"): "messages flow",
    ("BreakerState", "open"): "nothing is sent until the next probe is due",
    ("BreakerState", "half_open"): "one message may be tried: the probe",
    ("Outcome", "delivered"): "it arrived",
    ("StepStatistics", "dropped"): "could not be parsed, with `on_error: drop`",
}
"""Words for fields that say everything by their name in the code."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(cell(text) for text in line)} |\n" for line in lines)


def cell(text: str) -> str:
    """`text` for one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def field_table(model: type[BaseModel], without: Iterable[str] = ()) -> str:
    """The fields of a model: name, type, default, meaning."""
    left_out = set(without)
    rows = [
        (f"`{info.alias or name}`", type_of(info.annotation, info.metadata), default_of(info), sentence(info.description or ""))
        for name, info in model.model_fields.items()
        if name not in left_out
    ]
    return table(("field", "type", "default", "meaning"), rows) if rows else ""


def sentence(text: str) -> str:
    """`text` beginning with a capital, unless it begins with code."""
    return text[:1].upper() + text[1:]


def type_of(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """A type in words."""
    unit = next((_UNITS[func] for item in metadata if (func := getattr(item, "func", None)) in _UNITS), None)
    if unit is not None:
        return unit
    words = next((item.words for item in metadata if isinstance(getattr(item, "words", None), str)), None)
    if words is not None:
        return str(words)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_of(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        kinds = [type_of(argument) for argument in arguments if argument is not type(None) and "SkipJsonSchema" not in str(argument)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin in (list, tuple, set, frozenset):
        return f"list of {_plural(type_of(arguments[0]))}" if arguments else "list"
    if origin is dict or annotation is dict:
        return f"mapping to {type_of(arguments[1])}" if arguments and arguments[1] is not Any else "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping, see below"
    return _WORDS.get(annotation, "any value" if annotation is Any else getattr(annotation, "__name__", str(annotation)))


def _plural(kind: str) -> str:
    return {"text": "texts", "whole number": "whole numbers", "mapping, see below": "mappings, see below"}.get(kind, kind)


def default_of(info: FieldInfo) -> str:
    """A default as it is written in YAML."""
    if info.is_required():
        return "**required**"
    value = info.get_default(call_default_factory=True, validated_data={})
    kind = type_of(info.annotation, info.metadata)
    if isinstance(value, BaseModel):
        return "as below"
    if isinstance(value, float) and kind.startswith("duration"):
        return f"`{duration(value)}`"
    if isinstance(value, int) and kind.startswith("size"):
        return f"`{size(value)}`"
    return written(value)


def written(value: Any) -> str:
    """A plain value as YAML has it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and value == int(value):
        return f"`{int(value)}`"
    if isinstance(value, (list, tuple)):
        return f"`[{', '.join(str(item) for item in value)}]`"
    return f"`{value}`" if value != "" else "empty"


def duration(seconds: float) -> str:
    """Seconds as people write them."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    return f"{seconds:g}s"


def size(number: int) -> str:
    """Bytes as people write them."""
    for unit in ("GiB", "MiB", "KiB"):
        factor = BYTES_PER_UNIT[unit.lower()]
        if number >= factor and number % factor == 0:
            return f"{number // factor}{unit}"
    return str(number)


def member_table(owner: type[Any], head: tuple[str, str] = ("field", "meaning")) -> str:
    """The fields of a dataclass, or the members of an enum, with the text that stands below each in the source."""
    said = member_docs(owner)
    if issubclass(owner, Enum):
        names = [str(member.value) for member in owner]
        said = {str(member.value): said.get(member.name, "") for member in owner}
    else:
        names = [field.name for field in dataclasses.fields(owner) if not field.name.startswith("_")]
    names += [name for name, member in vars(owner).items() if isinstance(member, property) and not name.startswith("_")]
    said |= {name: inspect.getdoc(member) or "" for name, member in vars(owner).items() if isinstance(member, property)}
    return table(head, [(f"`{name}`", sentence(said.get(name) or _plain(owner, name))) for name in names])


def _plain(owner: type[Any], name: str) -> str:
    return _PLAIN.get((owner.__name__, name)) or _PLAIN.get(name, "")


def member_docs(owner: type[Any]) -> dict[str, str]:
    """The texts below fields, those of base classes included."""
    found: dict[str, str] = {}
    for kind in reversed(owner.__mro__):
        if kind.__module__.startswith("standpipe"):
            found |= _own_docs(kind)
    return found


def _own_docs(owner: type[Any]) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
    body = getattr(tree, "body", [])
    found: dict[str, str] = {}
    for member, below in itertools.pairwise(body):
        targets = [member.target] if isinstance(member, ast.AnnAssign) else member.targets if isinstance(member, ast.Assign) else []
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            found |= {target.id: below.value.value for target in targets if isinstance(target, ast.Name)}
    return found


def doc_of(thing: Any) -> str:
    """The docstring as Markdown; indented parts become code."""
    return _code_blocks(inspect.cleandoc(thing.__doc__ or "")).strip()


def _code_blocks(text: str) -> str:
    """Indented examples as fenced ones, marked as illustrations: the tests of the code run them."""
    return re.sub(r"(?m)(?:^    .*\n?|^\n(?=    ))+", lambda part: _fenced(part[0]), text)


def _fenced(part: str) -> str:
    code = textwrap.dedent(part).strip("\n")
    return f"\n```python no-run: taken from a docstring\n{code}\n```\n" if code else part
