"""Intervals against sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from standpipe.spool.intervals import Intervals

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=30)


def made(pairs: list[tuple[int, int]]) -> tuple[Intervals, set[int]]:
    intervals, numbers = Intervals(), set()
    for start, stop in pairs:
        intervals.add(start, stop)
        numbers |= set(range(start, stop))
    return intervals, numbers


@given(PAIRS, st.integers(0, 60), st.integers(0, 60))
def test_intervals_say_what_a_set_says(pairs: list[tuple[int, int]], start: int, stop: int) -> None:
    intervals, numbers = made(pairs)
    asked = set(range(start, stop))
    assert intervals.covers(start, stop) == (asked <= numbers)
    assert intervals.count(start, stop) == len(asked & numbers)
    assert {n for first, last in intervals.gaps(start, stop) for n in range(first, last)} == asked - numbers


@given(PAIRS)
def test_intervals_are_in_order_and_apart(pairs: list[tuple[int, int]]) -> None:
    intervals, numbers = made(pairs)
    found = list(intervals)
    assert {n for first, last in found for n in range(first, last)} == numbers
    assert all(first < last for first, last in found)
    assert all(last < first for (_, last), (first, _) in pairwise(found))


@given(PAIRS, st.integers(0, 60))
def test_forgetting_changes_nothing_above(pairs: list[tuple[int, int]], below: int) -> None:
    intervals, numbers = made(pairs)
    intervals.forget_below(below)
    for number in range(below, 61):
        assert intervals.covers(number, number + 1) == (number in numbers)
