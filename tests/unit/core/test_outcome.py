"""What an exception says about its message."""

from __future__ import annotations

import asyncio
import socket

import pytest

from standpipe.core.errors import (
    ContractError,
    Disconnected,
    NotSent,
    ProducerClosed,
    QueueFull,
    Reject,
    RetryAfter,
    SendError,
    StandpipeError,
)
from standpipe.core.outcome import Outcome, judge


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Reject("no"), Outcome.REJECTED),
        (RetryAfter(5), Outcome.FAILED),
        (NotSent(), Outcome.FAILED),
        (ContractError(), Outcome.FAILED),
        (ConnectionRefusedError(), Outcome.FAILED),
        (socket.gaierror(), Outcome.FAILED),
        (Disconnected(arrived=False), Outcome.FAILED),
        (Disconnected(arrived=True), Outcome.UNKNOWN),
        (Disconnected(), Outcome.UNKNOWN),
        (SendError(), Outcome.UNKNOWN),
        (ConnectionResetError(), Outcome.UNKNOWN),
        (TimeoutError(), Outcome.UNKNOWN),
        (asyncio.CancelledError(), Outcome.UNKNOWN),
        (SystemExit(0), Outcome.UNKNOWN),
        (ValueError(), Outcome.UNKNOWN),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_exception_has_its_outcome_and_none_is_a_success(error: BaseException, outcome: Outcome) -> None:
    verdict = judge(error)
    assert (verdict.outcome, verdict.error) == (outcome, error)
    assert verdict.reset_now == isinstance(error, Disconnected)
    assert (verdict.retry_after is not None) == isinstance(error, RetryAfter)


@pytest.mark.parametrize("kind", [Reject, NotSent, ContractError, Disconnected, QueueFull, ProducerClosed, SendError, StandpipeError])
def test_an_error_without_a_text_says_what_its_class_says(kind: type[StandpipeError]) -> None:
    assert str(kind()) == (kind.__doc__ or "").split("\n")[0]
    assert str(kind("mine")) == "mine"


@pytest.mark.parametrize(("seconds", "text"), [(2.5, "2.5"), (10**400, "1000"), ("7", "7")])
def test_retry_after_can_be_made_of_anything(seconds: float, text: str) -> None:
    assert str(RetryAfter(seconds)).startswith(f"the destination asked to wait {text}")
