"""A spool that a former process has left full."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from time import perf_counter

from benchmarks.case import Measurement, Params
from benchmarks.sides.destinations import Gated, InBatches, in_spool, on_disk
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.resources import peak

GIVE_UP = 0.2
"""Seconds for delivering what cannot be delivered."""

DRAIN_WITHIN = 150.0
BATCH = 1000


def leave_behind(params: Params) -> Measurement:
    """Two spools full of messages: handed over one by one, and many at a time."""
    for name, many in (("single", False), ("many", True)):
        _fill(Path(params["folder"], name), params["messages"], many)
    return {}


def _fill(folder: Path, messages: int, many: bool) -> None:
    producer = Gated(on_disk("backlog", folder, "written"))
    if many:
        for _ in range(messages // BATCH):
            producer.produce_many(False, [MESSAGE] * BATCH)
    else:
        for _ in range(messages):
            producer.produce(False, MESSAGE)
    left = producer.shutdown(GIVE_UP).spooled
    producer.gate.set()
    if left != messages:
        raise RuntimeError(f"{left} of {messages} messages are in the spool")


def restart(params: Params) -> Measurement:
    """The backlog of single messages."""
    return _drained(params, "single")


def restart_many(params: Params) -> Measurement:
    """The backlog of 1,000 messages at a time."""
    return _drained(params, "many")


def _drained(params: Params, name: str) -> Measurement:
    folder = Path(params["folder"], "opened")
    _copy(Path(params["folder"], name), folder)
    producer = InBatches(in_spool("backlog", folder, "written"))
    started = perf_counter()
    producer.start()
    opened = perf_counter()
    left = producer.flush(DRAIN_WITHIN)
    drained = perf_counter()
    delivered = producer.statistics().delivered
    producer.shutdown()
    shutil.rmtree(folder)
    if left or delivered != params["messages"]:
        raise RuntimeError(f"{delivered} of {params['messages']} messages were delivered, {left} are left")
    return {"open_s": opened - started, "rate": delivered / (drained - opened), "peak": peak()}


def _copy(source: Path, target: Path) -> None:
    """On the disk, so that what is measured does not wait for it."""
    shutil.copytree(source, target)
    for path in target.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def nothing(params: Params) -> Measurement:
    """An empty spool: what the process needs anyway."""
    with InBatches(on_disk("backlog", Path(params["folder"], "empty"), "written")) as producer:
        producer.produce(False, MESSAGE)
        producer.flush(DRAIN_WITHIN)
    return {"peak": peak()}
