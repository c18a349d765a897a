"""The list of promises: each has a name, says what it promises, and knows how to put it to the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from standpipe.testing.trial import Trial

Check = Callable[[Trial], None]


@dataclass(frozen=True, slots=True)
class Promise:
    """One thing that every producer must do, or must never do."""

    name: str
    says: str
    check: Check
    """raises Broken or NotApplicable"""


PROMISES: dict[str, Promise] = {}
"""All promises by name, in the order in which they are checked."""


def promise(name: str, says: str) -> Callable[[Check], Check]:
    """Add a check to the list."""

    def add(check: Check) -> Check:
        PROMISES[name] = Promise(name, says, check)
        return check

    return add
