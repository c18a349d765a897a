"""A producer of the completion style whose client confirms later, as the test says, under a manual clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from standpipe.core.errors import Reject
from standpipe.delivery.batch import Batch
from standpipe.delivery.report import Report
from tests.unit.delivery.scripted import Scripted

Fate = Literal["ok", "lost", "silent"] | BaseException
"""`ok`: arrives and is confirmed; an exception: fails with it; `silent`: nothing is ever said and it does not arrive;
`lost`: it arrives, and nothing is said."""


@dataclass(eq=False)
class Entry:
    """A message that is with the client."""

    report: Report
    position: int
    message: dict[str, Any]
    fate: Fate


class Confirming(Scripted):
    """`fate(message, number)` says what becomes of the `number`-th message handed to the client, `delay(number)` after how many
    seconds. `arrived` has what the destination got, `handed` the sizes of the batches."""

    max_in_flight = 8

    def __init__(
        self,
        *,
        fate: Callable[[dict[str, Any], int], Fate] = lambda message, number: "ok",
        delay: Callable[[int], float] = lambda number: 0.01,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.fate, self.delay = fate, delay
        self.arrived: list[dict[str, Any]] = []
        self.handed: list[int] = []
        self.most = 0
        self._entries: list[Entry] = []
        self._numbers = itertools.count()

    def _submit(self, batch: Batch, report: Report) -> None:
        self._note("submit")
        self.handed.append(batch.count)
        for position, message in enumerate(batch.contents()):
            number = next(self._numbers)
            entry = Entry(report, position, message, self.fate(message, number))
            self._entries.append(entry)
            self.most = max(self.most, len(self._entries))
            self.clock.at(self.clock.now + self.delay(number), lambda entry=entry: self._happen(entry))  # type: ignore[misc]

    def _happen(self, entry: Entry) -> None:
        if entry not in self._entries:  # the connection has been closed
            return
        if entry.fate in ("ok", "lost"):
            self.arrived.append(entry.message)
        if entry.fate == "ok":
            entry.report.delivered(entry.position, {"n": entry.message["n"]})
        elif isinstance(entry.fate, BaseException):
            entry.report.failed(entry.position, entry.fate)
        else:
            return
        self._entries.remove(entry)

    def _close(self) -> None:
        super()._close()
        self._entries.clear()


class Pipelined(Confirming):
    """In order: a message is dealt with after all earlier ones, and once one has failed (not: been rejected) all later ones do,
    until `_close`."""

    atomic_batches: ClassVar[bool] = True

    def _happen(self, entry: Entry) -> None:
        while self._entries and entry in self._entries:
            first = self._entries[0]
            if first.fate in ("lost", "silent"):
                self._fall_silent()
                return
            super()._happen(first)
            if isinstance(first.fate, BaseException) and not isinstance(first.fate, Reject):
                for other in self._entries:
                    other.fate = first.fate

    def _fall_silent(self) -> None:
        """Nothing more is confirmed; what stands before the first message that does not arrive still arrives."""
        arriving = itertools.takewhile(lambda entry: entry.fate in ("ok", "lost"), self._entries)
        self.arrived += [entry.message for entry in arriving]
        self._entries = [Entry(entry.report, entry.position, entry.message, "silent") for entry in self._entries]
