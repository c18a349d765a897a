"""The producers of a run, by the name of their style in the plan."""

from __future__ import annotations

from tests.simulation.confirming import Confirming, Pipelined, Polling, PollingPipelined
from tests.simulation.producers import Atomic, Concurrent, ConcurrentBatches, Several, Simulated, Single

STYLES: dict[str, type[Simulated]] = {
    "single": Single,
    "several": Several,
    "atomic": Atomic,
    "concurrent": Concurrent,
    "concurrent batches": ConcurrentBatches,
    "confirming": Confirming,
    "pipelined": Pipelined,
    "polling": Polling,
    "polling pipelined": PollingPipelined,
}
