"""Every state of the breaker meets every event."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from standpipe.delivery.breaker import Breaker, BreakerState

EVENTS: dict[str, Callable[[Breaker], Breaker]] = {
    "succeeded": lambda breaker: breaker.succeeded(),
    "failed": lambda breaker: breaker.failed(breaker.probe_at + 1.0),
    "reset": lambda breaker: breaker.reset(breaker.probe_at),
    "unreachable": lambda breaker: breaker.unreachable(),
    "due": lambda breaker: breaker.due(0.0),
    "seen early": lambda breaker: breaker.at(breaker.probe_at - 0.5),
    "seen late": lambda breaker: breaker.at(breaker.probe_at),
}
CLOSED, OPEN, HALF_OPEN = BreakerState


def reachable(threshold: int, depth: int = 7) -> set[Breaker]:
    """Every breaker that some row of events leads to."""
    states = {Breaker(threshold)}
    for _ in range(depth):
        states |= {event(breaker) for breaker, event in itertools.product(states, EVENTS.values())}
    return states


WALKED = {threshold: reachable(threshold) for threshold in (1, 2, 5)}
every_state = pytest.mark.parametrize("threshold", WALKED)


@every_state
def test_a_success_closes_it_from_every_state_and_forgets_everything(threshold: int) -> None:
    assert {breaker.succeeded() for breaker in WALKED[threshold]} == {Breaker(threshold)}


@every_state
def test_what_is_not_closed_shows_failures_that_a_success_will_clear(threshold: int) -> None:
    """The engine looks at `failures` alone, after each success, to see whether there is something to close."""
    for breaker in WALKED[threshold]:
        assert breaker.state is CLOSED or breaker.failures >= 1
        assert breaker.state is not CLOSED or breaker.failures < threshold


@every_state
def test_a_failure_opens_it_at_the_threshold_and_a_failed_probe_opens_it_again(threshold: int) -> None:
    for breaker in WALKED[threshold]:
        after = breaker.failed(7.0)
        expected = OPEN if breaker.state is not CLOSED or breaker.failures + 1 >= threshold else CLOSED
        assert (after.state, after.failures, after.probe_at) == (expected, breaker.failures + 1, 7.0)


@every_state
def test_an_unreachable_destination_opens_it_from_every_state(threshold: int) -> None:
    assert {breaker.unreachable().state for breaker in WALKED[threshold]} == {OPEN}


@every_state
def test_only_an_open_breaker_becomes_half_open_and_only_when_the_probe_is_due(threshold: int) -> None:
    for breaker in WALKED[threshold]:
        assert breaker.at(breaker.probe_at - 0.001) == breaker
        assert breaker.at(breaker.probe_at).state is (HALF_OPEN if breaker.state is OPEN else breaker.state)


@every_state
def test_a_reset_lets_the_retries_start_again_but_does_not_close_it(threshold: int) -> None:
    for breaker in WALKED[threshold]:
        after = breaker.reset(3.0)
        assert (after.state, after.cycle, after.resets) == (breaker.state, 0, breaker.resets + 1)


@every_state
def test_due_only_brings_the_probe_forward(threshold: int) -> None:
    for breaker in WALKED[threshold]:
        assert breaker.due(0.5).probe_at == min(breaker.probe_at, 0.5)
