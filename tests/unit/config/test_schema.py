from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from standpipe.config import json_schema
from tests.unit.config.models import PipelineConfig, ProducerConfig, RootConfig, TailConfig

Schema = dict[str, Any]


@pytest.fixture(scope="module")
def schema() -> Schema:
    return json_schema({"file": ProducerConfig, "sqlite": ProducerConfig}, {"tail": TailConfig}, PipelineConfig, RootConfig)


def references_of(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [name for inner in part.values() for name in references_of(inner)]
    return [name for inner in part for name in references_of(inner)] if isinstance(part, list) else []


def accepts(part: Schema, value: object) -> bool:
    """Whether one of the alternatives of `part` takes the text or number `value` (types, minimum and pattern only)."""
    types: dict[str, tuple[type, ...]] = {"number": (int, float), "integer": (int,), "string": (str,)}
    for choice in part["anyOf"]:
        kinds = types.get(choice.get("type", ""), ())
        if isinstance(value, kinds) and (not isinstance(value, str) or re.search(choice.get("pattern", ""), value)):
            return True
    return False


def test_the_schema_is_plain_json_of_the_draft_and_every_reference_in_it_leads_somewhere(schema: Schema) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema)) == schema
    assert {name.removeprefix("#/$defs/") for name in references_of(schema)} <= set(schema["$defs"])


def test_components_are_told_apart_by_their_type(schema: Schema) -> None:
    choices = schema["properties"]["producers"]["items"]["anyOf"]
    assert [choice["$ref"] for choice in choices] == ["#/$defs/producer.file", "#/$defs/producer.sqlite", "#/$defs/producer.custom"]
    sqlite = schema["$defs"]["producer.sqlite"]
    assert sqlite["properties"]["type"]["const"] == "sqlite"
    assert sqlite["required"] == ["type", "name"]
    assert sqlite["additionalProperties"] is False


def test_a_class_by_its_dotted_path_may_have_any_fields(schema: Schema) -> None:
    custom = schema["$defs"]["producer.custom"]
    assert "additionalProperties" not in custom
    pattern = custom["properties"]["type"]["pattern"]
    assert re.search(pattern, "my.module:Class")
    assert not re.search(pattern, "fil")


def test_fields_carry_their_description_and_default(schema: Schema) -> None:
    retries = schema["$defs"]["producer.file"]["properties"]["max_retries"]
    assert retries["description"] == "attempts before the connection is reset"
    assert retries["default"] == 5
    assert retries["anyOf"][0] == {"minimum": 1, "type": "integer"}


def test_a_reference_is_allowed_wherever_a_plain_value_is(schema: Schema) -> None:
    properties = schema["$defs"]["producer.file"]["properties"]
    for name in ("max_retries", "enabled", "ratio", "reconnect_wait", "segment"):
        assert {"$ref": "#/$defs/reference"} in properties[name]["anyOf"], name
    assert re.search(schema["$defs"]["reference"]["pattern"], "${env:PORT:-80}")
    assert not re.search(schema["$defs"]["reference"]["pattern"], "8080")


def test_the_constant_that_tells_the_members_of_a_union_apart_stands_alone(schema: Schema) -> None:
    queue = schema["$defs"]["producer.file.SpoolQueue"]
    assert queue["properties"]["type"]["const"] == "spool"
    assert queue["required"] == ["type", "path"]


def test_durations_and_sizes_take_numbers_and_texts_with_a_unit(schema: Schema) -> None:
    properties = schema["$defs"]["producer.file"]["properties"]
    wait, segment = properties["reconnect_wait"], properties["segment"]
    assert all(accepts(wait, value) for value in (5, 0.5, "5", "500ms", "1.5 h"))
    assert not any(accepts(wait, value) for value in ("soon", "5 weeks", "-5s"))
    assert all(accepts(segment, value) for value in (64, "64KiB", "10mb", "5"))
    assert not any(accepts(segment, value) for value in (0.5, "64XB"))
    assert "format" not in wait


def test_the_top_has_the_lists_the_includes_and_the_fields_of_the_root_model(schema: Schema) -> None:
    assert list(schema["properties"]) == ["include", "state_dir", "shutdown_timeout", "producers", "agents", "pipelines"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["pipeline"]["required"] == ["name", "from"]


def test_models_of_the_same_name_do_not_meet() -> None:
    def make(kind: type) -> type[BaseModel]:
        class Inner(BaseModel):
            value: kind  # type: ignore[valid-type]

        class Config(BaseModel):
            type: str
            inner: Inner

        return Config

    definitions = json_schema({"a": make(int), "b": make(str)}, {})["$defs"]
    assert definitions["producer.a.Inner"] != definitions["producer.b.Inner"]


def test_a_model_that_no_schema_describes_lets_every_field_through() -> None:
    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        type: str
        view: memoryview

    odd = json_schema({"odd": Odd}, {})["$defs"]["producer.odd"]
    assert odd == {"type": "object", "properties": {"type": {"const": "odd", "description": "the type of producer"}}, "required": ["type"]}


GOOD: list[Schema] = [
    {},
    {"include": "x.yaml", "producers": [], "shutdown_timeout": "5s"},
    {
        "producers": [
            {"type": "file", "name": "a", "max_retries": "${env:N}", "reconnect_wait": "1h", "queue": {"type": "spool", "path": "p"}}
        ]
    },
    {"producers": [{"type": "my.module:Class", "name": "a", "anything": {"goes": 1}}]},
    {"agents": [{"type": "tail", "name": "t", "paths": ["x"]}], "pipelines": [{"name": "p", "from": ["t"], "steps": [{"parse": "json"}]}]},
]
BAD: list[Schema] = [
    {"producrs": []},
    {"producers": {}},
    {"producers": [{"type": "fil", "name": "a"}]},
    {"producers": [{"type": "file"}]},
    {"producers": [{"type": "file", "name": "a", "max_retries": 0}]},
    {"producers": [{"type": "file", "name": "a", "max_retires": 1}]},
    {"producers": [{"type": "file", "name": "a", "reconnect_wait": "soon"}]},
    {"producers": [{"type": "file", "name": "a", "queue": {"type": "spool"}}]},
    {"pipelines": [{"name": "p"}]},
]


@pytest.mark.parametrize(("document", "is_valid"), [(document, True) for document in GOOD] + [(document, False) for document in BAD])
def test_documents_are_told_apart_by_a_real_validator(schema: Schema, document: Schema, is_valid: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert jsonschema.Draft202012Validator(schema).is_valid(document) is is_valid
