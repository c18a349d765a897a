"""The process under test: a producer with a spool that notes every event for the oracle. It is told what to do by a `Plan`.

As a program it is a nursery: it has everything imported and forks a child for each plan that it is told on standard input,
so that a new process costs milliseconds. It answers with the child's process id and, once that is dead, with its exit code.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from standpipe.core.errors import StandpipeError
from standpipe.delivery.batch import Batch
from standpipe.producers.base import BaseProducer
from standpipe.producers.config import BaseProducerConfig, BatchConfig, RetryConfig, SpoolConfig
from tests.integration.spool.oracle import RUN, EventFile, digest_of, key_of, text_of

BATCH = 50
"""Most messages in a batch of the destination that takes batches."""

REFUSED = 3
"""Exit code of a process that could not start its producer."""


@dataclass
class Plan:
    """What a process does. Times are seconds."""

    spool: str
    events: str
    run: int = 0
    durability: str = "written"
    segment_bytes: int = 65_536
    sync_interval: float = 1.0
    max_bytes: int = 2**30
    on_full: str = "block"
    full_timeout: float | None = None
    batches: bool = False
    messages: int = 10**9
    """how many to produce before it drains and ends"""
    at_once: int = 1
    """how many are handed over by one call"""
    pause: float = 0.0
    """between two calls"""
    threads: int = 1
    failing: float = 0.0
    """share of the sends that fail"""
    down: bool = False
    """every send fails"""
    slow: float = 0.0
    """what a send takes"""
    slow_answer: float = 0.0
    """what a send takes after the messages have arrived"""
    drain: float = 30.0
    stubborn: bool = False
    """try again for ever when `produce` raises"""
    gate: str = ""
    """a named pipe to read from before anything is done"""

    def as_json(self) -> str:
        """For a pipe or a command line."""
        return json.dumps(asdict(self))


class Destination(BaseProducer):
    """Delivers to the event file."""

    atomic_batches: ClassVar[bool] = True  # one `write`: what a kill leaves of it is its beginning

    def __init__(self, plan: Plan, events: EventFile) -> None:
        self.plan = plan
        self.events = events
        self.random = random.Random()
        queue = SpoolConfig(
            type="spool",
            path=plan.spool,
            durability=plan.durability,
            segment_bytes=plan.segment_bytes,
            sync_interval=plan.sync_interval,
            max_bytes=plan.max_bytes,
            on_full=plan.on_full,
            full_timeout=plan.full_timeout,
        )
        batch = BatchConfig(max_messages=BATCH)
        retry = RetryConfig(initial=0.002, max=0.02)
        super().__init__(BaseProducerConfig(type="oracle", name="oracle", queue=queue, batch=batch, retry=retry, reconnect_wait=0.02))

    def _connect(self) -> None:
        pass

    def _close(self) -> None:
        pass

    def _trouble(self) -> None:
        if self.plan.slow:
            time.sleep(self.plan.slow)
        if self.plan.down or self.random.random() < self.plan.failing:
            raise ConnectionError("the destination is down")

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self._trouble()
        self.events.write(f"V {message['n']} - {digest_of(message['text'])}")


class BatchDestination(Destination):
    """The same for batches; it also sees the ids."""

    def _send_batch(self, batch: Batch) -> Any:
        self._trouble()
        contents = zip(batch.contents(), batch.ids(), strict=True)
        self.events.write(*(f"V {message['n']} {message_id} {digest_of(message['text'])}" for message, message_id in contents))
        time.sleep(self.plan.slow_answer)
        return batch.delivered()


class _Noted(logging.Handler):
    """Warnings and errors, for the oracle."""

    def __init__(self, events: EventFile) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().replace("\n", " | ")
        if record.exc_info is not None:
            text += f" [{record.exc_info[1]!r}]"
        self._events.write(f"L {record.levelname} {text}")


def run(plan: Plan) -> int:
    """Do what the plan says; returns the exit code."""
    if plan.gate:
        with open(plan.gate, "rb") as gate:
            gate.read(1)
    events = EventFile(plan.events)
    events.write(f"S {plan.run}")
    logging.getLogger("standpipe").addHandler(_Noted(events))
    producer = BatchDestination(plan, events) if plan.batches else Destination(plan, events)
    try:
        producer.start()
    except StandpipeError as error:
        events.write(f"L REFUSED {type(error).__name__}: {error}")
        return REFUSED
    events.write(f"B {producer.statistics().accepted}")
    _produce_from_threads(producer, plan, events)
    producer.flush(plan.drain)
    report = producer.shutdown(plan.drain)
    events.write(
        "R " + json.dumps({"report": {**asdict(report), "messages": len(report.messages)}, "now": producer.statistics().as_dict()})
    )
    return 0


def _produce_from_threads(producer: Destination, plan: Plan, events: EventFile) -> None:
    others = [threading.Thread(target=_produce, args=(producer, plan, events, index), daemon=True) for index in range(1, plan.threads)]
    for thread in others:
        thread.start()
    _produce(producer, plan, events, 0)
    for thread in others:
        thread.join()


def _produce(producer: Destination, plan: Plan, events: EventFile, thread: int) -> None:
    # Each thread has numbers of its own residue, and with it keys of its own as long as there are not more threads than keys.
    number = plan.run * RUN + thread
    end = number + plan.messages * plan.threads
    step = plan.threads
    while number < end:
        numbers = range(number, min(end, number + plan.at_once * step), step)
        _hand_over(producer, events, numbers, plan.stubborn)
        number = numbers.stop
        if plan.pause:
            time.sleep(plan.pause)


def _hand_over(producer: Destination, events: EventFile, numbers: range, stubborn: bool) -> None:
    events.write(*(f"A {number}" for number in numbers))
    messages = [{"n": number, "text": text_of(number)} for number in numbers]
    while True:
        try:
            if len(messages) == 1:
                receipt = producer.produce(numbers[0] % 2 == 0, messages[0], key=key_of(numbers[0]))
            else:
                receipt = producer.produce_many(False, messages, keys=[key_of(number) for number in numbers])
        except StandpipeError as error:
            events.write(*(f"X {number} {type(error).__name__}: {error}" for number in numbers))
            if not stubborn:
                return
            time.sleep(0.005)
        else:
            now = time.monotonic()
            events.write(*(f"K {number} {name} {now}" for number, name in zip(numbers, receipt.message_ids, strict=True)))
            return


def nursery() -> None:
    """Fork a child for each line of standard input, wait for it, go on with the next."""
    for line in sys.stdin:
        plan = Plan(**json.loads(line))
        pid = os.fork()
        if not pid:
            _be_a_child(plan)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _be_a_child(plan: Plan) -> None:
    code = 70
    try:
        os.close(0)
        random.seed()
        code = run(plan)
    except BaseException as error:
        EventFile(plan.events).write(f"L CRASHED {error!r}")
        raise
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(run(Plan(**json.loads(sys.argv[1]))))
    nursery()
