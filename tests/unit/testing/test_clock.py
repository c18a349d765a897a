"""The manual clock does what its page says."""

from __future__ import annotations

import functools
import threading

import pytest

from standpipe.testing import ManualClock


def wait(clock: ManualClock, timeout: float | None) -> None:
    condition = threading.Condition()
    with condition:
        clock.wait(condition, timeout)


def test_a_wait_advances_the_clock_instead_of_waiting() -> None:
    clock = ManualClock(start=5.0)
    wait(clock, 3600.0)
    assert (clock.monotonic(), clock.waits) == (3605.0, [3600.0])


def test_planned_actions_happen_at_their_time_and_end_the_wait() -> None:
    clock = ManualClock()
    seen: list[float] = []
    clock.at(2.0, lambda: seen.append(clock.now))
    clock.at(1.0, lambda: seen.append(clock.now))
    wait(clock, 10.0)
    wait(clock, 10.0)
    wait(clock, 10.0)
    assert (seen, clock.waits) == ([1.0, 2.0], [1.0, 1.0, 10.0])


def test_actions_of_one_moment_happen_in_the_order_in_which_they_were_planned() -> None:
    clock = ManualClock()
    seen: list[int] = []
    for number in range(5):
        clock.at(1.0, functools.partial(seen.append, number))
    clock.advance(1.0)
    assert seen == [0, 1, 2, 3, 4]


def test_an_action_planned_for_the_past_happens_at_the_next_wait() -> None:
    clock = ManualClock(start=10.0)
    seen: list[float] = []
    clock.at(1.0, lambda: seen.append(clock.now))
    wait(clock, 5.0)
    assert (seen, clock.now) == ([10.0], 10.0)


def test_a_wait_that_nothing_would_end_is_an_error_instead_of_a_test_that_hangs() -> None:
    with pytest.raises(RuntimeError, match="waits for ever and nothing is planned"):
        wait(ManualClock(), None)


def test_an_action_runs_without_the_lock_of_whoever_waits() -> None:
    clock, condition = ManualClock(), threading.Condition(threading.Lock())
    free: list[bool] = []

    def action() -> None:
        free.append(condition.acquire(blocking=False))
        condition.release()

    clock.at(1.0, action)
    with condition:
        clock.wait(condition, None)
    assert free == [True]


def test_the_wall_clock_follows_and_can_jump() -> None:
    clock = ManualClock()
    before = clock.time()
    clock.advance(10.0)
    clock.jump_wall(-3600.0)
    assert (clock.time() - before, clock.monotonic()) == (10.0 - 3600.0, 10.0)
