"""The log job, by the kind of its queue."""

from __future__ import annotations

from benchmarks.case import Measurement, Params
from benchmarks.sides.logjob import make_lines, run

__all__ = ["make_lines", "memory", "written"]


def memory(params: Params) -> Measurement:
    """The queue in memory."""
    return run(params, "memory")


def written(params: Params) -> Measurement:
    """The queue on disk, not synced before the next line is read."""
    return run(params, "spool")
