"""What a batch says about its messages."""

from __future__ import annotations

import pytest

from standpipe.delivery.batch import Batch
from tests.unit.producers.batches import batch_of, given


@pytest.mark.parametrize("first", [0, 255, 256, 1000, 2**32 - 300, 16**12 - 300])
def test_the_ids_of_a_batch_are_those_of_its_receipts(first: int) -> None:
    """The batch makes them together, the receipt one by one; they must agree wherever the number carries, and where it outgrows
    its twelve digits."""
    receipt = batch_of(given(*[{"n": number} for number in range(600)])).slices[0][0]
    receipt._first = first
    for start, stop in [(0, 600), (0, 1), (1, 3), (255, 258), (300, 600)]:
        assert Batch([(receipt, start, stop)], stop - start).ids() == receipt.message_ids[start:stop]
    assert receipt.message_ids[0].endswith(f"{first:012x}")
