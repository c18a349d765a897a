"""What became of one attempt to send, and what an exception says about it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import Enum

from standpipe.core.errors import ContractError, Disconnected, NotSent, Reject, RetryAfter

RETRY_AFTER_MAX = 3600.0
"""Seconds; a destination that asks for a longer pause is asked again after an hour (a garbled header must not stop us for years)."""


class Outcome(Enum):
    """The outcome of an attempt. Only `DELIVERED` is success; it must be claimed, never assumed."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    """the destination will never take it: to the dead letters"""
    FAILED = "failed"
    """it certainly did not arrive: safe to retry"""
    UNKNOWN = "unknown"
    """it may have arrived: retried under the same message id, counted as a possible duplicate"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the engine has to do after a failed attempt, read off the exception by `judge`."""

    outcome: Outcome
    error: BaseException
    reset_now: bool = False
    retry_after: float | None = None


def judge(error: BaseException) -> Verdict:
    """The verdict on an exception that left `_send`, in order of the first line that fits:

    1. `Reject` - rejected.
    2. `RetryAfter` - failed; nothing is sent for that long (clamped to 0 ... 3600 s; garbage counts as 0).
    3. `Disconnected` - reset now; unknown unless the author claims that nothing arrived.
    4. `NotSent`, refused connections, unresolvable names, broken contract - failed: there was nobody to send to.
    5. Anything else - unknown: the message may have arrived before the exception did. Never a drop.
    """
    if isinstance(error, Reject):
        return Verdict(Outcome.REJECTED, error)
    if isinstance(error, RetryAfter):
        seconds = error.seconds if isinstance(error.seconds, (int, float)) and error.seconds == error.seconds else 0.0
        return Verdict(Outcome.FAILED, error, retry_after=float(min(max(0, seconds), RETRY_AFTER_MAX)))
    if isinstance(error, Disconnected):
        return Verdict(Outcome.FAILED if error.arrived is False else Outcome.UNKNOWN, error, reset_now=True)
    if isinstance(error, (NotSent, ContractError, ConnectionRefusedError, socket.gaierror)):
        return Verdict(Outcome.FAILED, error)
    return Verdict(Outcome.UNKNOWN, error)
