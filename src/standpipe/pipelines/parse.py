"""The parse step: lines of text become records with fields, by a regular expression, as JSON, or as logfmt.

What does not parse is never silently lost: `on_error` names what happens to it, and it is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, Protocol, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from standpipe.pipelines.conversions import CONVERSIONS, convert_field
from standpipe.pipelines.expression_rules import near
from standpipe.pipelines.fields import MISSING, check_field_name, find, take
from standpipe.pipelines.logfmt import parse_logfmt
from standpipe.pipelines.patterns import compile_pattern
from standpipe.pipelines.presets import PRESETS
from standpipe.pipelines.records import TEXT_FIELD, Records
from standpipe.pipelines.step import StepStatistics

PARSE_ERROR_FIELD = "parse_error"
"""The field that says why a record, kept as it was, could not be parsed."""

REASON_MAX = 200
"""Characters of that reason: enough for what JSON parsers say, and no second copy of the line."""

DEPTH_MAX = 250
"""Levels of nesting in parsed JSON: orjson reads 1,024 levels, but writes 254, and a pipeline adds some."""

DEEP_LENGTH_MIN = 2 * DEPTH_MAX
"""Characters in the shortest text that can be nested more deeply."""

Format = Literal["regex", "json", "logfmt"]
Rows = list[dict[str, Any] | None]
"""One parsed record for each text; None for what did not parse."""


class ParseConfig(BaseModel):
    """How text becomes fields: `format: json`, `format: logfmt`, a `pattern`, or a `preset`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format | None = Field(None, description="What the text is; `regex` is understood when there is a pattern or a preset.")
    pattern: str | None = Field(
        None, description="A regular expression with named groups, matched from the start of the text; end it with $ for the whole."
    )
    preset: str | None = Field(None, description="A pattern that comes with Standpipe.", json_schema_extra={"enum": list(PRESETS)})
    field: str = Field(TEXT_FIELD, description="The field that holds the text; the parsed fields take its place.")
    types: dict[str, Literal["int", "float", "bool", "str"]] = Field(
        default_factory=dict, description="Fields to convert; a value that does not convert is kept as it is, and counted."
    )
    on_error: Literal["keep", "drop", "pass"] = Field(
        "keep",
        description="What happens to text that does not parse: `keep` it as an error with a field `parse_error`, "
        "`drop` it (counted), or `pass` it on as it is.",
    )

    @field_validator("pattern")
    @classmethod
    def _pattern_has_named_groups(cls, pattern: str | None) -> str | None:
        if pattern is not None and not compile_pattern(pattern).groupindex:
            raise ValueError(f"pattern {pattern!r} has no named group; write (?P<name>...) around each part to keep")
        return pattern

    @field_validator("preset")
    @classmethod
    def _preset_exists(cls, preset: str | None) -> str | None:
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; {near(preset, PRESETS)}there are: {', '.join(PRESETS)}")
        return preset

    @field_validator("field")
    @classmethod
    def _field_has_a_name(cls, field: str) -> str:
        return check_field_name(field)

    @model_validator(mode="after")
    def _one_way_to_parse(self) -> Self:
        given = [name for name in ("pattern", "preset") if getattr(self, name) is not None]
        if self.format in {"json", "logfmt"} and given:
            raise ValueError(f"format {self.format} takes no {given[0]}; remove one of them")
        if len(given) == 2:
            raise ValueError("there is a pattern and a preset; remove one of them")
        if self.format in {None, "regex"} and not given:
            raise ValueError("nothing says how to parse; write format: json, format: logfmt, a pattern, or a preset")
        return self

    @model_validator(mode="after")
    def _types_are_of_known_groups(self) -> Self:
        pattern = self.regular_expression()
        for name in self.types if pattern else ():
            groups = compile_pattern(pattern or "").groupindex
            if name not in groups:
                raise ValueError(
                    f"types names {name!r}, which is no group of the pattern; {near(name, groups)}there are: {', '.join(groups)}"
                )
        return self

    def regular_expression(self) -> str | None:
        """The pattern, also when a preset names it; None for the other formats."""
        return PRESETS[self.preset].pattern if self.preset is not None else self.pattern


class Parser(Protocol):
    """Parses many texts at once."""

    def __call__(self, texts: list[str]) -> Rows:
        """A record or None for each of `texts`."""

    def reason(self, text: str) -> str:
        """Why `text` does not parse; asked only for those that did not."""


class RegexParser:
    """By a pattern with named groups: a group that took no part gives None."""

    def __init__(self, pattern: str) -> None:
        self._match = re.compile(pattern).match

    def __call__(self, texts: list[str]) -> Rows:
        """A record or None for each of `texts`."""
        match = self._match
        return [m.groupdict() if (m := match(text)) is not None else None for text in texts]

    def reason(self, text: str) -> str:
        """Why `text` does not parse."""
        del text
        return "the text does not match the pattern"


class JsonParser:
    """As JSON, each text an object."""

    def __call__(self, texts: list[str]) -> Rows:
        """A record or None for each of `texts`."""
        rows = _each(orjson.loads, texts)
        if max(map(len, texts), default=0) >= DEEP_LENGTH_MIN:
            rows = [None if _is_too_deep(text, row) else row for text, row in zip(texts, rows, strict=True)]
        if set(map(type, rows)) <= {dict}:
            return rows
        return [row if type(row) is dict else None for row in rows]

    def reason(self, text: str) -> str:
        """Why `text` does not parse."""
        try:
            value = orjson.loads(text)
        except ValueError as error:
            return f"the text is not JSON: {error}"
        if type(value) is dict:
            return f"the text is JSON, but nested more than {DEPTH_MAX} levels deep"
        return f"the text is JSON, but {_kind(value)} instead of an object"


class LogfmtParser:
    """As logfmt."""

    def __call__(self, texts: list[str]) -> Rows:
        """A record or None for each of `texts`."""
        return _each(parse_logfmt, texts)

    def reason(self, text: str) -> str:
        """Why `text` does not parse."""
        try:
            parse_logfmt(text)
        except ValueError as error:
            return f"the text {error}"
        return "the text is not logfmt"


def _each(parse: Callable[[str], Any], texts: list[str]) -> list[Any]:
    """`parse` of each text, None where it raises ValueError, at the speed of `map` where it does not."""
    rows: list[Any] = []
    remaining = iter(texts)
    while True:
        try:
            rows.extend(map(parse, remaining))
        except ValueError:
            # What came before has been added, and `remaining` stands after the text that raised.
            rows.append(None)
        else:
            return rows


def _is_too_deep(text: str, value: Any) -> bool:
    """Whether `value`, parsed from `text`, could not be written as JSON again."""
    return len(text) >= DEEP_LENGTH_MIN and text.count("{") + text.count("[") > DEPTH_MAX and _depth(value) > DEPTH_MAX


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def _kind(value: object) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def make_parser(config: ParseConfig) -> Parser:
    """The parser that `config` asks for."""
    if config.format == "json":
        return JsonParser()
    if config.format == "logfmt":
        return LogfmtParser()
    return RegexParser(config.regular_expression() or "")


class ParseStep:
    """The compiled parse step. Used by one thread at a time."""

    type = "parse"

    def __init__(self, config: ParseConfig) -> None:
        self._field = config.field
        self._types = [(name, CONVERSIONS[kind]) for name, kind in config.types.items()]
        self._on_error = config.on_error
        self._parse = make_parser(config)
        self._in = self._dropped = self._errors = self._unconverted = 0

    def apply(self, records: Records) -> Records:
        """`records` in parsed form, without those that `on_error: drop` drops."""
        self._in += len(records)
        if records.lines is not None and self._field == TEXT_FIELD:
            return self._apply_to_lines(records, records.lines)
        return self._apply_to_records(records)

    def statistics(self) -> StepStatistics:
        """The counts now."""
        return StepStatistics(
            type=self.type,
            records_in=self._in,
            records_out=self._in - self._dropped,
            dropped=self._dropped,
            errors=self._errors,
            unconverted=self._unconverted,
        )

    def _apply_to_lines(self, records: Records, lines: list[str]) -> Records:
        rows = self._parse(lines)
        complete = [row for row in rows if row is not None]
        self._convert(complete)
        if len(complete) == len(rows):
            return Records(records=complete, errors=records.errors, extras=records.extras, source=records.source)
        failures = {place: self._parse.reason(lines[place]) for place, row in enumerate(rows) if row is None}
        whole = [row if row is not None else {TEXT_FIELD: line} for row, line in zip(rows, lines, strict=True)]
        return self._settle(Records(records=whole, errors=records.errors, extras=records.extras, source=records.source), failures)

    def _apply_to_records(self, records: Records) -> Records:
        field = self._field
        rows = records.as_records()
        values = [find(row, field) for row in rows]
        failures = {place: self._not_text(value) for place, value in enumerate(values) if not isinstance(value, str)}
        places = [place for place in range(len(rows)) if place not in failures]
        parsed = self._parse([values[place] for place in places])
        self._convert([row for row in parsed if row is not None])
        for place, fields in zip(places, parsed, strict=True):
            if fields is None:
                failures[place] = self._parse.reason(values[place])
            else:
                take(rows[place], field)
                rows[place].update(fields)
        return self._settle(records, failures) if failures else records

    def _not_text(self, value: object) -> str:
        if value is MISSING:
            return f"the record has no field {self._field!r}"
        return f"field {self._field!r} is {_kind(value) if not isinstance(value, dict) else 'a mapping'}, not a text"

    def _convert(self, rows: list[dict[str, Any]]) -> None:
        for name, convert in self._types:
            self._unconverted += convert_field(rows, name, convert)

    def _settle(self, records: Records, failures: dict[int, str]) -> Records:
        """Does with the records at the places in `failures` (not empty) what `on_error` says."""
        self._errors += len(failures)
        if self._on_error == "drop":
            self._dropped += len(failures)
            return records.select([place not in failures for place in range(len(records))])
        if self._on_error == "keep":
            records.errors = list(records.error_flags())
            for place, reason in failures.items():
                records.errors[place] = True
                (records.records or [])[place].setdefault(PARSE_ERROR_FIELD, reason[:REASON_MAX])
        return records
