"""One story for every destination: messages flow, something bad happens to the server, it passes, and all is accounted for."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from standpipe.producers.base import BaseProducer
from standpipe.producers.config import AnyQueueConfig, QueueConfig, SpoolConfig
from tests.servers.oracle import Attempt, Found, Oracle
from tests.servers.server import Server

QUICK: dict[str, Any] = {
    "max_retries": 3,
    "retry": {"initial": 0.02, "max": 0.2},
    "reconnect_wait": 0.2,
    "send_timeout": 2.0,
    "shutdown_timeout": 10.0,
}
"""Settings of a producer for these stories: an outage of a second must not become a minute of waiting."""
POLL = 0.02
PARTS = 3
"""The stream has a part before, during and after the trouble."""
FED_WITHIN = 60.0
"""Seconds for one part; it takes a third of a second unless `produce` blocks."""


def kill(server: Server) -> None:
    """It dies, and is started again."""
    server.kill()
    server.start()


def hang(server: Server) -> None:
    """It answers nobody for longer than `QUICK` waits."""
    server.freeze()
    threading.Event().wait(QUICK["send_timeout"] + 0.5)
    server.thaw()


class _Feed:
    """Hands messages over at a modest rate; every third has no key, a share of them are errors."""

    def __init__(self, oracle: Oracle, keys: int, rate: float, error_share: float) -> None:
        self._oracle = oracle
        self._keys, self._rate = keys, rate
        self._error_every = round(1 / error_share) if error_share else 0
        self._run = f"run-{secrets.token_hex(4)}"

    def feed(self, producer: BaseProducer, start: int, end: int) -> None:
        """Numbers `start` to `end` (excluded)."""
        pace = threading.Event()  # never set: it only keeps the rate
        for number in range(start, end):
            self._oracle.attempts.append(self._produce(producer, number))
            pace.wait(1 / self._rate)

    def _produce(self, producer: BaseProducer, number: int) -> Attempt:
        id = f"{self._run}-{number:06}"
        key = None if number % PARTS == 0 else f"key-{number % self._keys}"
        is_error = self._error_every > 0 and number % self._error_every == 0
        message = {"id": id, "number": number, "key": key, "text": "Grüße, 世界 \U0001f6b0", "nested": {"list": [1, 2.5, None, True]}}
        return Attempt(id, key, is_error, message, producer.produce(is_error, message, key=key, message_id=id))


def deliver_through_trouble(
    make: Callable[[AnyQueueConfig], BaseProducer],
    trouble: Callable[[], object],
    read_back: Callable[[], Iterable[Found]],
    *,
    folder: Path,
    messages: int = 300,
    keys: int = 7,
    rate: float = 300.0,
    error_share: float = 0.1,
    queue: Literal["memory", "spool"] = "memory",
    successor: bool = False,
    settle_within: float = 45.0,
) -> Oracle:
    """Run the story and return the oracle, which has read the destination back; then say what you expect: `oracle.check()`.

    `make(queue)` gives a producer that has not been started (see `QUICK`). A third of the messages is handed over before
    `trouble()`, which is called in this thread when some of them have been delivered; a third while it runs; the rest when it has
    returned, with the server well again. All must be settled within `settle_within` seconds of that. Message ids
    are given by the story (`message_id`, and the field `id` of the message), every third message has no key.

    With `queue="spool"` and `successor=True` the first producer is shut down while the trouble is on, with next to no time to
    deliver, and a second one on the same spool does the rest.
    """
    if successor and queue != "spool":
        raise ValueError("only a spool can be taken over by a successor")
    settings: AnyQueueConfig = SpoolConfig(type="spool", path=str(folder / "spool")) if queue == "spool" else QueueConfig()
    oracle = Oracle(carried_over=successor)
    feed = _Feed(oracle, keys, rate, error_share)
    first, second = messages // PARTS, 2 * messages // PARTS
    producer = make(settings)

    def during() -> None:
        feed.feed(producer, first, second)
        if successor:
            producer.shutdown(timeout=0.2)

    try:
        feed.feed(producer, 0, first)
        _wait_until(producer, settle_within, "too little was delivered before the trouble", lambda: _delivered(producer) >= first // PARTS)
        fed = _in_background(during)
        trouble()
        fed()
        if successor:
            producer = make(settings)
        feed.feed(producer, second, messages)
        _wait_until(producer, settle_within, "not all messages were settled in time", lambda: producer.statistics().pending == 0)
    finally:
        report = producer.shutdown(timeout=10.0)
    assert report.complete, f"shutdown left messages behind: {report}"
    return oracle.read(read_back())


def _in_background(work: Callable[[], None]) -> Callable[[], None]:
    """Run it in a thread; the result waits for its end and raises what it raised."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="standpipe-test-feed", daemon=True)
    thread.start()

    def join() -> None:
        thread.join(FED_WITHIN)
        if failures:
            raise failures[0]
        assert not thread.is_alive(), f"produce has been blocked for {FED_WITHIN:g} s"

    return join


def _delivered(producer: BaseProducer) -> int:
    return producer.statistics().delivered


def _wait_until(producer: BaseProducer, within: float, complaint: str, condition: Callable[[], bool]) -> None:
    """Checks conservation at each look."""
    deadline = time.monotonic() + within
    while not condition():
        now = producer.statistics()
        assert now.accepted == now.delivered + now.dead_lettered + now.dropped + now.pending, f"conservation is broken: {now}"
        assert time.monotonic() < deadline, f"{complaint} ({within:g} s): {now}"
        time.sleep(POLL)
