from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from standpipe.pipelines.parse import REASON_MAX, ParseConfig, ParseStep
from standpipe.pipelines.records import Records
from standpipe.pipelines.step import StepStatistics

PATTERN = r"(?P<level>[A-Z]+) (?P<code>\S+)(?: (?P<rest>.*))?$"


def parse(records: Records, **config: Any) -> tuple[Records, StepStatistics]:
    step = ParseStep(ParseConfig(**config))
    parsed = step.apply(records)
    statistics = step.statistics()
    assert statistics.records_in == statistics.records_out + statistics.dropped
    assert statistics.records_out == len(parsed)
    return parsed, statistics


def test_lines_become_fields_by_named_groups() -> None:
    parsed, statistics = parse(Records(lines=["INFO 200 all well", "WARN 404"], source={"path": "x"}), pattern=PATTERN)
    assert parsed.records == [{"level": "INFO", "code": "200", "rest": "all well"}, {"level": "WARN", "code": "404", "rest": None}]
    assert parsed.errors is None
    assert parsed.source == {"path": "x"}
    assert statistics == StepStatistics(type="parse", records_in=2, records_out=2)


def test_a_line_that_does_not_parse_is_kept_as_an_error_by_default() -> None:
    parsed, statistics = parse(Records(lines=["INFO 200", "garbage", ""]), pattern=PATTERN)
    assert parsed.as_records() == [
        {"level": "INFO", "code": "200", "rest": None},
        {"message": "garbage", "parse_error": "the text does not match the pattern"},
        {"message": "", "parse_error": "the text does not match the pattern"},
    ]
    assert parsed.errors == [False, True, True]
    assert statistics.errors == 2


def test_a_line_that_does_not_parse_is_passed_on_when_asked_to() -> None:
    parsed, statistics = parse(Records(lines=["INFO 200", "garbage"], errors=[True, False]), pattern=PATTERN, on_error="pass")
    assert parsed.as_records()[1] == {"message": "garbage"}
    assert parsed.errors == [True, False]
    assert statistics.errors == 1


def test_a_line_that_does_not_parse_is_dropped_and_counted_when_asked_to() -> None:
    records = Records(lines=["bad", "INFO 1", "bad", "INFO 2"], errors=[True, False, False, True], extras={0: {"n": 0}, 3: {"n": 3}})
    parsed, statistics = parse(records, pattern=PATTERN, on_error="drop")
    assert [row["code"] for row in parsed.as_records()] == ["1", "2"]
    assert parsed.as_records()[1]["n"] == 3
    assert parsed.errors == [False, True]
    assert (statistics.errors, statistics.dropped) == (2, 2)


def test_what_the_agent_adds_stays_with_its_line() -> None:
    parsed, _ = parse(Records(lines=["INFO 1", "bad"], extras={0: {"truncated": True}, 1: {"truncated": True}}), pattern=PATTERN)
    assert parsed.as_records()[0] == {"level": "INFO", "code": "1", "rest": None, "truncated": True}
    assert parsed.as_records()[1]["truncated"] is True


def test_flags_of_a_chunk_that_parses_are_kept() -> None:
    parsed, _ = parse(Records(lines=["INFO 1", "INFO 2"], errors=[False, True]), pattern=PATTERN)
    assert parsed.errors == [False, True]


def test_types_are_converted_and_failures_are_kept_as_text_and_counted() -> None:
    lines = ["INFO 200", "WARN -", "garbage"]
    parsed, statistics = parse(Records(lines=lines), pattern=PATTERN, types={"code": "int", "rest": "int"})
    assert [row.get("code") for row in parsed.as_records()] == [200, "-", None]
    assert statistics.unconverted == 1


def test_json_objects_become_records() -> None:
    parsed, statistics = parse(Records(lines=['{"a": 1, "b": {"c": "x"}}', "{}"]), format="json")
    assert parsed.records == [{"a": 1, "b": {"c": "x"}}, {}]
    assert statistics.errors == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "the text is JSON, but a list instead of an object"),
        ('"x"', "the text is JSON, but a text instead of an object"),
        ("5", "the text is JSON, but a number instead of an object"),
        ("true", "the text is JSON, but true or false instead of an object"),
        ("null", "the text is JSON, but null instead of an object"),
        ("", "the text is not JSON: "),
        ('{"a": NaN}', "the text is not JSON: "),
        ('{"a": 1', "the text is not JSON: "),
        ('{"a": 1} x', "the text is not JSON: "),
        ('{"a": "\udc80"}', "the text is not JSON: "),
        ("[" * 5000, "the text is not JSON: "),
        ('{"a":' * 251 + "1" + "}" * 251, "the text is JSON, but nested more than 250 levels deep"),
    ],
)
def test_what_is_no_json_object_is_an_error_and_its_neighbours_are_not(line: str, reason: str) -> None:
    parsed, _ = parse(Records(lines=['{"n": 1}', line, '{"n": 2}', line, line, '{"n": 3}']), format="json")
    rows = parsed.as_records()
    assert [row.get("n") for row in rows] == [1, None, 2, None, None, 3]
    assert rows[1]["message"] == line
    assert rows[1]["parse_error"].startswith(reason)
    assert len(rows[1]["parse_error"]) <= REASON_MAX
    assert parsed.errors == [False, True, False, True, True, False]


def test_long_and_wide_json_is_not_taken_for_deep() -> None:
    line = '{"a": [' + ",".join(["{}"] * 1000) + "]}"
    parsed, _ = parse(Records(lines=[line, '{"a":' * 250 + "1" + "}" * 250]), format="json")
    assert parsed.errors is None
    assert orjson.dumps(parsed.as_records())


def test_logfmt_becomes_fields() -> None:
    parsed, statistics = parse(Records(lines=['a=1 msg="x y" z', "plain prose"]), format="logfmt", types={"a": "int"})
    assert parsed.as_records() == [
        {"a": 1, "msg": "x y", "z": True},
        {"message": "plain prose", "parse_error": "the text has no key=value"},
    ]
    assert statistics.errors == 1


def test_a_field_of_a_record_is_replaced_by_its_fields() -> None:
    records = Records(records=[{"log": '{"a": 1}', "host": "h"}, {"log": "x", "host": "h"}, {"host": "h"}, {"log": 5}, {"log": {}}])
    parsed, statistics = parse(records, format="json", field="log", types={"a": "str"})
    rows = parsed.as_records()
    assert rows[0] == {"host": "h", "a": "1"}
    assert rows[1]["log"] == "x"
    assert rows[1]["parse_error"].startswith("the text is not JSON")
    assert rows[2] == {"host": "h", "parse_error": "the record has no field 'log'"}
    assert rows[3] == {"log": 5, "parse_error": "field 'log' is a number, not a text"}
    assert rows[4] == {"log": {}, "parse_error": "field 'log' is a mapping, not a text"}
    assert parsed.errors == [False, True, True, True, True]
    assert statistics.errors == 4


def test_a_nested_field_can_be_parsed_and_a_parsed_field_may_have_its_name() -> None:
    parsed, _ = parse(Records(records=[{"k": {"log": "a=1", "pod": "p"}}]), format="logfmt", field="k.log")
    assert parsed.as_records() == [{"k": {"pod": "p"}, "a": "1"}]
    parsed, _ = parse(Records(records=[{"message": '{"message": "inner"}'}]), format="json")
    assert parsed.as_records() == [{"message": "inner"}]


def test_the_first_reason_of_a_record_is_kept() -> None:
    first, _ = parse(Records(lines=["garbage"]), format="json")
    second, _ = parse(first, format="logfmt", field="message")
    assert second.as_records()[0]["parse_error"].startswith("the text is not JSON")


@given(
    st.lists(st.sampled_from(['{"n": 1}', "x", "[]", "", "INFO 5", "a=1"])),
    st.sampled_from(["keep", "drop", "pass"]),
    st.sampled_from([{"format": "json"}, {"format": "logfmt"}, {"pattern": PATTERN}]),
    st.booleans(),
)
def test_every_line_comes_out_or_is_counted(lines: list[str], on_error: str, how: dict[str, str], as_text: bool) -> None:
    records = Records(lines=list(lines)) if as_text else Records(records=[{"message": line} for line in lines])
    parsed, statistics = parse(records, on_error=on_error, **how)
    rows = parsed.as_records()
    assert len(rows) + statistics.dropped == len(lines)
    if on_error != "drop":
        kept = [row["message"] for row in rows if "message" in row]
        assert len(kept) == statistics.errors
        assert parsed.error_count() == (statistics.errors if on_error == "keep" else 0)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "nothing says how to parse; write format: json, format: logfmt, a pattern, or a preset"),
        ({"format": "regex"}, "nothing says how to parse"),
        ({"format": "json", "pattern": PATTERN}, "format json takes no pattern"),
        ({"format": "logfmt", "preset": "dpkg"}, "format logfmt takes no preset"),
        ({"pattern": PATTERN, "preset": "dpkg"}, "there is a pattern and a preset"),
        ({"pattern": "(a)(b)"}, "has no named group"),
        ({"pattern": "(?P<a>x"}, "missing )"),
        ({"pattern": "(?P<a>x+)+"}, "repeats a repetition"),
        ({"preset": "nginx"}, "unknown preset 'nginx'; there are: nginx_combined"),
        ({"preset": "nginx_combine"}, "did you mean 'nginx_combined'?"),
        ({"pattern": PATTERN, "types": {"codes": "int"}}, "types names 'codes', which is no group of the pattern; did you mean 'code'?"),
        ({"format": "json", "types": {"a": "integer"}}, "Input should be 'int', 'float', 'bool' or 'str'"),
        ({"format": "json", "field": ""}, "a field name is empty"),
        ({"format": "xml"}, "Input should be 'regex', 'json' or 'logfmt'"),
        ({"format": "json", "on_error": "ignore"}, "Input should be 'keep', 'drop' or 'pass'"),
        ({"format": "json", "fields": "x"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_configuration_names_the_remedy(config: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ParseConfig(**config)
    assert problem in str(caught.value)
