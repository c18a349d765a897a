"""One message at a time to a synced spool, by one thread and by eight."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from pathlib import Path
from time import perf_counter

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.destinations import Gated, on_disk
from benchmarks.sides.message import MESSAGE

WARM_UP = 100


def one(params: Params) -> Measurement:
    """One thread."""
    return _by_threads(params, 1)


def eight(params: Params) -> Measurement:
    """Eight threads."""
    return _by_threads(params, 8)


def _by_threads(params: Params, threads: int) -> Measurement:
    with Gated(on_disk("threads", Path(params["folder"], "spool"), "synced")) as producer:
        produce, calls = producer.produce, params["calls"]
        start = threading.Barrier(threads + 1)

        def call() -> None:
            for _ in range(WARM_UP):
                produce(False, MESSAGE)
            start.wait()
            for _ in range(calls):
                produce(False, MESSAGE)

        callers = [threading.Thread(target=call) for _ in range(threads)]
        for caller in callers:
            caller.start()
        start.wait()
        started = perf_counter()
        for caller in callers:
            caller.join()
        seconds = perf_counter() - started
        producer.gate.set()
    return {"rate": threads * calls / seconds}


def bare(params: Params) -> Measurement:
    """What the disk does for a single writer: encode, append, sync."""
    path = Path(params["folder"], "bare.log")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
    started = perf_counter()
    for _ in range(params["calls"]):
        payload = orjson.dumps(MESSAGE)
        os.write(descriptor, struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
        os.fdatasync(descriptor)
    seconds = perf_counter() - started
    os.close(descriptor)
    path.unlink()
    return {"rate": params["calls"] / seconds}
