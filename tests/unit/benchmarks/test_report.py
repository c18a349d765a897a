"""What is printed and written down."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.case import Case
from benchmarks.figures import Figure, Reach, Row, number
from benchmarks.report import markdown, table, write
from benchmarks.run import CaseReport

CASE = Case("example", "An example", "By hand.", ("ours",), lambda results: [], {"full": {"rounds": 3, "lines": 1_000_000}})
ROWS = [
    Row("ours | theirs", Figure.of([0.8, 0.6, 0.75], "x"), Reach("at least", 0.7)),
    Row("speed", Figure.of([2_500_000.0], "/s")),
    Row("wait", Figure.of([60.0, 50.0, 40.0], "us"), Reach("under", 50)),
]
DONE = CaseReport(CASE, CASE.sizes["full"], 12.3, ROWS)
FAILED = CaseReport(CASE, CASE.sizes["full"], 0.1, failure="example: ours ended with 1")


def test_the_median_decides_whether_a_figure_reaches() -> None:
    assert [row.reached for row in ROWS] == [True, None, False]


@pytest.mark.parametrize(
    ("kind", "reached"), [("at least", [False, True, True]), ("at most", [True, True, False]), ("under", [True, False, False])]
)
def test_a_bound_that_is_just_met_counts_unless_it_says_under(kind: str, reached: list[bool]) -> None:
    reach = Reach(kind, 50)  # type: ignore[arg-type]

    assert [reach.reached(value) for value in (49.9, 50, 50.1)] == reached


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.123"), (1.4142, "1.41"), (99.96, "100"), (1234.5, "1,234"), (2_345_678, "2.35 M"), (-7.25, "-7.25")]
)
def test_numbers_are_shown_with_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_figure_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        Figure.of([], "us")


def test_the_table_shows_figure_spread_reach_and_verdict() -> None:
    lines = [" ".join(line.split()) for line in table(DONE).split("\n")]

    assert lines[2] == "ours | theirs 0.75x 0.6 ... 0.8 at least 0.7x yes"
    assert lines[3] == "speed 2.50 M/s"
    assert lines[4] == "wait 50 us 40 ... 60 under 50 us NO"


def test_the_page_holds_every_row_and_every_failure() -> None:
    page = markdown([DONE, FAILED], machine.describe(), "2026-11-23")

    assert "| ours \\| theirs | 0.75x | 0.6 ... 0.8 | at least 0.7x | yes |" in page
    assert "lines 1,000,000" in page
    assert "example: ours ended with 1" in page
    assert "1 of 2 figures reach what is promised; not measured: example" in page


def test_both_files_are_written_and_the_numbers_can_be_read_back(tmp_path: Path) -> None:
    paths = write(tmp_path / "new" / "v1.2", [DONE], machine.describe(), "2026-11-23")

    assert [path.name for path in paths] == ["v1.2.md", "v1.2.json"]
    record = json.loads(paths[1].read_text("utf-8"))
    assert record["cases"][0]["rows"][0] == {
        "what": "ours | theirs",
        "unit": "x",
        "median": 0.75,
        "min": 0.6,
        "max": 0.8,
        "rounds": [0.8, 0.6, 0.75],
        "reach": {"at least": 0.7},
        "reached": True,
        "of": None,
    }


def test_the_machine_is_described_without_saying_whose_it_is() -> None:
    found = machine.describe()

    assert set(found) == {
        "cpu", "cores", "memory_gib", "system", "architecture", "kernel", "python", "packages", "rivals", "commit", "load_before",
    }  # fmt: skip
    assert str(Path.home()) not in json.dumps(found)
    assert str(Path(machine.__file__).parents[1]) not in json.dumps(found)
    assert found["packages"]["orjson"] != "not installed"


def test_the_rivals_are_named_with_the_versions_that_they_are_locked_to() -> None:
    found = machine.describe()["rivals"]

    assert {"aiokafka", "faststream", "psycopg", "sqlalchemy"} <= set(found)
    assert all(re.fullmatch(r"[0-9][0-9.]*", version) for version in found.values())
