"""From `produce` through the engine to a destination that does nothing."""

from __future__ import annotations

from time import perf_counter, process_time

from benchmarks.case import Measurement, Params
from benchmarks.sides.destinations import InBatches, OneByOne, config
from benchmarks.sides.message import MESSAGE
from standpipe.producers.base import BaseProducer

BATCH = 1000
WARM_UP = 10


def send_fed_many(params: Params) -> Measurement:
    """`produce_many` to `_send`."""
    return _through(OneByOne(config("engine")), params["messages"], many=True)


def send_batch_fed_many(params: Params) -> Measurement:
    """`produce_many` to `_send_batch`."""
    return _through(InBatches(config("engine")), params["messages"], many=True)


def send_fed_single(params: Params) -> Measurement:
    """`produce` to `_send`."""
    return _through(OneByOne(config("engine")), params["messages"], many=False)


def send_batch_fed_single(params: Params) -> Measurement:
    """`produce` to `_send_batch`."""
    return _through(InBatches(config("engine")), params["messages"], many=False)


def _through(producer: BaseProducer, messages: int, *, many: bool) -> Measurement:
    with producer:
        feed(producer, WARM_UP * BATCH, many=many)
        started, cpu = perf_counter(), process_time()
        feed(producer, messages, many=many)
        seconds, cpu = perf_counter() - started, process_time() - cpu
    if producer.statistics().delivered != messages + WARM_UP * BATCH:
        raise RuntimeError(f"not everything was delivered: {producer.statistics()}")
    return {"rate": messages / seconds, "cpu_us": cpu / messages * 1e6}


def feed(producer: BaseProducer, messages: int, *, many: bool) -> None:
    """Produce so many messages, 1,000 at a time or one by one, and wait until they are delivered."""
    if many:
        produce_many, several = producer.produce_many, [MESSAGE] * BATCH
        for _ in range(messages // BATCH):
            produce_many(False, several)
    else:
        produce = producer.produce
        for _ in range(messages):
            produce(False, MESSAGE)
    producer.flush()
