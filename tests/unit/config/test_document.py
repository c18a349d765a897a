from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from standpipe.config import ConfigProblems, Position, Problem, format_path, load_document, load_document_text


def data_of(text: str) -> dict[str, Any]:
    return load_document_text(text).data


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-5", -5),
        ("+5", 5),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-.inf", -math.inf),
        ("1.2.3", "1.2.3"),
        ("0b1", "0b1"),
        ("=", "="),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("! 5", "5"),
        ("!!float 5", 5.0),
        ("!!int '5'", 5),
        ("!!null ''", None),
        ("!!seq [1]", [1]),
        ("!!map {a: 1}", {"a": 1}),
        ("|\n  a\n  b", "a\nb\n"),
    ],
)
def test_words_mean_what_the_core_schema_of_yaml_1_2_says(written: str, meant: object) -> None:
    value = data_of(f"a: {written}\n")["a"]
    assert value == meant
    assert type(value) is type(meant)


def test_not_a_number_is_a_number_of_its_own_kind() -> None:
    assert math.isnan(data_of("a: .nan\n")["a"])


def test_every_key_and_value_knows_where_it_stands() -> None:
    document = load_document_text("a: 1\nb:\n  - c: x\n    d: [1, 2]\n", "f.yaml")
    assert document.keys[("a",)] == Position("f.yaml", 1, 1)
    assert document.values[("a",)] == Position("f.yaml", 1, 4)
    assert document.values[("b", 0)] == Position("f.yaml", 3, 5)
    assert document.keys[("b", 0, "d")] == Position("f.yaml", 4, 5)
    assert document.values[("b", 0, "d", 1)] == Position("f.yaml", 4, 12)


def test_a_path_that_is_not_there_stands_where_the_nearest_one_around_it_does() -> None:
    document = load_document_text("a:\n  b: 1\n", "f.yaml")
    assert document.key_position(("a", "x", "y")) == Position("f.yaml", 2, 3)
    assert document.value_position(("z",)) == Position("f.yaml", 1, 1)


def test_columns_count_characters_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes("\ufeffé: ü\n".encode())
    assert load_document(file).values[("é",)] == Position(str(file), 1, 4)


def test_aliases_are_copies_and_merges_give_way_to_what_is_written() -> None:
    document = load_document_text("x: &x {a: 1, b: [2]}\ny: {<<: *x, a: 5}\nz: *x\nw: {<<: [{a: 7}, *x]}\n")
    assert document.data["y"] == {"a": 5, "b": [2]}
    assert document.data["w"] == {"a": 7, "b": [2]}
    assert document.data["z"] == document.data["x"]
    assert document.data["z"] is not document.data["x"]


def test_what_an_alias_holds_stands_where_it_was_written() -> None:
    document = load_document_text("x: &x {a: 1}\nz: *x\n", "f.yaml")
    assert document.values[("z",)] == Position("f.yaml", 2, 4)
    assert document.values[("z", "a")] == Position("f.yaml", 1, 11)


def test_problems_that_leave_the_rest_readable_are_collected_when_a_list_is_given() -> None:
    problems: list[Problem] = []
    document = load_document_text("a: 1\na: 2\nb: !x 3\n", "f.yaml", problems)
    assert document.data == {"a": 1, "b": None}
    assert document.is_broken(("b", "deeper"))
    assert not document.is_broken(("a",))
    assert [problem.line for problem in problems] == [2, 3]


def test_a_fatal_problem_is_raised_together_with_those_before_it() -> None:
    with pytest.raises(ConfigProblems) as caught:
        load_document_text("a: 1\na: 2\nb: [\n", "f.yaml", [])
    assert [problem.line for problem in caught.value.problems] == [2, 4]


def test_a_missing_file_a_folder_and_a_file_in_another_encoding_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latin.yaml").write_bytes("a: 1\nb: \xe9\n".encode("latin-1"))
    Path("large.yaml").write_bytes(b"# " + b"x" * (1 << 20))
    assert [_fault(name) for name in ("no.yaml", str(tmp_path), "latin.yaml", "large.yaml", "no.yaml/x", "a\0b")] == [
        f"no.yaml: no such file; check the path; it is taken relative to {tmp_path}",
        f"{tmp_path}: is a directory; name a file in it",
        "latin.yaml: not UTF-8: byte 0xe9 in line 2; save the file as UTF-8",
        "large.yaml: larger than 1024 KiB; check that it is the right file",
        f"no.yaml/x: no such file; check the path; it is taken relative to {tmp_path}",
        "a\0b: cannot be read (embedded null byte)",
    ]


def test_a_missing_file_with_a_full_path_needs_no_folder(tmp_path: Path) -> None:
    assert _fault(str(tmp_path / "no.yaml")) == f"{tmp_path}/no.yaml: no such file; check the path"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("a: 1\n")
    file.chmod(0)
    assert _fault(str(file)) == f"{file}: permission denied; let the user that runs standpipe read it"


def _fault(name: str) -> str:
    with pytest.raises(ConfigProblems) as caught:
        load_document(name)
    return str(caught.value)


def test_paths_are_written_as_people_write_them() -> None:
    assert format_path(("producers", 1, "max-retries", "x y", "1", "über")) == 'producers[1].max-retries."x y"."1"."über"'
    assert format_path(()) == ""


def test_a_problem_is_one_line_whatever_the_key_is() -> None:
    problem = Problem("f.yaml", 3, 5, ("a\nb" + "x" * 100,), "unknown field", None)
    assert str(problem) == f'f.yaml:3:5: "a\\nb{"x" * 57}...": unknown field'


def test_problems_are_sorted_by_place_and_told_once() -> None:
    late, early = Problem("f.yaml", 10, 1, (), "late"), Problem("f.yaml", 9, 2, (), "early")
    error = ConfigProblems([late, early, late])
    assert error.problems == (early, late)
    assert str(error) == "f.yaml:9:2: early\nf.yaml:10:1: late"
