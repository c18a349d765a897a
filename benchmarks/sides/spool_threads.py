"""One message at a time to a synced spool, by one thread and by eight."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.destinations import Gated, on_disk
from benchmarks.sides.message import MESSAGE

WARM_UP = 100

SLOWER = 0.001
"""Seconds: with them a sync takes about as long as on the disk of a laptop."""


def one(params: Params) -> Measurement:
    """One thread."""
    return _by_threads(params, 1)


def eight(params: Params) -> Measurement:
    """Eight threads."""
    return _by_threads(params, 8)


def one_slow(params: Params) -> Measurement:
    """One thread, on a disk that takes longer."""
    _slow_down()
    return _by_threads(params, 1)


def eight_slow(params: Params) -> Measurement:
    """Eight threads, on a disk that takes longer."""
    _slow_down()
    return _by_threads(params, 8)


def _slow_down() -> None:
    """Every sync of this process takes SLOWER longer."""
    sync = os.fdatasync

    def slow(descriptor: int) -> None:
        sync(descriptor)
        sleep(SLOWER)

    os.fdatasync = slow  # type: ignore[assignment]


def _by_threads(params: Params, threads: int) -> Measurement:
    with Gated(on_disk("threads", Path(params["folder"], "spool"), "synced")) as producer:
        measured = _calling(lambda: producer.produce(False, MESSAGE), params["calls"], threads)
        producer.gate.set()
    return measured


def _calling(store: Callable[[], object], calls: int, threads: int) -> Measurement:
    start = threading.Barrier(threads + 1)

    def call() -> None:
        for _ in range(WARM_UP):
            store()
        start.wait()
        for _ in range(calls):
            store()

    callers = [threading.Thread(target=call) for _ in range(threads)]
    for caller in callers:
        caller.start()
    start.wait()
    started = perf_counter()
    for caller in callers:
        caller.join()
    return {"rate": threads * calls / (perf_counter() - started)}


def bare(params: Params) -> Measurement:
    """What the disk does for a single writer: encode, append, sync."""
    log = _BareLog(Path(params["folder"], "bare.log"))
    return _calling(log.store, params["calls"], 1)


def bare_eight(params: Params) -> Measurement:
    """What eight threads of Python can get from sharing a sync, with nothing else to do: the group commit of textbooks."""
    log = _BareLog(Path(params["folder"], "bare-eight.log"))
    return _calling(log.store_shared, params["calls"], 8)


class _BareLog:
    """A file that messages are appended to. Nothing reads it, nothing is removed from it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        self._changed = threading.Condition()
        self._written = self._synced = 0
        self._syncing = False

    def store(self) -> None:
        """Append and sync, in one thread."""
        payload = orjson.dumps(MESSAGE)
        os.write(self._descriptor, struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)
        os.fdatasync(self._descriptor)

    def store_shared(self) -> None:
        """Append; whoever finds no sync under way syncs for all."""
        payload = orjson.dumps(MESSAGE)
        record = struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
        changed = self._changed
        with changed:
            os.write(self._descriptor, record)
            self._written += 1
            mine = self._written
            while self._synced < mine:
                if self._syncing:
                    changed.wait()
                    continue
                self._syncing, reached = True, self._written
                changed.release()
                try:
                    os.fdatasync(self._descriptor)
                finally:
                    changed.acquire()
                self._syncing, self._synced = False, reached
                changed.notify_all()
