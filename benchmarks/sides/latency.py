"""How long single calls of `produce` take, the slow ones too, while the destination is well and while it hangs."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from time import perf_counter_ns

from benchmarks.case import Measurement, Params
from benchmarks.sides.destinations import Hanging, OneByOne, config
from benchmarks.sides.message import MESSAGE

WARM_UP = 200
QUIT_WITHIN = 5.0  # seconds


def healthy(params: Params) -> Measurement:
    """The destination takes every message at once."""
    with OneByOne(config("latency")) as producer:
        produce = producer.produce
        return _paced(params, lambda: produce(False, MESSAGE))


def hanging(params: Params) -> Measurement:
    """The destination does not come back from its first message."""
    producer = Hanging(config("latency"))
    produce = producer.produce
    try:
        found = _paced(params, lambda: produce(False, MESSAGE))
        if producer.statistics().delivered:
            raise RuntimeError("the destination was to hang, and did not")
        return found
    finally:
        producer.let_go.set()
        producer.shutdown(QUIT_WITHIN)


def queue_put(params: Params) -> Measurement:
    """`queue.Queue.put` with nobody behind it: what is slow here is the machine, not the program."""
    put = queue.Queue[object]().put
    return _paced(params, lambda: put(MESSAGE))


def _paced(params: Params, call: Callable[[], object]) -> Measurement:
    pause = params["pause_us"] / 1e6
    times = []
    for _ in range(WARM_UP + params["calls"]):
        started = perf_counter_ns()
        call()
        times.append(perf_counter_ns() - started)
        time.sleep(pause)
    times = sorted(times[WARM_UP:])
    return {"p50": _quantile(times, 0.5), "p99": _quantile(times, 0.99), "p999": _quantile(times, 0.999)}


def _quantile(times: list[int], share: float) -> float:
    """In microseconds: of all calls, this share was not slower."""
    return times[min(len(times) - 1, int(len(times) * share))] / 1000
