"""The completion style against clients that confirm, fail, reject, stay silent and break in any order: whatever they do, every
message is delivered or put aside, the messages of a key arrive in order, and every duplicate has been announced."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from standpipe.core.errors import Disconnected, NotSent, Reject
from standpipe.delivery.receipt import Receipt, State
from tests.unit.delivery.confirming import Confirming, Fate, Pipelined
from tests.unit.delivery.scripted import check, drive

FAULTS: list[Fate] = ["lost", "silent", NotSent("not now"), TimeoutError("slow"), Disconnected("gone"), Disconnected("gone", arrived=False)]


class Story:
    """What the client does, drawn from `seed`: of the messages handed over first, `share` fare badly; rejected ones always are."""

    def __init__(self, seed: int, share: float, trouble: int, rejected: frozenset[int]) -> None:
        self.random = random.Random(seed)
        self.share, self.trouble, self.rejected = share, trouble, rejected

    def fate(self, message: dict[str, Any], number: int) -> Fate:
        """What becomes of a message."""
        if message["n"] in self.rejected:
            return Reject("never")
        if number < self.trouble and self.random.random() < self.share:
            return self.random.choice(FAULTS)
        return "ok"

    def delay(self, number: int) -> float:
        """After how many seconds."""
        return self.random.choice((0.0, 0.01, 0.5, 2.0))


@settings(max_examples=400)
@given(
    kind=st.sampled_from([Confirming, Pipelined]),
    ordering=st.sampled_from(["key", "fifo", "none"]),
    seed=st.integers(0, 2**32),
    share=st.sampled_from([0.05, 0.3, 0.9]),
    trouble=st.integers(0, 60),
    keys=st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=40),
    rejected=st.frozensets(st.integers(0, 39), max_size=3),
    batch=st.integers(1, 9),
    send_timeout=st.sampled_from([3.0, 30.0]),
    later=st.integers(0, 20),
)
def test_nothing_is_lost_reordered_or_silently_repeated(
    kind: type[Confirming],
    ordering: str,
    seed: int,
    share: float,
    trouble: int,
    keys: list[str | None],
    rejected: frozenset[int],
    batch: int,
    send_timeout: float,
    later: int,
) -> None:
    story = Story(seed, share, trouble, rejected)
    producer = kind(
        fate=story.fate, delay=story.delay, ordering=ordering, batch={"max_messages": batch}, send_timeout=send_timeout, reconnect_wait=1.0
    )
    receipts: list[Receipt] = []

    def feed(first: int, last: int) -> None:
        receipts.extend(producer.produce(False, {"n": n}, key=keys[n]) for n in range(first, last))

    split = max(1, len(keys) - later)
    feed(0, split)
    producer.clock.at(1.0, lambda: feed(split, len(keys)))
    drive(producer)

    now = check(producer.statistics())
    assert now.pending == 0
    found = [message["n"] for message in producer.arrived]
    expected = set(range(len(keys))) - rejected
    assert set(found) == expected
    assert now.delivered == len(expected)
    assert [receipt.state is State.DEAD_LETTERED for receipt in receipts] == [n in rejected for n in range(len(keys))]
    first = list(dict.fromkeys(found))
    if ordering == "fifo":
        assert first == sorted(first)
    if ordering == "key":
        for key in {"a", "b", "c"}:
            of_key = [n for n in first if keys[n] == key]
            assert of_key == sorted(of_key)
    assert sum(found.count(n) > 1 for n in expected) <= now.possible_duplicates
