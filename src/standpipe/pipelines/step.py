"""What every step of a pipeline is: a chunk goes in, a chunk comes out, and what did not come out is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from standpipe.pipelines.records import Records


@dataclass(frozen=True)
class StepStatistics:
    """Counts of records since the start: `records_in = records_out + filtered + dropped`.

    `filtered` did not fulfil a filter's condition, `dropped` could not be parsed under `on_error: drop`. `errors` could not be
    treated as the step says (did not parse, an expression without a result) and went on all the same, unless they were
    dropped. `unconverted` counts values, not records: those that are not of the type that they should be, kept as text.
    """

    type: str
    records_in: int = 0
    records_out: int = 0
    filtered: int = 0
    dropped: int = 0
    errors: int = 0
    unconverted: int = 0


class Step(Protocol):
    """One compiled step. It owns the chunk that it is given, and is used by one thread at a time."""

    @property
    def type(self) -> str:
        """The step's name in a configuration, such as `filter`."""

    def apply(self, records: Records) -> Records:
        """What becomes of `records`; never raises for what they hold. The chunk given must not be used afterwards."""

    def statistics(self) -> StepStatistics:
        """The counts now."""
