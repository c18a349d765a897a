"""What a batch says about its messages."""

from __future__ import annotations

import pytest

from standpipe.delivery.batch import Batch
from tests.unit.producers.batches import Given, batch_of, given


@pytest.mark.parametrize("first", [0, 255, 256, 1000, 2**32 - 300, 16**12 - 300])
def test_the_ids_of_a_batch_are_those_of_its_receipts(first: int) -> None:
    """The batch makes them together, the receipt one by one; they must agree wherever the number carries, and where it outgrows
    its twelve digits."""
    receipt = batch_of(given(*[{"n": number} for number in range(600)])).slices[0][0]
    receipt._first = first
    for start, stop in [(0, 600), (0, 1), (1, 3), (255, 258), (300, 600)]:
        assert Batch([(receipt, start, stop)], stop - start).ids() == receipt.message_ids[start:stop]
    assert receipt.message_ids[0].endswith(f"{first:012x}")


ONE = given({"n": 1})
AS_ONE = [given({"n": number}) for number in range(300)]
"""Messages that came one by one, one directly after the other."""


@pytest.mark.parametrize(
    "calls",
    [
        AS_ONE,
        [ONE],
        [*AS_ONE, given({"n": 1}, {"n": 2})],
        [*AS_ONE, given(ids=["own"])],
        [ONE, given(headers={"a": "b"}), ONE],
        [ONE, given({"n": 1}, {"n": 2}, is_error=True, key="k"), given(key="l")],
        [given(is_error=True), given(is_error=True)],
    ],
    ids=["neighbours", "one", "then several", "then one with an id", "headers between", "mixed", "errors"],
)
def test_what_is_said_of_many_messages_is_what_is_said_of_each(calls: list[Given]) -> None:
    batch = batch_of(*calls)
    messages = list(batch)
    assert batch.ids() == [message.id for message in messages]
    assert batch.keys() == [message.key for message in messages]
    assert batch.is_errors() == [message.is_error for message in messages]
    assert batch.times() == [message.time for message in messages]
    assert batch.payloads() == [message.payload for message in messages]


def test_messages_with_a_gap_another_order_or_another_origin_keep_their_ids() -> None:
    slices = batch_of(*AS_ONE).slices
    foreign = batch_of(*AS_ONE).slices[1]
    foreign[0]._origin.prefix = "f" * 20
    for chosen in (slices[:1] + slices[2:4], [slices[0], slices[2], slices[1], slices[3]], [slices[0], foreign, slices[2]]):
        assert Batch(chosen, len(chosen)).ids() == [receipt.message_id for receipt, _, _ in chosen]
    receipts = batch_of(given(*[{"n": number} for number in range(9)])).slices[0][0]
    parts = [(receipts, 1, 2), (receipts, 2, 3), (receipts, 3, 4)]
    assert Batch(parts, 3).ids() == receipts.message_ids[1:4]
