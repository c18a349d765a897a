from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from standpipe.pipelines.records import Records
from standpipe.pipelines.steps import STEP_TYPES, StepConfig, StepStatistics, compile_steps

STEPS = TypeAdapter(list[StepConfig])


def run(records: Records, *steps: dict[str, Any]) -> tuple[Records, list[StepStatistics]]:
    compiled = compile_steps(STEPS.validate_python(list(steps)))
    for step in compiled:
        records = step.apply(records)
    statistics = [step.statistics() for step in compiled]
    for each in statistics:
        assert each.records_in == each.records_out + each.filtered + each.dropped
    return records, statistics


def rows_after(rows: list[dict[str, Any]], *steps: dict[str, Any]) -> list[dict[str, Any]]:
    return run(Records(records=rows), *steps)[0].as_records()


def test_filter_keeps_what_fulfils_the_condition_and_counts_the_rest() -> None:
    records = Records(records=[{"s": 500}, {"s": 200}, {}, {"s": 503}], errors=[False, False, False, True])
    kept, (statistics,) = run(records, {"filter": "s >= 500"})
    assert kept.as_records() == [{"s": 500}, {"s": 503}]
    assert kept.errors == [False, True]
    assert statistics == StepStatistics(type="filter", records_in=4, records_out=2, filtered=2)


def test_filter_sees_flag_and_source() -> None:
    records = Records(lines=["a", "b"], errors=[True, False], source={"agent": "tail"})
    assert run(records, {"filter": "is_error and source.agent == 'tail'"})[0].as_records() == [{"message": "a"}]


def test_filter_without_a_result_filters_and_counts_an_error() -> None:
    kept, (statistics,) = run(Records(records=[{"s": "x"}, {"s": "7"}]), {"filter": "int(s) > 5"})
    assert kept.as_records() == [{"s": "7"}]
    assert (statistics.filtered, statistics.errors) == (1, 1)


def test_filter_that_keeps_everything_copies_nothing() -> None:
    records = Records(records=[{"s": 1}])
    assert run(records, {"filter": "s"})[0] is records


def test_set_evaluates_texts_and_takes_the_rest_as_it_is() -> None:
    steps = {
        "set": {"double": "n * 2", "kind": "'fixed'", "level": 3, "on": True, "none": "None", "list": [1, 2], "more": "double + level"}
    }
    assert rows_after([{"n": 2}, {}], steps) == [
        {"n": 2, "double": 4, "kind": "fixed", "level": 3, "on": True, "none": None, "list": [1, 2], "more": 7},
        {"double": None, "kind": "fixed", "level": 3, "on": True, "none": None, "list": [1, 2], "more": None},
    ]


def test_a_constant_mapping_is_not_shared_by_the_records() -> None:
    first, second = rows_after([{}, {}], {"set": {"m": {"deep": [1]}}})
    assert first == second == {"m": {"deep": [1]}}
    assert first["m"] is not second["m"]
    assert first["m"]["deep"] is not second["m"]["deep"]


def test_set_reaches_into_mappings_and_counts_where_it_cannot() -> None:
    records, (statistics,) = run(Records(records=[{}, {"a": {"x": 1}}, {"a": 5}]), {"set": {"a.b": "1 + 1"}})
    assert records.as_records() == [{"a": {"b": 2}}, {"a": {"x": 1, "b": 2}}, {"a": 5}]
    assert statistics.errors == 1


def test_set_counts_expressions_without_a_result() -> None:
    records, (statistics,) = run(Records(records=[{"n": 0}, {"n": 4}]), {"set": {"q": "8 / n"}})
    assert [row["q"] for row in records.as_records()] == [None, 2.0]
    assert statistics.errors == 1


def test_set_is_error_sets_the_flag_and_no_field() -> None:
    records, _ = run(Records(records=[{"s": 500}, {"s": 200}, {}]), {"set": {"is_error": "s >= 500"}})
    assert records.errors == [True, False, False]
    assert "is_error" not in records.as_records()[0]
    assert run(records, {"set": {"is_error": False}})[0].errors == [False, False, False]


def test_set_is_error_can_keep_what_was_an_error_before() -> None:
    steps = [{"parse": {"format": "json"}}, {"set": {"is_error": "is_error or s >= 500"}}]
    records, _ = run(Records(lines=['{"s": 1}', "garbage", '{"s": 500}']), *steps)
    assert records.errors == [False, True, True]


def test_setting_a_field_to_the_record_does_not_make_it_endless() -> None:
    assert rows_after([{"a": 1}], {"set": {"copy": "record"}}) == [{"a": 1, "copy": {"a": 1}}]


def test_a_copied_mapping_is_not_changed_through_the_copy() -> None:
    assert rows_after([{"a": {"x": 1}}], {"set": {"b": "a", "b.x": 2}}) == [{"a": {"x": 1}, "b": {"x": 2}}]


def test_rename_passes_over_what_is_missing() -> None:
    assert rows_after([{"a": 1, "z": 0}, {}], {"rename": {"a": "b", "b": "c"}}) == [{"z": 0, "c": 1}, {}]


def test_rename_moves_into_and_out_of_mappings() -> None:
    assert rows_after([{"a": 1, "k": {"x": 2, "y": 3}}], {"rename": {"a": "m.a", "k.x": "x"}}) == [{"k": {"y": 3}, "m": {"a": 1}, "x": 2}]
    assert rows_after([{"a": 1}], {"rename": {"a": "a.b"}}) == [{"a": {"b": 1}}]


def test_rename_that_cannot_be_done_keeps_the_field_and_counts() -> None:
    records, (statistics,) = run(Records(records=[{"a": 1, "m": 5}]), {"rename": {"a": "m.a"}})
    assert records.as_records() == [{"a": 1, "m": 5}]
    assert statistics.errors == 1


def test_drop_fields_removes_plain_and_nested_fields() -> None:
    rows: list[dict[str, Any]] = [{"a": 1, "b": 2, "k": {"x": 1, "y": 2}}, {"k": 3}, {}]
    assert rows_after(rows, {"drop_fields": ["a", "k.x", "gone"]}) == [{"b": 2, "k": {"y": 2}}, {"k": 3}, {}]


def test_keep_fields_removes_all_others() -> None:
    assert rows_after([{"a": 1, "b": 2}, {"b": 3}], {"keep_fields": ["a", "x"]}) == [{"a": 1}, {}]
    rows = [{"a": 1, "k": {"x": 1, "y": 2}, "d.d": 4}]
    assert rows_after(rows, {"keep_fields": ["k.x", "d.d", "k.gone"]}) == [{"k": {"x": 1}, "d.d": 4}]


def test_keep_fields_keeps_a_line_that_did_not_parse() -> None:
    records, _ = run(Records(lines=["garbage", '{"a": 1, "b": 2}']), {"parse": {"format": "json"}}, {"keep_fields": ["a"]})
    rows = records.as_records()
    assert rows[0]["message"] == "garbage"
    assert rows[1] == {"a": 1}


def test_the_counts_of_a_whole_pipeline_add_up() -> None:
    lines = [f"GET /{n} {200 if n % 5 else 500}" for n in range(20)] + ["garbage"] * 3
    steps: list[dict[str, Any]] = [
        {"parse": {"pattern": r"(?P<method>\w+) (?P<path>\S+) (?P<code>\d+)$", "types": {"code": "int"}}},
        {"filter": "is_error or code >= 500"},
        {"set": {"severity": "'high' if code >= 500 else 'unknown'"}},
        {"rename": {"path": "url"}},
        {"drop_fields": ["method"]},
    ]
    records, statistics = run(Records(lines=lines), *steps)
    assert [(each.records_in, each.records_out) for each in statistics] == [(23, 23), (23, 7), (7, 7), (7, 7), (7, 7)]
    assert records.as_records()[0] == {"url": "/0", "code": 500, "severity": "high"}
    assert records.error_count() == 3


def test_an_empty_chunk_passes_every_step() -> None:
    steps: list[dict[str, Any]] = [{"parse": {"format": "json"}}, {"filter": "a"}, {"set": {"a": "1"}}, {"rename": {"a": "b"}}]
    records, _ = run(Records(lines=[]), *steps, {"drop_fields": ["a"]}, {"keep_fields": ["b"]})
    assert len(records) == 0


def test_every_compiled_step_counts_for_itself() -> None:
    configs = STEPS.validate_python([{"filter": "a"}])
    one, two = compile_steps(configs), compile_steps(configs)
    one[0].apply(Records(records=[{"a": 1}]))
    assert two[0].statistics().records_in == 0


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ({"filtr": "a"}, "unknown step 'filtr'; did you mean 'filter'? there are: parse, set, rename, drop_fields, keep_fields, filter"),
        ({5: "a"}, "unknown step '5'; there are: parse"),
        ({}, "a step is empty; there are: parse"),
        ({"filter": "a", "set": {"b": 1}}, "a step has one key, this one has 2 (filter, set); write each as its own item of the list"),
        ({"filter": None}, "step 'filter' has no value; it lets through only the records"),
        ("filter", "a step is one key and its value, such as filter: status >= 500, not a str"),
        ({"filter": "status >"}, "expression 'status >', column"),
        ({"filter": "lenght(a)"}, "did you mean 'len'?"),
        ({"filter": True}, "Input should be a valid string"),
        ({"set": {"a": "b +"}}, "expression 'b +', column"),
        ({"set": {}}, "at least 1 item"),
        ({"set": {"": 1}}, "a field name is empty"),
        ({"set": {"record": 1}}, "field 'record' cannot be set, in expressions it stands for the whole record"),
        ({"set": {"source": 1}}, "field 'source' cannot be set, in expressions it stands for where the record came from"),
        ({"set": {"is_error": 5}}, "is_error cannot be 5; write true, false or an expression"),
        ({"set": {"a": {1, 2}}}, "the value cannot be sent as JSON: Type is not JSON serializable: set"),
        ({"set": {"a": float("inf")}}, "the number is too large, infinite or NaN"),
        ({"rename": {"a": "a"}}, "field 'a' is renamed to itself"),
        ({"rename": {"a": "b..c"}}, "has an empty part"),
        ({"drop_fields": []}, "at least 1 item"),
        ({"drop_fields": "a"}, "Input should be a valid list"),
        ({"keep_fields": ["a."]}, "has an empty part"),
        ({"parse": {"format": "yaml"}}, "Input should be 'regex', 'json' or 'logfmt'"),
    ],
)
def test_a_wrong_step_names_the_remedy(step: Any, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        STEPS.validate_python([step])
    assert problem in str(caught.value)
    assert caught.value.errors()[0]["loc"][0] == 0


def test_every_step_is_described_and_has_a_schema_without_null() -> None:
    schema = StepConfig.model_json_schema()
    assert list(schema["properties"]) == list(STEP_TYPES)
    assert (schema["minProperties"], schema["maxProperties"], schema["additionalProperties"]) == (1, 1, False)
    for name, field in schema["properties"].items():
        assert field["description"]
        assert "null" not in str(field.get("anyOf", "")), name
