"""The limit on messages per second, however it is asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from standpipe.delivery.rate import BURST, RateLimit


@given(st.floats(0.01, 1e5), st.lists(st.tuples(st.floats(0, 10), st.integers(1, 1000)), max_size=200))
def test_never_more_than_the_rate_and_one_burst(rate: float, asks: list[tuple[float, int]]) -> None:
    limit, now, sent = RateLimit(rate), 0.0, 0
    for pause, wanted in asks:
        now += pause
        allowed, _ = limit.allowance(now, wanted)
        assert 0 <= allowed <= wanted
        limit.spend(allowed)
        sent += allowed
        assert sent <= rate * now + max(1.0, rate * BURST) + 1e-3


@given(st.floats(0.01, 10), st.floats(0, 1e8))
def test_whoever_waits_as_long_as_told_may_go_then(rate: float, now: float) -> None:
    """Otherwise the worker would wake up a moment too early for ever."""
    limit = RateLimit(rate)
    for _ in range(50):
        allowed, when = limit.allowance(now, 1)
        if not allowed:
            assert when > now
            now = when
            allowed, _ = limit.allowance(now, 1)
        assert allowed == 1
        limit.spend(1)


def test_without_a_rate_everything_may_go() -> None:
    limit = RateLimit(None)
    limit.spend(10**9)
    assert limit.allowance(0.0, 10**6) == (10**6, 0.0)
