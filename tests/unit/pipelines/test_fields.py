from __future__ import annotations

from typing import Any

import pytest

from standpipe.pipelines.fields import MISSING, check_field_name, find, put, take


def test_a_dotted_name_reaches_into_mappings() -> None:
    record = {"a": {"b": {"c": 1}}, "n": None}
    assert find(record, "a.b.c") == 1
    assert find(record, "a.b.x") is MISSING
    assert find(record, "a.b.c.d") is MISSING
    assert find(record, "n") is None
    assert find(record, "n.x") is MISSING


def test_a_field_whose_own_name_is_dotted_comes_first() -> None:
    record: dict[str, Any] = {"a.b": 1, "a": {"b": 2}}
    assert find(record, "a.b") == 1
    put(record, "a.b", 3)
    assert record == {"a.b": 3, "a": {"b": 2}}
    assert take(record, "a.b") == 3
    assert take(record, "a.b") == 2
    assert record == {"a": {}}


def test_setting_makes_the_mappings_on_the_way() -> None:
    record: dict[str, Any] = {"n": None}
    put(record, "a.b.c", 1)
    put(record, "a.b.d", 2)
    put(record, "n.x", 3)
    assert record == {"a": {"b": {"c": 1, "d": 2}}, "n": {"x": 3}}


def test_nothing_is_written_over_what_is_no_mapping() -> None:
    record: dict[str, Any] = {"a": 5}
    with pytest.raises(TypeError, match=r"cannot set 'a\.b': field 'a' is not a mapping"):
        put(record, "a.b", 1)
    assert record == {"a": 5}


def test_a_mapping_shared_by_two_fields_is_not_changed_through_one_of_them() -> None:
    shared = {"x": {"y": 1}}
    record: dict[str, Any] = {"a": shared, "b": shared}
    put(record, "a.x.y", 2)
    assert take(record, "b.x.y") == 1
    assert record == {"a": {"x": {"y": 2}}, "b": {"x": {}}}
    assert shared == {"x": {"y": 1}}


def test_taking_what_is_not_there_changes_nothing() -> None:
    record: dict[str, Any] = {"a": {"b": 1}, "c": 2}
    for name in ("x", "a.x", "c.x", "a.b.x"):
        assert take(record, name) is MISSING
    assert record == {"a": {"b": 1}, "c": 2}


@pytest.mark.parametrize("name", ["", ".", "a..b", ".a", "a."])
def test_a_name_with_an_empty_part_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        check_field_name(name)
    assert check_field_name("a.b") == "a.b"
