"""Steps as they are written in a configuration: a list of mappings with one key each, such as `- filter: status >= 500`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from standpipe.pipelines.expression import compile_expression
from standpipe.pipelines.expression_functions import check_sendable
from standpipe.pipelines.expression_rules import SPECIAL_NAMES, near
from standpipe.pipelines.fields import check_field_name
from standpipe.pipelines.parse import ParseConfig

STEP_TYPES: dict[str, str] = {
    "parse": "turns text into fields: a regular expression, a preset for a known log format, JSON or logfmt",
    "set": "sets fields, each to an expression over the record or to a constant",
    "rename": "renames fields: old name to new name; a field that is not there is passed over",
    "drop_fields": "removes the named fields",
    "keep_fields": "removes all but the named fields; a record that could not be parsed is kept whole",
    "filter": "lets through only the records for which an expression holds; the others are counted",
}
"""The steps by name, with one line each."""

_THERE_ARE = f"there are: {', '.join(STEP_TYPES)}"


class StepConfig(BaseModel):
    """One step of a pipeline; exactly one of the fields is given."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"minProperties": 1, "maxProperties": 1})

    parse: ParseConfig | SkipJsonSchema[None] = Field(None, description=STEP_TYPES["parse"])
    set: dict[str, Any] | SkipJsonSchema[None] = Field(
        None,
        min_length=1,
        description="field -> value, in this order. A text is an expression (a text to set is quoted twice: \"'blue'\"), anything else "
        "is set as it is. `a.b` is field b in the mapping a, made when it is not there. `is_error` sets the record's error flag.",
    )
    rename: dict[str, str] | SkipJsonSchema[None] = Field(
        None, min_length=1, description="old name -> new name, in this order. A field that has the new name already is replaced."
    )
    drop_fields: list[str] | SkipJsonSchema[None] = Field(None, min_length=1, description="Names of the fields to remove.")
    keep_fields: list[str] | SkipJsonSchema[None] = Field(
        None, min_length=1, description="Names of the fields to keep; a record that could not be parsed is kept whole."
    )
    filter: str | SkipJsonSchema[None] = Field(None, description="An expression; records for which it does not hold are filtered out.")

    @model_validator(mode="before")
    @classmethod
    def _is_one_known_step(cls, value: Any) -> Any:
        if isinstance(value, StepConfig):
            return value
        if not isinstance(value, dict):
            raise ValueError(f"a step is one key and its value, such as filter: status >= 500, not a {type(value).__name__}; {_THERE_ARE}")
        _check_keys([str(key) for key in value])
        for key, content in value.items():
            if content is None:
                raise ValueError(f"step {key!r} has no value; it {STEP_TYPES[key]}")
        return value

    @field_validator("filter")
    @classmethod
    def _filter_compiles(cls, text: str | None) -> str | None:
        if text is not None:
            compile_expression(text)
        return text

    @field_validator("set")
    @classmethod
    def _values_compile(cls, values: dict[str, Any] | None) -> dict[str, Any] | None:
        for name, value in (values or {}).items():
            check_field_name(name)
            if name in SPECIAL_NAMES and name != "is_error":
                stands_for = "the whole record" if name == "record" else "where the record came from"
                raise ValueError(f"field {name!r} cannot be set, in expressions it stands for {stands_for}; choose another name")
            if name == "is_error" and not isinstance(value, (str, bool)):
                raise ValueError(f"is_error cannot be {value!r}; write true, false or an expression")
            if isinstance(value, str):
                compile_expression(value)
            else:
                check_sendable(value)
        return values

    @field_validator("rename")
    @classmethod
    def _names_differ(cls, names: dict[str, str] | None) -> dict[str, str] | None:
        for old, new in (names or {}).items():
            if check_field_name(old) == check_field_name(new):
                raise ValueError(f"field {old!r} is renamed to itself; remove the line or write another name")
        return names

    @field_validator("drop_fields", "keep_fields")
    @classmethod
    def _names_are_names(cls, names: list[str] | None) -> list[str] | None:
        for name in names or ():
            check_field_name(name)
        return names

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        _check_keys(self.model_fields_set)
        return self

    @property
    def type(self) -> str:
        """The step's name, such as `filter`."""
        return next(iter(self.model_fields_set))


def _check_keys(keys: Iterable[str]) -> None:
    keys = list(keys)
    for key in keys:
        if key not in STEP_TYPES:
            raise ValueError(f"unknown step {key!r}; {near(key, STEP_TYPES)}{_THERE_ARE}")
    if not keys:
        raise ValueError(f"a step is empty; {_THERE_ARE}")
    if len(keys) > 1:
        raise ValueError(f"a step has one key, this one has {len(keys)} ({', '.join(keys)}); write each as its own item of the list")
