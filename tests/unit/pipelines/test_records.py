from __future__ import annotations

import pytest

from standpipe.pipelines.records import NO_SOURCE, Records


def test_lines_become_records_only_when_asked_for() -> None:
    records = Records(lines=["a", "b"])
    assert len(records) == 2
    assert records.records is None
    rows = records.as_records()
    assert rows == [{"message": "a"}, {"message": "b"}]
    assert records.lines is None
    assert records.as_records() is rows


def test_extras_are_merged_once_and_win_over_the_content() -> None:
    records = Records(records=[{"truncated": False}, {}], extras={0: {"truncated": True}})
    assert records.as_records() == [{"truncated": True}, {}]
    assert records.extras is None
    assert Records(lines=["a", "b"], extras={1: {"n": 1}}).as_records() == [{"message": "a"}, {"message": "b", "n": 1}]


def test_a_chunk_has_exactly_one_form() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Records()
    with pytest.raises(ValueError, match="exactly one"):
        Records(lines=[], records=[])


def test_each_record_has_one_flag() -> None:
    with pytest.raises(ValueError, match="errors has 1 flags for 2 records"):
        Records(lines=["a", "b"], errors=[True])
    assert Records(lines=["a", "b"]).error_flags() == [False, False]
    assert Records(lines=["a", "b"], errors=[True, False]).error_count() == 1


def test_selecting_keeps_flags_and_extras_with_their_records() -> None:
    records = Records(lines=["a", "b", "c", "d"], errors=[False, True, False, True], extras={1: {"x": 1}, 3: {"x": 3}}, source={"p": "q"})
    selected = records.select([True, False, True, True])
    assert selected.lines == ["a", "c", "d"]
    assert selected.errors == [False, False, True]
    assert selected.extras == {2: {"x": 3}}
    assert selected.source == {"p": "q"}
    assert selected.as_records() == [{"message": "a"}, {"message": "c"}, {"message": "d", "x": 3}]


def test_selecting_from_parsed_records_shares_them() -> None:
    rows = [{"a": 1}, {"a": 2}]
    selected = Records(records=rows, extras={0: {"x": 1}}).select([False, True])
    assert selected.records is not None
    assert selected.records[0] is rows[1]
    assert selected.errors is None
    assert selected.extras is None


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="the mask has 1 places for 2 records"):
        Records(lines=["a", "b"]).select([True])


def test_an_empty_chunk_is_a_chunk() -> None:
    records = Records(lines=[])
    assert len(records) == 0
    assert records.as_records() == []
    assert len(Records(records=[])) == 0
    assert records.source is NO_SOURCE
    assert repr(Records(lines=["a"], errors=[True])) == "<Records 1 lines, 1 errors, source={}>"
