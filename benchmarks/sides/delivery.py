"""Standpipe's side of a destination: from the first message to the last one that is delivered."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.case import Measurement, Params
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.watch import Watch
from standpipe.producers.base import BaseProducer

MEMORY = {"type": "memory"}


def spool(params: Params) -> dict[str, Any]:
    """A queue that is a `written` spool, in a new folder."""
    return {"type": "spool", "path": str(Path(params["folder"], uuid4().hex)), "durability": "written"}


def deliver(producer: BaseProducer, messages: int, warm_up: int = 0, together: int = 1) -> Measurement:
    """Through `producer`, which is shut down then. `together`: messages in each call of `produce_many`; 1: `produce`."""
    with producer:
        _feed(producer, warm_up, together)
        watch = Watch()
        _feed(producer, messages, together)
        found = watch.measured(messages)
    if producer.statistics().delivered != messages + warm_up:
        raise RuntimeError(f"not everything was delivered: {producer.statistics()}")
    return found


def _feed(producer: BaseProducer, messages: int, together: int) -> None:
    if together == 1:
        produce = producer.produce
        for _ in range(messages):
            produce(False, MESSAGE)
    else:
        for start in range(0, messages, together):
            producer.produce_many(False, [MESSAGE] * min(together, messages - start))
    producer.flush()
