from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standpipe.pipelines import acknowledge
from standpipe.pipelines.acknowledge import AckStatistics, AckTracker


def test_tokens_are_released_in_order_from_the_front() -> None:
    tracker = AckTracker[str]()
    a, b, c = (tracker.begin(token) for token in "abc")
    assert tracker.settle(c) == []
    assert tracker.settle(b) == []
    assert tracker.outstanding == 3
    assert tracker.settle(a) == ["a", "b", "c"]
    assert tracker.outstanding == 0


def test_a_ticket_waits_for_all_of_its_parts() -> None:
    tracker = AckTracker[str]()
    a, b = tracker.begin("a", parts=2), tracker.begin("b")
    assert tracker.settle(a) == []
    assert tracker.settle(b) == []
    assert tracker.settle(a) == ["a", "b"]


def test_a_part_settled_twice_is_refused_and_changes_nothing() -> None:
    tracker = AckTracker[str]()
    a, b = tracker.begin("a", parts=2), tracker.begin("b")
    tracker.settle(b)
    with pytest.raises(ValueError, match="ticket 1 is settled already"):
        tracker.settle(b)
    tracker.settle(a)
    assert tracker.settle(a) == ["a", "b"]
    with pytest.raises(ValueError, match="ticket 0 is settled already"):
        tracker.settle(a)
    for ticket in (2, -1):
        with pytest.raises(ValueError, match=f"ticket {ticket} was never given out"):
            tracker.settle(ticket)
    assert tracker.begin("c") == 2


def test_a_ticket_without_parts_is_refused() -> None:
    tracker = AckTracker[str]()
    with pytest.raises(ValueError, match="at least 1 part, not 0"):
        tracker.begin("a", parts=0)
    assert tracker.outstanding == 0


def test_statistics_tell_what_is_held_back() -> None:
    tracker = AckTracker[int]()
    tickets = [tracker.begin(token) for token in range(4)]
    tracker.settle(tickets[0])
    tracker.settle(tickets[2])
    assert tracker.statistics() == AckStatistics(begun=4, released=1, outstanding=3, outstanding_high=4, waiting=1)


def test_the_example_in_the_documentation_is_true() -> None:
    failed, tried = doctest.testmod(acknowledge)
    assert tried > 1
    assert failed == 0


class Model:
    """The same by the definition: everything is remembered, and looked through each time."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.released = 0

    def settle(self, ticket: int) -> list[str]:
        self.left[ticket] -= 1
        before = self.released
        while self.released < len(self.left) and self.left[self.released] == 0:
            self.released += 1
        return [f"token {number}" for number in range(before, self.released)]


@given(st.data())
def test_tracker_agrees_with_the_simple_model(data: st.DataObject) -> None:
    tracker, model = AckTracker[str](), Model()
    released: list[str] = []
    for _ in range(data.draw(st.integers(0, 40))):
        unsettled = [ticket for ticket, left in enumerate(model.left) if left]
        if not unsettled or data.draw(st.booleans()):
            parts = data.draw(st.integers(1, 3))
            assert tracker.begin(f"token {len(model.left)}", parts) == len(model.left)
            model.left.append(parts)
        else:
            ticket = data.draw(st.sampled_from(unsettled))
            tokens = tracker.settle(ticket)
            assert tokens == model.settle(ticket)
            released += tokens
        statistics = tracker.statistics()
        assert statistics.outstanding == tracker.outstanding == len(model.left) - model.released
        assert statistics.begun == statistics.released + statistics.outstanding
        assert statistics.waiting == sum(left == 0 for left in model.left[model.released :])
    assert released == [f"token {number}" for number in range(model.released)]
