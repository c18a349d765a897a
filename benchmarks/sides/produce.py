"""`produce` and its rivals: calls of one thread, in bursts.

While a burst is measured the other end is busy with what it has taken before, as it is with any real destination; after it the
queue is emptied. The sides named `_live` have a consumer that takes messages all the time: then both threads share the interpreter.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from itertools import repeat

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource

from benchmarks.case import Measurement, Params
from benchmarks.sides.bursts import time_bursts
from benchmarks.sides.destinations import Gated, InBatches, config
from benchmarks.sides.message import MESSAGE
from standpipe.producers.base import BaseProducer


def _per_call(params: Params, burst: Callable[[], None], drain: Callable[[], None]) -> Measurement:
    return {"us": time_bursts(burst, drain, params["bursts"]) / params["burst"] * 1e6}


def standpipe(params: Params) -> Measurement:
    """`produce`, the destination busy meanwhile."""
    with Gated(config("produce")) as producer:
        try:
            return _per_call(params, produce_burst(producer, params["burst"]), producer.drain)
        finally:
            producer.gate.set()


def standpipe_live(params: Params) -> Measurement:
    """`produce`, the worker delivering meanwhile."""
    with InBatches(config("produce")) as producer:
        return _per_call(params, produce_burst(producer, params["burst"]), lambda: _flush(producer))


def produce_burst(producer: BaseProducer, count: int) -> Callable[[], None]:
    """So many calls of `produce`."""
    produce = producer.produce

    def burst() -> None:
        for _ in repeat(None, count):
            produce(False, MESSAGE)

    return burst


def _flush(producer: BaseProducer) -> None:
    producer.flush()


def queue_put(params: Params) -> Measurement:
    """`queue.Queue.put`, nobody taking meanwhile."""
    waiting: queue.Queue[object] = queue.Queue()

    def drain() -> None:
        while not waiting.empty():
            waiting.get_nowait()

    return _per_call(params, _put_burst(waiting, params["burst"]), drain)


def queue_put_live(params: Params) -> Measurement:
    """`queue.Queue.put`, a thread taking meanwhile, as people write it."""
    waiting: queue.Queue[object] = queue.Queue()
    consumer = threading.Thread(target=_consume, args=(waiting,), daemon=True)
    consumer.start()
    try:
        return _per_call(params, _put_burst(waiting, params["burst"]), waiting.join)
    finally:
        waiting.put(None)
        consumer.join()


def _put_burst(waiting: queue.Queue[object], count: int) -> Callable[[], None]:
    put = waiting.put

    def burst() -> None:
        for _ in repeat(None, count):
            put(MESSAGE)

    return burst


def _consume(waiting: queue.Queue[object]) -> None:
    while waiting.get() is not None:
        waiting.task_done()


class _GatedExporter(LogRecordExporter):
    """A null exporter that is busy until its gate is opened."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        self.gate.wait()
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        """Nothing is kept."""
        return True

    def shutdown(self) -> None:
        """There is nothing to shut down."""


def otel_on_emit(params: Params) -> Measurement:
    """`BatchLogRecordProcessor.on_emit` of a record that is there already."""
    exporter = _GatedExporter()
    processor = BatchLogRecordProcessor(exporter)
    record = ReadWriteLogRecord(LogRecord(body=MESSAGE["event"], attributes=MESSAGE), Resource.get_empty())
    on_emit = processor.on_emit

    def burst() -> None:
        for _ in repeat(None, params["burst"]):
            on_emit(record)

    return _otel(params, burst, exporter, processor)


def otel_emit(params: Params) -> Measurement:
    """What an application calls: `Logger.emit` of a new record, through the same processor."""
    exporter = _GatedExporter()
    processor = BatchLogRecordProcessor(exporter)
    provider = LoggerProvider(Resource.get_empty(), shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    emit = provider.get_logger("benchmark").emit

    def burst() -> None:
        for _ in repeat(None, params["burst"]):
            emit(LogRecord(body=MESSAGE["event"], attributes=MESSAGE))

    return _otel(params, burst, exporter, processor)


def _otel(params: Params, burst: Callable[[], None], exporter: _GatedExporter, processor: BatchLogRecordProcessor) -> Measurement:
    def drain() -> None:
        exporter.gate.set()
        processor.force_flush()
        exporter.gate.clear()

    try:
        return _per_call(params, burst, drain)
    finally:
        exporter.gate.set()
        processor.shutdown()  # type: ignore[no-untyped-call]
