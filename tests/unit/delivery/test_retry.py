"""The rules of delay, for many policies and attempts."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from standpipe.delivery.retry import RetryPolicy

policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(1, 100),
    initial=st.floats(0, 100),
    factor=st.floats(1, 100),
    max=st.floats(100, 1e6),
    reconnect_wait=st.floats(0, 1e6),
)


@given(policies, st.integers(1, 10**9), st.floats(0, 1))
def test_a_delay_is_a_share_of_a_bound_that_never_shrinks_and_never_exceeds_the_maximum(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    assert 0 <= policy.delay(attempt, jitter) <= policy.bound(attempt) <= policy.bound(attempt + 1) <= policy.max
    assert math.isfinite(policy.bound(attempt))


@given(policies, st.integers(0, 10**6), st.floats(0, 1))
def test_the_pause_after_a_reset_is_none_at_first_and_bounded_later(policy: RetryPolicy, resets: int, jitter: float) -> None:
    assert policy.pause(0, jitter) == policy.pause(1, jitter) == 0.0
    assert 0 <= policy.pause(resets, jitter) <= policy.max


def test_the_default_delays_are_those_of_the_documentation() -> None:
    policy = RetryPolicy()
    assert [policy.bound(attempt) for attempt in range(1, 12)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
