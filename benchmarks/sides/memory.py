"""Memory in use after some messages, and after many more."""

from __future__ import annotations

from benchmarks.case import Measurement, Params
from benchmarks.sides.destinations import InBatches, OneByOne, config
from benchmarks.sides.engine import feed
from benchmarks.sides.resources import peak, resident
from standpipe.producers.base import BaseProducer


def send(params: Params) -> Measurement:
    """`produce` to `_send`, one by one from end to end."""
    return _grown(OneByOne(config("memory")), params, many=False)


def send_batch(params: Params) -> Measurement:
    """`produce_many` to `_send_batch`."""
    return _grown(InBatches(config("memory")), params, many=True)


def _grown(producer: BaseProducer, params: Params, *, many: bool) -> Measurement:
    with producer:
        feed(producer, params["first"], many=many)
        first = resident()
        feed(producer, params["messages"] - params["first"], many=many)
        last = resident()
    return {"first": first, "last": last, "growth": last - first, "peak": peak()}
