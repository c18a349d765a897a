from __future__ import annotations

from typing import Any

import pytest

from standpipe.pipelines.conversions import CONVERSIONS, convert_field


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        ("int", "42", 42),
        ("int", "-7", -7),
        ("int", 42, 42),
        ("int", 42.0, 42),
        ("int", "18446744073709551615", 2**64 - 1),
        ("float", "0.25", 0.25),
        ("float", "1e3", 1000.0),
        ("float", 2, 2.0),
        ("bool", "TRUE", True),
        ("bool", "off", False),
        ("bool", 1, True),
        ("bool", False, False),
        ("str", 5, "5"),
        ("str", True, "true"),
        ("str", "x", "x"),
    ],
)
def test_value_is_converted(kind: str, value: Any, converted: Any) -> None:
    rows = [{"x": value}]
    assert convert_field(rows, "x", CONVERSIONS[kind]) == 0
    assert rows == [{"x": converted}]
    assert type(rows[0]["x"]) is type(converted)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", "-"),
        ("int", "1_000"),
        ("int", "1.5"),
        ("int", 1.5),
        ("int", float("inf")),
        ("int", True),
        ("int", [1]),
        ("int", "18446744073709551616"),
        ("int", "9" * 5000),
        ("float", "nan"),
        ("float", "inf"),
        ("float", "1e999"),
        ("float", "1_0"),
        ("float", {}),
        ("bool", "maybe"),
        ("bool", [1]),
        ("str", [1]),
    ],
)
def test_value_that_would_lose_something_is_kept_and_counted(kind: str, value: Any) -> None:
    rows = [{"x": value}, {"x": {"y": value}}]
    assert convert_field(rows[:1], "x", CONVERSIONS[kind]) == 1
    assert convert_field(rows[1:], "x.y", CONVERSIONS[kind]) == 1
    assert rows == [{"x": value}, {"x": {"y": value}}]


def test_missing_values_are_left_alone_and_not_counted() -> None:
    rows: list[dict[str, Any]] = [{}, {"x": None}, {"x": {"y": None}}, {"x": {"y": "5"}}]
    assert convert_field(rows[:2], "x", CONVERSIONS["int"]) == 0
    assert convert_field(rows, "x.y", CONVERSIONS["int"]) == 0
    assert rows == [{}, {"x": None}, {"x": {"y": None}}, {"x": {"y": 5}}]
