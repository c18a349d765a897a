"""One JSON Schema (draft 2020-12) for a whole configuration, so that editors complete and check it while it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema

from standpipe.core.units import BYTES_PER_UNIT, SECONDS_PER_UNIT

DRAFT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

_REFERENCE = {"$ref": "#/$defs/reference"}
_ANNOTATIONS = ("title", "description", "default", "examples", "deprecated")
_SCALARS = ("integer", "number", "boolean")
# Not "const": a constant stays alone, it is how an editor tells the members of a union apart.
_CONSTRAINTS = ("enum", "pattern", "minLength", "maxLength", "format")
_INNER_SCHEMAS = ("properties", "patternProperties", "$defs")
_INNER_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


class _Generator(GenerateJsonSchema):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ignored_warning_kinds = {"skipped-choice", "non-serializable-default", "skipped-discriminator"}


def json_schema(
    producers: Mapping[str, type[BaseModel]],
    agents: Mapping[str, type[BaseModel]],
    pipeline: type[BaseModel] | None = None,
    root: type[BaseModel] | None = None,
) -> Schema:
    """The schema of a configuration file.

    `producers` and `agents` map each `type:` to its configuration model, `pipeline` is the model of an item of `pipelines`, the
    fields of `root` may stand at the top beside them. Besides the types given, `type: package.module:Class` is allowed
    with any fields. Wherever a plain value is expected a reference such as `${env:NAME}` is allowed as well.
    """
    schema = _object_schema(root)
    schema["$defs"] = {"reference": _reference_schema(), **schema.get("$defs", {})}
    schema["properties"] = {
        "include": _include_schema(),
        **schema.get("properties", {}),
        "producers": _components("producer", producers, schema["$defs"]),
        "agents": _components("agent", agents, schema["$defs"]),
        **({"pipelines": _pipelines(pipeline, schema["$defs"])} if pipeline is not None else {}),
    }
    # Lists may be spread over included files, so that no single file has to have any of them.
    lists = {"producers", "agents", "pipelines"}
    required = [name for name in schema.get("required", []) if name not in lists]
    head = {"$schema": DRAFT, "title": "Standpipe configuration", "type": "object", "properties": schema["properties"]}
    return {**head, **({"required": required} if required else {}), "additionalProperties": False, "$defs": schema["$defs"]}


def _object_schema(model: type[BaseModel] | None, prefix: str = "root.") -> Schema:
    """The schema of a model; the definitions it needs are renamed so that those of several models can stand together."""
    if model is None:
        return {}
    template = f"#/$defs/{prefix}{{model}}"
    schema: Schema = model.model_json_schema(ref_template=template, schema_generator=_Generator)
    inner = schema.pop("$defs", {})
    if "$ref" in schema:  # a model that contains itself
        name = schema["$ref"].removeprefix(f"#/$defs/{prefix}")
        schema = dict(inner[name])
    renamed = {f"{prefix}{name}": _friendly(definition) for name, definition in inner.items()}
    return {**_friendly(schema), **({"$defs": renamed} if renamed else {})}


def _components(kind: str, models: Mapping[str, type[BaseModel]], definitions: Schema) -> Schema:
    for type_name, model in models.items():
        definitions[f"{kind}.{type_name}"] = _component(kind, type_name, model, definitions)
    definitions[f"{kind}.custom"] = _custom(kind)
    choices = [{"$ref": f"#/$defs/{_pointer(f'{kind}.{name}')}"} for name in (*models, "custom")]
    return {"type": "array", "description": f"the {kind}s, each with a type and a name", "items": {"anyOf": choices}}


def _component(kind: str, type_name: str, model: type[BaseModel], definitions: Schema) -> Schema:
    constant = {"const": type_name, "description": f"the type of {kind}"}
    try:
        schema = _object_schema(model, f"{kind}.{type_name}.")
    except PydanticInvalidForJsonSchema:
        # The model of somebody else has a field that no schema can describe: every field is let through.
        return {"type": "object", "properties": {"type": constant}, "required": ["type"]}
    definitions.update(schema.pop("$defs", {}))
    required = [name for name in schema.get("required", []) if name != "type"]
    return {**schema, "properties": {"type": constant, **_without(schema.get("properties", {}), "type")}, "required": ["type", *required]}


def _custom(kind: str) -> Schema:
    dotted = {"type": "string", "pattern": r"^[^\s:]+:[^\s:]+$", "description": f"a class of your own, as package.module:Class ({kind})"}
    return {"title": f"custom {kind}", "type": "object", "properties": {"type": dotted}, "required": ["type"]}


def _pipelines(model: type[BaseModel], definitions: Schema) -> Schema:
    schema = _object_schema(model, "pipeline.")
    definitions.update(schema.pop("$defs", {}))
    definitions["pipeline"] = schema
    return {
        "type": "array",
        "description": "the pipelines: from agents, through steps, to producers",
        "items": {"$ref": "#/$defs/pipeline"},
    }


def _pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1").replace("%", "%25")


def _include_schema() -> Schema:
    path = {"type": "string", "minLength": 1}
    description = "other files, relative to this one, whose lists and mappings are added; globs are allowed"
    return {"description": description, "anyOf": [path, {"type": "array", "items": path}]}


def _reference_schema() -> Schema:
    return {
        "type": "string",
        "pattern": r"\$\{(env|file):[^{}]+\}",
        "description": "a reference: ${env:NAME}, ${env:NAME:-default}, ${file:path}",
    }


def _without(mapping: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


# --- Pydantic's schema, made to accept what people may write ------------------------------------------------------------


def _friendly(schema: Any) -> Any:
    """`schema` with durations and sizes spelled out and references allowed wherever a plain value is."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") in _UNITS:
        return _with_unit(schema)
    schema = _without(schema, "discriminator")  # an OpenAPI keyword; JSON Schema does not know it
    for name in _INNER_SCHEMAS:
        if name in schema:
            schema[name] = {key: _friendly(inner) for key, inner in schema[name].items()}
    for name in _INNER_LISTS:
        if name in schema:
            schema[name] = [_friendly(inner) for inner in schema[name]]
    for name in ("items", "additionalProperties"):
        if name in schema:
            schema[name] = _friendly(schema[name])
    return _or_reference(schema) if _is_plain_value(schema) else schema


def _is_plain_value(schema: Schema) -> bool:
    return schema.get("type") in _SCALARS or any(name in schema for name in _CONSTRAINTS)


def _or_reference(schema: Schema) -> Schema:
    outer = {name: schema[name] for name in _ANNOTATIONS if name in schema}
    return {**outer, "anyOf": [_without(schema, *_ANNOTATIONS), _REFERENCE]}


def _with_unit(schema: Schema) -> Schema:
    number, units, example = _UNITS[schema["format"]]
    outer = {name: schema[name] for name in _ANNOTATIONS if name in schema}
    pattern = rf"^\s*[0-9]+(\.[0-9]+)?\s*({'|'.join(units)})\s*$"
    text = {"type": "string", "pattern": pattern, "examples": example}
    return {**outer, "anyOf": [{"type": number, "minimum": 0}, text, _REFERENCE]}


def _any_case(units: Iterable[str]) -> list[str]:
    return [re.sub("[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", unit) for unit in units]


_UNITS: dict[str, tuple[str, list[str], list[str]]] = {
    "duration": ("number", list(SECONDS_PER_UNIT), ["500ms", "5s", "1h"]),
    "size": ("integer", _any_case(BYTES_PER_UNIT), ["64KiB", "10MB"]),
}
