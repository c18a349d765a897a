"""Many threads at once, shutdown at any moment, and a producer that is fed from its own log."""

from __future__ import annotations

import gc
import logging
import random
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from standpipe.core.errors import ProducerClosed, QueueFull, Reject
from standpipe.core.outcome import Outcome
from standpipe.delivery.dead_letters import MemoryDeadLetters
from standpipe.delivery.receipt import Receipt, State
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch


class Counting(BaseProducer):
    """Counts what arrives; notes what arrives after `closed_for_good` was set."""

    def __init__(self, **settings: Any) -> None:
        self.arrived = 0
        self.late = 0
        self.closed_for_good = False
        super().__init__(BaseProducerConfig.model_validate({"type": "counting", "name": "counting", **settings}))

    def _connect(self) -> None:
        pass

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self.arrived += 1
        self.late += self.closed_for_good

    def _close(self) -> None:
        pass


class CountingBatch(Counting):
    """The same in batches."""

    def _send_batch(self, batch: Batch) -> list[Outcome]:
        self.arrived += len(batch)
        self.late += len(batch) * self.closed_for_good
        return batch.delivered()


@pytest.mark.parametrize("kind", [Counting, CountingBatch])
@pytest.mark.parametrize("seed", range(6))
def test_shutdown_at_any_moment_of_a_storm_accounts_for_every_message(kind: type[Counting], seed: int) -> None:
    rng = random.Random(seed)
    producer = kind(queue={"max_messages": rng.choice([10, 1000, 100_000])})
    accepted = [0] * 8
    receipts: list[list[Receipt]] = [[] for _ in range(8)]

    def storm(index: int) -> None:
        try:
            while True:
                if index % 2:
                    receipts[index].append(producer.produce(False, {"n": index}, key=f"k{index}"))
                    accepted[index] += 1
                else:
                    receipts[index].append(producer.produce_many(False, [{"n": index}] * 5))
                    accepted[index] += 5
        except ProducerClosed:
            pass

    threads = [threading.Thread(target=storm, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    threading.Event().wait(rng.random() * 0.2)
    report = producer.shutdown(timeout=rng.choice([0.0, 0.05, 5.0]))
    producer.closed_for_good = True
    for thread in threads:
        thread.join(10.0)
    now = producer.statistics()
    assert now.accepted == sum(accepted) == report.delivered + report.undelivered
    assert report.delivered <= producer.arrived <= report.delivered + report.possible_duplicates
    assert (len(report.messages), producer.late) == (report.undelivered, 0)
    states = {receipt.state for group in receipts for receipt in group}
    assert states <= {State.DELIVERED, State.UNDELIVERED}


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns five hundred times as often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_threads")
def test_a_message_that_races_with_shutdown_is_either_refused_or_accounted_for() -> None:
    outcomes: dict[str, int] = {"refused": 0, "delivered": 0, "handed back": 0}
    head_start = 100.0  # turns of an empty loop before shutdown: follows what the machine needs, so that neither side always wins
    for turn in range(2000):
        producer = Counting()
        barrier = threading.Barrier(2)
        results: list[Receipt | None] = []

        def produce(producer: Counting = producer, barrier: threading.Barrier = barrier, results: list[Receipt | None] = results) -> None:
            barrier.wait()
            try:
                results.append(producer.produce(False, {"n": 1}))
            except ProducerClosed:
                results.append(None)

        thread = threading.Thread(target=produce)
        thread.start()
        barrier.wait()
        for _ in range(int(head_start)):
            pass
        report = producer.shutdown(timeout=5.0 if turn % 2 else 0.0)
        thread.join()
        (receipt,) = results
        head_start *= 1.2 if receipt is None else 0.85
        if receipt is None:
            outcomes["refused"] += 1
            assert report.delivered == report.undelivered == 0
        else:
            outcomes["delivered" if report.delivered else "handed back"] += 1
            assert report.delivered + report.undelivered == 1
            assert receipt.state is (State.DELIVERED if report.delivered else State.UNDELIVERED)
    assert outcomes["refused"], outcomes
    assert outcomes["delivered"] + outcomes["handed back"], outcomes


def test_statistics_taken_from_another_thread_always_add_up() -> None:
    producer = Counting(queue={"max_messages": 500})
    stop = threading.Event()
    wrong: list[Any] = []

    def look() -> None:
        while not stop.is_set():
            now = producer.statistics()
            if now.queue_messages != now.pending or now.accepted != now.delivered + now.pending or not 0 <= now.pending <= 500:
                wrong.append(now)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(20_000):
        producer.produce(False, {"n": number})
    producer.shutdown(timeout=10.0)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_order_per_key_holds_through_random_failures_with_real_threads() -> None:
    rng = random.Random(7)
    arrived: list[tuple[int, int]] = []

    class Unreliable(Counting):
        def _send(self, is_error: bool, message: dict[str, Any]) -> None:
            if rng.random() < 0.2:
                raise OSError("now and then")
            arrived.append((message["k"], message["n"]))

    producer = Unreliable(retry={"initial": 0.0001, "max": 0.001})

    def storm(key: int) -> None:
        for number in range(300):
            producer.produce(False, {"k": key, "n": number}, key=str(key))

    threads = [threading.Thread(target=storm, args=(key,)) for key in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert producer.flush(timeout=20.0) == 0
    assert producer.shutdown(timeout=10.0).complete
    for key in range(5):
        assert [n for k, n in arrived if k == key] == list(range(300))


# --- fed from its own log ---------------------------------------------------------------------------------------------


class Feeding(logging.Handler):
    """Hands every record to a producer, as people write it."""

    def __init__(self, producer: BaseProducer) -> None:
        super().__init__(logging.DEBUG)
        self.producer = producer
        self.refused = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            receipt = self.producer.produce(record.levelno >= logging.ERROR, {"text": record.getMessage()})
        except (QueueFull, ProducerClosed):
            self.refused += 1
        else:
            receipt.add_done_callback(lambda _: 1 // 0)


@pytest.mark.parametrize("answer", [Reject("no"), OSError("down"), None], ids=["rejects", "fails", "takes"])
@pytest.mark.parametrize("on_full", ["block", "raise", "drop_oldest", "drop_newest"])
def test_a_producer_fed_from_the_root_logger_neither_hangs_nor_feeds_itself(answer: Exception | None, on_full: str) -> None:
    class Answering(Counting):
        def _send(self, is_error: bool, message: dict[str, Any]) -> None:
            super()._send(is_error, message)
            if answer is not None:
                raise answer

    producer = Answering(max_retries=1, retry={"initial": 0.001, "max": 0.01}, queue={"max_messages": 20, "on_full": on_full})
    handler, root = Feeding(producer), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logger = logging.getLogger("application")
    try:

        def storm() -> None:
            for number in range(100):
                logger.info("line %d", number)

        threads = [threading.Thread(target=storm) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10.0)
            assert not thread.is_alive(), "deadlock"
        producer.flush(timeout=0.2)
        accepted = producer.statistics().accepted
        threading.Event().wait(0.1)
        assert producer.statistics().accepted - accepted < 100, "it feeds itself"  # a few lines of its resets
        began = time.monotonic()
        producer.shutdown(timeout=1.0)
        assert time.monotonic() - began < 10.0
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert producer.statistics().accepted + handler.refused >= 300


def test_a_log_handler_blocked_by_a_full_queue_does_not_stop_the_worker_from_logging() -> None:
    """The worker wants to log through a handler whose lock is held by a thread that waits for the worker to make room."""
    gate = threading.Event()

    class Slow(Counting):
        def _send(self, is_error: bool, message: dict[str, Any]) -> None:
            gate.wait(10.0)
            raise Reject("no")

    producer = Slow(queue={"max_messages": 1})
    handler, logger = Feeding(producer), logging.getLogger("standpipe")
    producer.produce(False, {"n": 1})
    logger.addHandler(handler)
    try:
        thread = threading.Thread(target=lambda: logging.getLogger("standpipe.application").warning("into the full queue"))
        thread.start()
        thread.join(5.0)
        assert not thread.is_alive()
        gate.set()
        assert producer.flush(timeout=5.0) == 0
    finally:
        logger.removeHandler(handler)
        gate.set()
        producer.shutdown(timeout=5.0)
    assert handler.refused >= 1


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Counting, CountingBatch])
def test_memory_stays_flat_over_hundreds_of_thousands_of_messages(kind: type[Counting]) -> None:
    producer = kind(queue={"max_messages": 1000})
    store = producer.dead_letters
    assert isinstance(store, MemoryDeadLetters)
    message = {"text": "x" * 200, "n": 1}

    def produce(number: int) -> None:
        for _ in range(number // 10):
            producer.produce(False, message, key="k", headers={"a": "b"})
            producer.produce_many(False, [message] * 9)
        assert producer.flush(timeout=30.0) == 0
        gc.collect()

    produce(10_000)
    tracemalloc.start()
    try:
        produce(10_000)
        before = tracemalloc.get_traced_memory()[0]
        produce(60_000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    produce(220_000)
    assert producer.shutdown(timeout=10.0).delivered == 300_000
    assert grown < 1_000_000, f"{grown} bytes more after 60,000 messages"
