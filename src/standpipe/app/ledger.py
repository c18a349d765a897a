"""What became of every message: the ledger that is printed at the end and can be asked for at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from standpipe.delivery.statistics import ProducerStatistics
from standpipe.pipelines.lane import LaneStatistics


@dataclass(frozen=True)
class LedgerRow:
    """One producer. `accepted = delivered + dead_lettered + dropped + pending`."""

    producer: str
    accepted: int
    delivered: int
    dead_lettered: int
    dropped: int
    pending: int

    @property
    def adds_up(self) -> bool:
        """Whether every accepted message is accounted for."""
        return self.accepted == self.delivered + self.dead_lettered + self.dropped + self.pending


@dataclass(frozen=True)
class Ledger:
    """Every producer and every agent of every pipeline."""

    rows: tuple[LedgerRow, ...]
    lanes: tuple[LaneStatistics, ...] = ()

    @property
    def adds_up(self) -> bool:
        """Whether every message that was accepted, and every one that was read, is accounted for."""
        return all(row.adds_up for row in self.rows)

    @property
    def all_delivered(self) -> bool:
        """Whether everything was delivered: nothing pending, put aside or dropped, no lane failed, nothing held back."""
        unsettled = any(lane.failed or lane.unacknowledged for lane in self.lanes)
        return not unsettled and all(row.accepted == row.delivered for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "producers": [asdict(row) for row in self.rows],
            "pipelines": [lane.as_dict() for lane in self.lanes],
            "adds_up": self.adds_up,
            "all_delivered": self.all_delivered,
        }


def make_ledger(producers: Mapping[str, ProducerStatistics], lanes: Sequence[LaneStatistics]) -> Ledger:
    """The ledger of these statistics."""
    rows = [LedgerRow(name, s.accepted, s.delivered, s.dead_lettered, s.dropped, s.pending) for name, s in producers.items()]
    return Ledger(tuple(rows), tuple(lanes))
