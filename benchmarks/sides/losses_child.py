"""`python -m benchmarks.sides.losses_child QUEUE FOLDER produce|drain`: the process that is killed, and the one after it."""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.case import Missing
from benchmarks.sides.destinations import config, in_spool
from benchmarks.sides.losses import DRAIN_WITHIN, MISSING_CODE
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.queues import installed
from standpipe.core.outcome import Outcome
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch

IDLE = 0.001
"""Seconds that a consumer waits when its queue is empty."""


class Account:
    """A file of numbers. What was added is with the operating system: a kill cannot take it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, numbers: Iterable[int]) -> None:
        """Write them down, a line each."""
        os.write(self._descriptor, b"".join(b"%d\n" % number for number in numbers))


class ToAccount(BaseProducer):
    """A destination that writes down what it gets."""

    atomic_batches: ClassVar[bool] = True

    def __init__(self, given: BaseProducerConfig, delivered: Account) -> None:
        self.delivered = delivered
        super().__init__(given)

    def _connect(self) -> None:
        pass

    def _send_batch(self, batch: Batch) -> list[Outcome]:
        self.delivered.add(int(message["number"]) for message in batch.contents())
        return batch.delivered()

    def _close(self) -> None:
        pass


class Queue:
    """One of the queues: `put` returns when the message was accepted; `consume` delivers, until nothing is left if `rest`."""

    def __init__(self, folder: Path, delivered: Account) -> None:
        self.folder = folder
        self.delivered = delivered

    def put(self, message: dict[str, Any]) -> None:
        """Hand over one message."""
        raise NotImplementedError

    def take_one(self) -> bool:
        """Deliver a message and settle it; False if there is none."""
        raise NotImplementedError

    def after_a_crash(self) -> None:
        """What the documentation says has to be done."""

    def start(self) -> None:
        """Deliver, beside the putting."""
        threading.Thread(target=self._consume, daemon=True).start()

    def _consume(self) -> None:
        while True:
            if not self.take_one():
                time.sleep(IDLE)

    def rest(self) -> None:
        """Deliver what is there."""
        self.after_a_crash()
        while self.take_one():
            pass


class Standpipe(Queue):
    """A producer; it delivers by itself."""

    def __init__(self, folder: Path, delivered: Account, given: BaseProducerConfig) -> None:
        super().__init__(folder, delivered)
        self.producer = ToAccount(given, delivered)

    def put(self, message: dict[str, Any]) -> None:
        """`produce`."""
        self.producer.produce(False, message)

    def start(self) -> None:
        """The worker."""
        self.producer.start()

    def rest(self) -> None:
        """What the spool has."""
        self.producer.start()
        self.producer.flush(DRAIN_WITHIN)
        self.producer.shutdown()


def standpipe(durability: str) -> Callable[[Path, Account], Queue]:
    """A producer with a spool, or with a queue in memory."""

    def make(folder: Path, delivered: Account) -> Queue:
        given = config("losses") if durability == "memory" else in_spool("losses", folder / "spool", durability)
        return Standpipe(folder, delivered, given)

    return make


class PersistQueue(Queue):
    """`SQLiteAckQueue`; on opening it makes what was not acknowledged available again."""

    def __init__(self, folder: Path, delivered: Account) -> None:
        super().__init__(folder, delivered)
        module = installed("persistqueue", "persist-queue")
        self.empty = module.exceptions.Empty
        self.queue = module.SQLiteAckQueue(str(folder), multithreading=True)

    def put(self, message: dict[str, Any]) -> None:
        """Commits."""
        self.queue.put(message)

    def take_one(self) -> bool:
        """`get`, deliver, `ack`."""
        try:
            found = self.queue.get(block=False, raw=True)
        except self.empty:
            return False
        self.delivered.add([found["data"]["number"]])
        self.queue.ack(id=found["pqid"])
        return True


class LiteQueue(Queue):
    """`LiteQueue`: a connection for each thread, waiting for each other."""

    def __init__(self, folder: Path, delivered: Account) -> None:
        super().__init__(folder, delivered)
        make = installed("litequeue", "litequeue").LiteQueue
        self.queue, self.taker = (make(folder / "queue.sqlite3", timeout=30) for _ in range(2))

    def put(self, message: dict[str, Any]) -> None:
        """Commits."""
        self.queue.put(json.dumps(message))

    def take_one(self) -> bool:
        """`pop`, deliver, `done`."""
        found = self.taker.pop()
        if found is None:
            return False
        self.delivered.add([json.loads(found.data)["number"]])
        self.taker.done(found.message_id)
        return True

    def after_a_crash(self) -> None:
        """What was popped and not done stays locked until somebody frees it."""
        for found in list(self.taker.list_locked(0)):
            self.taker.retry(found.message_id)


class LogstashAsync(Queue):
    """The logging handler with a database; its worker gives events to the transport in batches."""

    def __init__(self, folder: Path, delivered: Account) -> None:
        super().__init__(folder, delivered)
        module = installed("logstash_async.handler", "python-logstash-async")
        self.handler = module.AsynchronousLogstashHandler("localhost", 0, str(folder / "events.sqlite3"), transport=self)
        self.handler.setFormatter(logging.Formatter("%(message)s"))

    def put(self, message: dict[str, Any]) -> None:
        """As a log record."""
        self.handler.emit(logging.LogRecord("losses", logging.INFO, __file__, 0, json.dumps(message), None, None))

    def send(self, events: list[Any], use_logging: bool = False) -> None:
        """For the worker: the transport."""
        self.delivered.add(json.loads(event)["number"] for event in events)

    def close(self) -> None:
        """For the worker: the transport is closed."""

    def start(self) -> None:
        """Its worker starts with the first record."""

    def rest(self) -> None:
        """The worker starts with a record, and flushes when it is shut down."""
        self.put({"number": -1})
        self.handler.close()


QUEUES: dict[str, Callable[[Path, Account], Queue]] = {
    "written": standpipe("written"),
    "synced": standpipe("synced"),
    "memory": standpipe("memory"),
    "persist_queue": PersistQueue,
    "litequeue": LiteQueue,
    "logstash_async": LogstashAsync,
}


def produce(queue: Queue, accepted: Account) -> None:
    """Until somebody kills us."""
    queue.start()
    for number in itertools.count():
        queue.put({**MESSAGE, "number": number})
        accepted.add([number])


def main(name: str, folder: Path, job: str) -> None:
    """Put and deliver, or deliver the rest."""
    try:
        queue = QUEUES[name](folder, Account(folder / "delivered"))
    except Missing as missing:
        print(json.dumps(str(missing)), file=sys.stderr)
        sys.exit(MISSING_CODE)
    if job == "produce":
        produce(queue, Account(folder / "accepted"))
    else:
        queue.rest()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
