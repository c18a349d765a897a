"""A destination is killed while messages are handed over at a steady pace, and comes back; the pace never changes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic, perf_counter_ns
from typing import Any

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.outage_server import Mortal, running
from benchmarks.sides.resources import resident
from standpipe.producers.http import HttpProducer
from standpipe.producers.http_config import HttpProducerConfig

SAMPLE = 0.05
"""Seconds between looks at what waits and at the memory."""

DRAINED_WITHIN = 60.0
"""Seconds after which a backlog that is still there is a failure: twice the longest delay between retries."""

WARM_UP = 500


def memory(params: Params) -> Measurement:
    """The queue in memory."""
    return _measure(params, {"type": "memory"})


def spool(params: Params) -> Measurement:
    """A `written` spool."""
    return _measure(params, {"type": "spool", "path": mkdtemp(prefix="spool-", dir=params["folder"]), "durability": "written"})


def _measure(params: Params, queue: dict[str, Any]) -> Measurement:
    with running(Path(mkdtemp(prefix="outage-", dir=params["folder"]))) as server:
        given = {"name": "outage", "url": server.url, "format": "jsonl", "reconnect_wait": params["reconnect_wait"], "queue": queue}
        with HttpProducer(HttpProducerConfig.model_validate(given)) as producer:
            caller = Caller(producer, params["rate"])
            found = _through_an_outage(caller, server, params)
        return {**found, **compared(server.bodies(), caller.count)}


def _through_an_outage(caller: Caller, server: Mortal, params: Params) -> Measurement:
    caller.warm_up()
    before = caller.go_on(params["before"])
    server.kill()
    during = caller.go_on(params["outage"])
    server.come_back()
    back = monotonic()
    after = caller.go_on(params["after"], drained_to=max(before.waiting))
    if after.drained_at is None:
        raise RuntimeError(f"the backlog was there {DRAINED_WITHIN:g} s after the server had come back: {caller.producer.statistics()}")
    return {
        **before.latencies("before"),
        **during.latencies("during"),
        **after.latencies("after"),
        "waiting": during.waiting[-1],
        "drained": after.drained_at - back,
        "memory_before": max(before.memory),
        "memory_outage": max(during.memory + after.memory),
        "memory_after": after.memory[-1],
        "series": _series(caller.started, before, during, after),
    }


@dataclass
class Phase:
    """What was seen in one part of the run: a value for each sample, and every call."""

    at: list[float] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    drained_at: float | None = None

    def latencies(self, name: str) -> dict[str, float]:
        """Of all calls, in microseconds."""
        return {
            f"{name}_p50": _quantile(self.calls, 0.5),
            f"{name}_p99": _quantile(self.calls, 0.99),
            f"{name}_max": max(self.calls) / 1000,
        }


class Caller:
    """Hands over messages with numbers, `rate` each second, and times each call. One that is late does not wait for the next."""

    def __init__(self, producer: HttpProducer, rate: int) -> None:
        self.producer, self.count = producer, 0
        self.started = self._due = monotonic()
        self._pause = 1 / rate

    def warm_up(self) -> None:
        """Connections, buffers and code are as in a process that has run for a while."""
        for _ in range(WARM_UP):
            self._call()
        self.producer.flush()
        self.started = self._due = monotonic()

    def go_on(self, seconds: float, drained_to: int | None = None) -> Phase:
        """Call for so long; with `drained_to` until no more than that waits, too."""
        phase, begin = Phase(), monotonic()
        while True:
            now, drained = monotonic(), drained_to is None or phase.drained_at is not None
            if now >= begin + (seconds if drained else DRAINED_WITHIN):
                return phase
            self._sample(phase, now + SAMPLE)
            if not drained and drained_to is not None and phase.waiting[-1] <= drained_to:
                phase.drained_at = phase.at[-1]

    def _sample(self, phase: Phase, until: float) -> None:
        times = []
        while (now := monotonic()) < until:
            if now < self._due:
                time.sleep(self._due - now)
            self._due += self._pause
            times.append(self._call())
        phase.calls += times
        phase.at.append(monotonic())
        phase.waiting.append(self.producer.statistics().pending)
        phase.memory.append(resident())
        phase.p99.append(_quantile(times, 0.99))

    def _call(self) -> int:
        message = {**MESSAGE, "number": self.count}
        started = perf_counter_ns()
        self.producer.produce(False, message)
        taken = perf_counter_ns() - started
        self.count += 1
        return taken


def _series(started: float, *phases: Phase) -> dict[str, list[float]]:
    """What became of it over time, for drawing; the numbers of digits are what can be seen."""
    return {
        "seconds": [round(at - started, 2) for phase in phases for at in phase.at],
        "waiting": [waiting for phase in phases for waiting in phase.waiting],
        "memory": [round(memory, 1) for phase in phases for memory in phase.memory],
        "p99": [round(p99, 1) for phase in phases for p99 in phase.p99],
    }


def compared(bodies: bytes, count: int) -> dict[str, int]:
    """How many messages the server never took, and how many it took again."""
    numbers = [orjson.loads(line)["number"] for line in bodies.split(b"\n") if line]
    different = set(numbers)
    return {"lost": count - len(different), "duplicates": len(numbers) - len(different), "messages": count}


def _quantile(times: list[int], share: float) -> float:
    """In microseconds: of all calls, this share was not slower."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] / 1000
