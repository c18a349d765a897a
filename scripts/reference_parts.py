"""Tables inside pages written by hand that the code itself computes: they cannot tell another story than the code."""

from __future__ import annotations

import socket
from collections.abc import Callable

from benchmarks import page
from scripts.reference_fields import duration, size, table
from standpipe.core.errors import ContractError, Disconnected, NotSent, Reject, RetryAfter
from standpipe.core.outcome import Outcome, judge
from standpipe.delivery.breaker import Breaker, BreakerState
from standpipe.delivery.retry import RetryPolicy
from standpipe.producers.config import BaseProducerConfig, QueueConfig

_NOW, _LATER = 100.0, 200.0


def delays() -> str:
    """The bounds of the delays between the attempts of one message, with the default configuration."""
    policy = _policy()
    rows = [("1", "none: it is sent at once", "0 s")]
    total = 0.0
    for retry in range(1, policy.max_retries + 1):
        total += policy.bound(retry)
        rows.append((str(retry + 1), f"0 ... {duration(policy.bound(retry))}", f"{total:g} s"))
    return table(("attempt", "wait before it", "latest, with sends that fail at once"), rows)


def pauses() -> str:
    """The bounds of the pauses after resets that brought no success, with the default configuration."""
    policy = _policy()
    rows = []
    for resets in range(1, 7):
        bound = policy.pause(resets, 1.0)
        rows.append((str(resets), "none" if not bound else f"0 ... {duration(bound)}"))
    return table(("reset in a row without a success", "pause before the next attempt"), rows)


def _policy() -> RetryPolicy:
    config = BaseProducerConfig(type="example", name="example")
    return RetryPolicy(config.max_retries, config.retry.initial, config.retry.factor, config.retry.max, config.reconnect_wait)


def breaker() -> str:
    """What each event makes of each state of the breaker."""
    starts = {
        BreakerState.CLOSED: Breaker(threshold=5, failures=3, cycle=3),
        BreakerState.OPEN: Breaker(threshold=5, state=BreakerState.OPEN, failures=5, cycle=5, probe_at=_LATER),
        BreakerState.HALF_OPEN: Breaker(threshold=5, state=BreakerState.HALF_OPEN, failures=5, cycle=5, probe_at=_NOW),
    }
    last = Breaker(threshold=5, failures=4, cycle=4)
    events: tuple[tuple[str, Callable[[Breaker], Breaker]], ...] = (
        ("an attempt succeeds", lambda state: state.succeeded()),
        ("an attempt fails", lambda state: state.failed(_LATER)),
        ("the connection is reset", lambda state: state.reset(_LATER)),
        ("`max_retries` connections in a row could not be opened", lambda state: state.unreachable()),
        ("the next probe is due", lambda state: state.at(max(_NOW, state.probe_at))),
    )
    rows = []
    for event, change in events:
        after = [f"`{change(start).state.value}`" for start in starts.values()]
        if event == "an attempt fails":
            after[0] = f"{after[0]}; at the 5th failure in a row `{last.failed(_LATER).state.value}`"
        rows.append((event, *after))
    return table(("what happens", *(f"`{state.value}`" for state in starts)), rows)


def outcomes() -> str:
    """What the engine reads off what leaves `_send`."""
    cases: tuple[tuple[str, BaseException | None], ...] = (
        ("nothing: `_send` returns", None),
        ("`Reject(reason)`", Reject("no")),
        ("`RetryAfter(seconds)`", RetryAfter(5.0)),
        ("`Disconnected(...)`", Disconnected("gone")),
        ("`Disconnected(..., arrived=False)`", Disconnected("gone", arrived=False)),
        ("`NotSent(...)`", NotSent("not yet")),
        ("`ConnectionRefusedError`", ConnectionRefusedError()),
        ("`socket.gaierror` (the name cannot be resolved)", socket.gaierror()),
        ("`ContractError` (`_send_batch` returned no results)", ContractError("none")),
        ("`TimeoutError`", TimeoutError()),
        ("any other exception", RuntimeError("?")),
    )
    return table(("what leaves `_send`", "outcome", "what follows"), [(what, *_follows(error)) for what, error in cases])


def _follows(error: BaseException | None) -> tuple[str, str]:
    if error is None:
        return f"`{Outcome.DELIVERED.value}`", "the receipt is delivered"
    verdict = judge(error)
    if verdict.outcome is Outcome.REJECTED:
        return f"`{verdict.outcome.value}`", "the message goes to the dead letters at once; no retry"
    if verdict.retry_after is not None:
        return f"`{verdict.outcome.value}`", "nothing is sent to this destination for so long, then the same message; no retry is used up"
    steps = ["the connection is reset now" if verdict.reset_now else "retry after a growing delay"]
    if verdict.outcome is Outcome.UNKNOWN:
        steps.append("a later delivery counts as a possible duplicate")
    return f"`{verdict.outcome.value}`", "; ".join(steps)


def queue() -> str:
    """The bounds of the queue."""
    config = QueueConfig()
    return table(
        ("bound", "default"),
        [
            ("`queue.max_messages`", f"{config.max_messages:,} messages"),
            ("`queue.max_bytes`", size(config.max_bytes)),
            ("`queue.on_full`", f"`{config.on_full}`"),
        ],
    )


def performance() -> str:
    """How fast each destination is, from the records of the benchmarks."""
    return page.short()


PARTS: dict[str, Callable[[], str]] = {
    "delays": delays,
    "pauses": pauses,
    "breaker": breaker,
    "outcomes": outcomes,
    "queue": queue,
    "performance": performance,
}
"""The parts by the name that stands in the pages."""
