"""`produce` to a queue in memory and to one on disk."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.case import Measurement, Params
from benchmarks.sides.bursts import times_of_bursts
from benchmarks.sides.destinations import Gated, config, on_disk
from benchmarks.sides.produce import produce_burst
from standpipe.producers.base import BaseProducerConfig


def memory(params: Params) -> Measurement:
    """The queue that producers have who configure nothing."""
    return _measured(params, config("memory"))


def written(params: Params) -> Measurement:
    """A spool that is not synced before `produce` returns, but every second."""
    return _measured(params, on_disk("written", Path(params["folder"], "spool"), "written"))


def _measured(params: Params, configuration: BaseProducerConfig) -> Measurement:
    with Gated(configuration) as producer:
        try:
            times = times_of_bursts(produce_burst(producer, params["burst"]), producer.drain, params["bursts"])
        finally:
            producer.gate.set()
    scale = 1e6 / params["burst"]
    return {"us": statistics.median(times) * scale, "mean_us": statistics.fmean(times) * scale}
