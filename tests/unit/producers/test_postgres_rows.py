"""How messages become the texts that the server reads."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given as any_of
from hypothesis import strategies as st

from standpipe.core.errors import Reject
from standpipe.producers.database_columns import field_steps
from standpipe.producers.postgres_rows import Column, Rows, array_literal, rows_of, time_texts, value_at
from tests.unit.producers.batches import PREFIX, batch_of, given

TEXT = st.text(st.characters(exclude_characters="\x00", codec="utf-8"))


def metadata(name: Any, kind: str = "text", category: str = "S", *, required: bool = False) -> Column:
    return Column(name, kind, category, kind, required, name)


def field(path: str, kind: str = "text", category: str = "S", *, required: bool = False) -> Column:
    return Column(path, kind, category, kind, required, None, path, field_steps(path))


def read_array(literal: str) -> list[str | None]:
    """An array of PostgreSQL, read as its documentation says."""
    found: list[str | None] = []
    rest = literal[1:-1]
    while rest:
        if rest.startswith('"'):
            end, text = 1, ""
            while rest[end] != '"':
                end += rest[end] == "\\"
                text += rest[end]
                end += 1
            found.append(text)
            rest = rest[end + 2 :]
        else:
            word, _, rest = rest.partition(",")
            assert word == "NULL"
            found.append(None)
    return found


@any_of(st.lists(st.none() | TEXT | st.sampled_from(["NULL", '"', "\\", '","', "{}", ""]), min_size=1, max_size=20))
def test_an_array_literal_is_read_as_what_was_written(texts: list[str | None]) -> None:
    assert read_array(array_literal(texts)) == texts


def read_copy(data: str) -> list[list[str | None]]:
    """The text format of COPY, read as its documentation says."""
    back = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}

    def value(text: str) -> str | None:
        if text == "\\N":
            return None
        pieces, characters = [], iter(text)
        for character in characters:
            pieces.append(back[next(characters)] if character == "\\" else character)
        return "".join(pieces)

    return [[value(text) for text in line.split("\t")] for line in data.split("\n")[:-1]]


@any_of(st.lists(st.tuples(st.none() | TEXT, TEXT | st.sampled_from(["\\N", "\\.", "\r\n"])), min_size=1, max_size=10))
def test_the_data_of_copy_is_read_as_what_was_written(lines: list[tuple[str | None, str]]) -> None:
    columns = [field("a"), field("b")]
    rows = Rows(columns, [list(texts) for texts in zip(*lines, strict=True)], range(len(lines)))
    assert read_copy(rows.copy_data()) == [list(line) for line in lines]


def test_what_belongs_to_a_message_becomes_columns() -> None:
    names: list[Any] = ["id", "time", "is_error", "key", "headers", "payload"]
    batch = batch_of(given({"a": 1}, {"a": 2}, key="k"), given({}, is_error=True, headers={"h": "é"}, ids=["mine"]))
    faults: dict[int, Reject] = {}
    types = {"time": ("timestamptz", "D"), "headers": ("jsonb", "U"), "payload": ("jsonb", "U")}
    columns = [metadata(name, *types.get(name, ())) for name in names]
    rows = rows_of(batch, columns, range(3), faults)
    assert not faults
    by_name = dict(zip(names, rows.texts, strict=True))
    assert by_name["id"][0] is not None
    assert by_name["id"][0].startswith(PREFIX)
    assert by_name["id"][2] == "mine"
    assert by_name["time"] == ["2027-01-15 08:00:00.250000+00"] * 3
    assert by_name["is_error"] == ["false", "false", "true"]
    assert by_name["key"] == ["k", "k", None]
    assert by_name["headers"] == [None, None, '{"h":"é"}']
    assert by_name["payload"] == ['{"a":1}', '{"a":2}', "{}"]
    assert rows.part(1, 3).parameters()[-1] == '{"a":2}\n{}'


def test_times_and_flags_suit_columns_of_numbers() -> None:
    columns = [metadata("time", "float8", "N"), metadata("time", "int8", "N"), metadata("is_error", "int2", "N")]
    rows = rows_of(batch_of(given({}, is_error=True)), columns, range(1), {})
    assert rows.texts == [["1800000000.25"], ["1800000000"], ["1"]]


@any_of(st.lists(st.floats(0, 4e9) | st.sampled_from([59.999999, 1.8e9 - 1e-7, 1.8e9 - 4e-7, 1.8e9 - 9e-7]), min_size=1, max_size=5))
def test_times_are_exact_to_the_microsecond(times: list[float]) -> None:
    for time, text in zip(times, time_texts(times), strict=True):
        assert text is not None
        assert abs(datetime.fromisoformat(text).timestamp() - time) < 2e-6


@pytest.mark.parametrize(
    ("kind", "category", "good"),
    [
        ("text", "S", [("é", "é"), (1, "1"), (True, "true"), (1.5, "1.5"), ({"a": None}, '{"a":null}'), (None, None)]),
        ("int4", "N", [(1, "1"), (-(2**31), str(-(2**31))), ("12", "12"), (3.0, "3"), (None, None)]),
        ("numeric", "N", [(1.25, "1.25"), ("1e500", "1e500"), (2**63, str(2**63))]),
        ("bool", "B", [(True, "true"), (0, "false"), ("yes", "yes")]),
        ("timestamptz", "D", [("now", "now"), (0, "1970-01-01 00:00:00+00:00"), (1.5, "1970-01-01 00:00:01.500000+00:00")]),
        ("jsonb", "U", [("a", '"a"'), ([1], "[1]"), ("\\u0000", '"\\\\u0000"')]),
        ("_text", "A", [([1, None, 'a"'], '{"1",NULL,"a\\""}'), ([[1], [2]], '{{"1"},{"2"}}'), ("{a}", "{a}"), ([], "{}")]),
        ("uuid", "U", [("x", "x")]),
    ],
)
def test_values_are_written_as_the_column_reads_them(kind: str, category: str, good: list[tuple[Any, str | None]]) -> None:
    batch = batch_of(given(*({"v": value} for value, _ in good)))
    faults: dict[int, Reject] = {}
    assert rows_of(batch, [field("v", kind, category)], range(len(good)), faults).texts == [[text for _, text in good]]
    assert not faults


@pytest.mark.parametrize(
    ("kind", "category", "value", "why"),
    [
        ("text", "S", "nul\x00", "PostgreSQL cannot store the character U+0000"),
        ("int2", "N", 32768, "is 32768, which is out of the range of int2"),
        ("int8", "N", "x" * 100, "which is no whole number"),
        ("int8", "N", 1.5, "is 1.5, which is no whole number"),
        ("int8", "N", True, "is True, which is no whole number"),
        ("numeric", "N", [1], "is [1], which is no number"),
        ("bool", "B", 2, "is 2, which is neither true nor false"),
        ("timestamptz", "D", True, "which is no time"),
        ("timestamptz", "D", 1e300, "that many seconds since 1970 are no time"),
        ("jsonb", "U", {"a": "\x00"}, "which jsonb cannot store"),
        ("_text", "A", 5, "is 5, which is no list"),
    ],
)
def test_values_that_do_not_fit_are_rejected_with_column_field_and_reason(kind: str, category: str, value: Any, why: str) -> None:
    batch = batch_of(given({"v": 1}, {"v": value}))
    faults: dict[int, Reject] = {}
    rows_of(batch, [field("v", kind, category)], [5, 9], faults)
    assert why in str(faults[9])
    assert str(faults[9]).startswith("column 'v': the field 'v' is ") or "holds" in str(faults[9])
    assert len(str(faults[9])) < 250


def test_a_message_at_fault_leaves_every_column_and_the_others_keep_their_places() -> None:
    batch = batch_of(given({"n": 1}, {"n": "x"}, {"n": 3}, {}))
    faults: dict[int, Reject] = {}
    rows = rows_of(batch, [metadata("payload", "json", "U"), field("n", "int8", "N", required=True)], [10, 11, 12, 13], faults)
    assert (rows.texts, rows.positions) == ([['{"n":1}', '{"n":3}'], ["1", "3"]], [10, 12])
    assert set(faults) == {11, 13}
    assert "is missing, and the column must have a value" in str(faults[13])


def test_ids_keys_and_payloads_that_the_database_cannot_store_are_found() -> None:
    batch = batch_of(given({"a": "\x00"}), given({"a": "\\u0000"}), given(key="k\x00"), given(ids=["i\x00"]), given())
    faults: dict[int, Reject] = {}
    rows = rows_of(batch, [metadata("id"), metadata("key"), metadata("payload", "jsonb", "U")], range(5), faults)
    assert set(faults) == {0, 2, 3}
    assert list(rows.positions) == [1, 4]
    assert orjson.loads(rows.texts[2][0] or "") == {"a": "\\u0000"}
    faults.clear()
    rows_of(batch, [metadata("payload", "json", "U")], range(5), faults)
    assert not faults, "json keeps the text as it is"


def test_a_column_that_needs_a_key_rejects_a_message_without_one() -> None:
    faults: dict[int, Reject] = {}
    rows_of(batch_of(given(key="k"), given()), [metadata("key", required=True)], range(2), faults)
    assert "the message has no key" in str(faults[1])


def test_paths_lead_through_mappings_and_lists_or_nowhere() -> None:
    content = {"a": {"b": [{"c": 1}]}}
    assert value_at(content, field_steps("a.b[0].c")) == 1
    for nowhere in ("a.b[1].c", "a[0]", "a.b.c", "x.y"):
        assert value_at(content, field_steps(nowhere)) is None
