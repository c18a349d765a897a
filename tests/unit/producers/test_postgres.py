"""How a batch is cut into what is sent at once."""

from __future__ import annotations

from typing import Any

from hypothesis import given as any_of
from hypothesis import strategies as st

from standpipe.producers.postgres import Write
from tests.unit.producers.batches import batch_of, given

TARGET: Any = None
"""Where it goes does not matter here."""


@any_of(st.lists(st.integers(1, 7), min_size=1, max_size=40), st.integers(1, 20), st.integers(0, 1000))
def test_the_parts_of_a_batch_are_the_batch(calls: list[int], size: int, first: int) -> None:
    batch = batch_of(*(given(*({"n": number} for number in range(count))) for count in calls))
    positions = range(first, first + batch.count)
    parts = list(Write(TARGET, batch, positions).parts(size))
    assert [part for write in parts for part in write.batch.slices] == batch.slices
    assert [position for write in parts for position in write.positions] == list(positions)
    for write in parts:
        assert len(write.batch.ids()) == len(write.positions) == write.batch.count


def test_messages_that_came_together_are_sent_in_parts_too_but_no_call_is_taken_apart() -> None:
    batch = batch_of(*(given(*({"n": number} for number in range(100))) for _ in range(10)), given(*({} for _ in range(1000))))
    assert [write.batch.count for write in Write(TARGET, batch, range(2000)).parts(250)] == [100] * 10 + [1000]
