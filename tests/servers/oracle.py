"""The oracle of ids: what was handed over, what was said to be delivered, what is really there; and whether that fits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from standpipe.delivery.receipt import Receipt, State

SHOWN = 5
"""Examples of each fault in the report."""


@dataclass(frozen=True, slots=True)
class Found:
    """One message that an independent reader found at the destination."""

    id: str
    payload: bytes
    key: str | None = None
    is_error: bool | None = None
    """None where the reader cannot tell"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One message that was handed over, and its receipt."""

    id: str
    key: str | None
    is_error: bool
    message: dict[str, Any]
    receipt: Receipt

    @property
    def payload(self) -> bytes:
        return orjson.dumps(self.message)


@dataclass
class Oracle:
    """`attempts` in the order of `produce`; `found` in the destination's order (of each key, at least)."""

    attempts: list[Attempt] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    carried_over: bool = False
    """a later producer took the spool over: receipts of the former one say `stored`, and the messages must arrive all the same"""

    def read(self, found: Iterable[Found]) -> Oracle:
        """What is at the destination now."""
        self.found = list(found)
        return self

    # --- what follows -------------------------------------------------------------------------------------------------

    @property
    def acknowledged(self) -> list[Attempt]:
        """Those that must be there."""
        claimed = (State.DELIVERED, State.STORED) if self.carried_over else (State.DELIVERED,)
        return [attempt for attempt in self.attempts if attempt.receipt.state in claimed]

    @property
    def lost(self) -> list[str]:
        """Acknowledged and not there."""
        there = {each.id for each in self.found}
        return [attempt.id for attempt in self.acknowledged if attempt.id not in there]

    @property
    def duplicates(self) -> list[str]:
        """There more than once, one entry for each further time."""
        return [id for id, count in Counter(each.id for each in self.found).items() for _ in range(count - 1)]

    @property
    def strangers(self) -> list[str]:
        """There, but never handed over."""
        known = {attempt.id for attempt in self.attempts}
        return [each.id for each in self.found if each.id not in known]

    @property
    def altered(self) -> list[str]:
        """There, but with another payload, key or kind than was handed over."""
        known = {attempt.id: attempt for attempt in self.attempts}
        return [each.id for each in self.found if each.id in known and not _is_same(each, known[each.id])]

    @property
    def out_of_order(self) -> list[str]:
        """Arrived (for the first time) after a later message of the same key and kind."""
        return list(self._overtaken(self.found))

    def _overtaken(self, found: Iterable[Found]) -> Iterator[str]:
        number = {attempt.id: index for index, attempt in enumerate(self.attempts)}
        seen: set[str] = set()
        latest: dict[tuple[str, bool], int] = defaultdict(lambda: -1)
        for each in found:
            if each.id in seen or each.id not in number:
                continue
            seen.add(each.id)
            attempt = self.attempts[number[each.id]]
            if attempt.key is None:
                continue
            # Errors may go to a place of their own, and nothing orders two places.
            line = (attempt.key, attempt.is_error)
            if number[each.id] < latest[line]:
                yield each.id
            latest[line] = max(latest[line], number[each.id])

    def check(self, *, lost: int = 0, duplicates: int = 0, out_of_order: int = 0, unacknowledged: int = 0) -> None:
        """Raises AssertionError with every fault, unless all are within these bounds. `lost`: what the server itself may lose;
        `unacknowledged`: messages whose receipt is not `delivered` at the end."""
        settled = {id(attempt) for attempt in self.acknowledged}
        open_or_dead = [f"{each.id} ({each.receipt.state.value})" for each in self.attempts if id(each) not in settled]
        faults = [
            _fault("acknowledged but not found", self.lost, lost),
            _fault("found more than once", self.duplicates, duplicates),
            _fault("out of order within their key", self.out_of_order, out_of_order),
            _fault("not acknowledged", open_or_dead, unacknowledged),
            _fault("found with another payload, key or kind", self.altered, 0),
            _fault("found but never handed over", self.strangers, 0),
        ]
        if any(faults):
            raise AssertionError("\n".join([self.summary(), *filter(None, faults)]))

    def summary(self) -> str:
        """The counts, in one line."""
        return (
            f"{len(self.attempts)} handed over, {len(self.acknowledged)} acknowledged, {len(self.found)} found: "
            f"{len(self.lost)} lost, {len(self.duplicates)} duplicates, {len(self.out_of_order)} out of order"
        )


def _is_same(found: Found, attempt: Attempt) -> bool:
    return found.payload == attempt.payload and found.key in (None, attempt.key) and found.is_error in (None, attempt.is_error)


def _fault(what: str, ids: list[str], bound: int) -> str:
    if len(ids) <= bound:
        return ""
    more = f", ... {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return f"  {len(ids)} {what} (allowed: {bound}): {', '.join(ids[:SHOWN])}{more}"
