"""One agent of one pipeline at work: read, steps, routes, producers; and acknowledgements back to the agent.

A lane has a thread and waits for no producer: what a full queue cannot take is held, in order, up to `held_max` bytes in all;
only then reading stops (back-pressure). Until then a dead destination stops nobody but its own route.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from standpipe.agents.base import AgentBatch, AgentStatistics, BaseAgent
from standpipe.core.clock import Clock, SystemClock
from standpipe.core.errors import ProducerClosed
from standpipe.delivery.receipt import Receipt, State
from standpipe.pipelines.acknowledge import AckTracker
from standpipe.pipelines.feeder import Feeder
from standpipe.pipelines.records import Records
from standpipe.pipelines.routes import Parcel, Route, assign
from standpipe.pipelines.step import Step, StepStatistics

_log = logging.getLogger("standpipe.pipelines")

READ_WAIT = 0.25
"""Seconds that a lane waits for its agent before it looks after acknowledgements; new data and `stop` end the wait at once."""

OUTSTANDING_MAX = 10_000
"""Chunks read and not acknowledged; at 64 KiB each far more than queues hold, so it only bounds the book-keeping."""


@dataclass(frozen=True)
class RouteStatistics:
    """One route: messages taken so far, those now held for a full queue or a failing disk, and those that had to be changed."""

    to: str
    messages: int
    held: int
    unencodable: int
    oversized: int
    expression_errors: int
    disk_refusals: int = 0


@dataclass(frozen=True)
class LaneStatistics:
    """One agent of one pipeline. `read = left_out + unrouted + those that took at least one route`."""

    pipeline: str
    agent: str
    read: int
    left_out: int
    unrouted: int
    unacknowledged: int
    finished: bool
    failed: str | None
    source: AgentStatistics
    steps: tuple[StepStatistics, ...] = field(default=())
    routes: tuple[RouteStatistics, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Lane:
    """Runs one agent of one pipeline. `start`, `stop`, `join` and `statistics` from any thread. `clock` is for tests."""

    def __init__(
        self,
        pipeline: str,
        agent: BaseAgent,
        steps: list[Step],
        routes: list[tuple[Route, Any]],
        held_max: int,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.agent = agent
        self.failed: str | None = None
        self._steps = steps
        self._held_max = held_max
        self._read = self._left_out = self._unrouted = 0
        only_copy, clock = not agent.remembers, clock if clock is not None else SystemClock()
        self._feeders = [
            Feeder(route, producer, self._parcel_settled, self._wake, clock, only_copy=only_copy) for route, producer in routes
        ]
        self._by_route = {id(feeder.route): feeder for feeder in self._feeders}
        self._tracker: AckTracker[AgentBatch] = AckTracker()
        self._settled: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._room = threading.Event()
        self._stopping = threading.Event()
        self._abort = threading.Event()
        self._drained = threading.Event()
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"standpipe-{pipeline}-{agent.name}", daemon=True)

    # --- life (any thread) --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more; what was read still goes to the producers as far as their queues take it."""
        self._stopping.set()
        self._wake()

    def abort(self) -> None:
        """Give up what is held and what is not settled: the agent will read it again next time."""
        self._stopping.set()
        self._abort.set()
        self._wake()

    def wait_drained(self, timeout: float | None) -> bool:
        """Wait until everything read has been handed over to the producers (or nothing more can be)."""
        return self._drained.wait(timeout)

    def wait_finished(self, timeout: float | None) -> bool:
        """Wait until the lane has ended: stopped, failed, or a finite agent read to its end with everything settled."""
        return self._finished.wait(timeout)

    def join(self, timeout: float | None) -> None:
        """Wait for the thread."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    @property
    def finished(self) -> bool:
        """Whether the lane has ended."""
        return self._finished.is_set()

    def statistics(self) -> LaneStatistics:
        """The counts now."""
        return LaneStatistics(
            pipeline=self.pipeline,
            agent=self.agent.name,
            read=self._read,
            left_out=self._left_out,
            unrouted=self._unrouted,
            unacknowledged=self._tracker.outstanding,
            finished=self.finished,
            failed=self.failed,
            source=self.agent.statistics(),
            steps=tuple(step.statistics() for step in self._steps),
            routes=tuple(_route_statistics(feeder) for feeder in self._feeders),
        )

    # --- the lane's thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except ProducerClosed:
            pass  # shutting down; what was not taken is not acknowledged and will be read again
        except BaseException as error:
            self.failed = f"{type(error).__name__}: {error}"
            _log.critical("%s: the pipeline stops reading %s because of an error", self.pipeline, self.agent.name, exc_info=error)
        finally:
            self._drained.set()
            self._end()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._acknowledge()
            self._catch_up()
            if self._held_bytes() > self._held_max or self._tracker.outstanding >= OUTSTANDING_MAX:
                self._await_room()
                continue
            batch = self.agent.read(READ_WAIT)
            if batch is not None:
                self._process(batch)
            elif self.agent.finished:
                break
        while not self._abort.is_set() and not self._catch_up():
            self._await_room()

    def _end(self) -> None:
        """Acknowledge what the producers settle until all is settled or nobody waits any more, then close the agent."""
        try:
            while self._tracker.outstanding and not self._abort.is_set():
                self._acknowledge(wait=READ_WAIT)
            self._acknowledge()
        finally:
            try:
                self.agent.close()
            except Exception as error:
                self.failed = self.failed or f"{type(error).__name__}: {error}"
                _log.exception("%s: closing agent %s failed", self.pipeline, self.agent.name)
            self._finished.set()

    def _process(self, batch: AgentBatch) -> None:
        records = Records(lines=batch.lines, records=batch.records, extras=batch.extras, source=batch.source)
        number = len(records)
        self._read += number
        for step in self._steps:
            records = step.apply(records)
            if not len(records):
                break
        self._left_out += number - len(records)
        parcels, unrouted = self._parcels(records)
        self._unrouted += unrouted
        ticket = self._tracker.begin(batch, max(1, len(parcels)))
        if not parcels:
            self._release(ticket)
        for feeder, parcel in parcels:
            feeder.feed(parcel, ticket)

    def _parcels(self, records: Records) -> tuple[list[tuple[Feeder, Parcel]], int]:
        assigned, unrouted = assign([feeder.route for feeder in self._feeders], records)
        parcels = [
            (self._by_route[id(route)], piece)
            for route, made in assigned
            for parcel in made
            for piece in self._by_route[id(route)].fitting(parcel)
        ]
        return parcels, unrouted

    def _catch_up(self) -> bool:
        """Hand over what is held; True when nothing is held any more."""
        caught_up = [feeder.catch_up() for feeder in self._feeders]  # each of them, also after one that cannot
        return all(caught_up)

    def _await_room(self) -> None:
        """Wait until a producer has made room, something was settled, or it is time to stop."""
        self._room.wait(READ_WAIT)
        self._room.clear()

    def _held_bytes(self) -> int:
        return sum(feeder.held_bytes for feeder in self._feeders)

    # --- acknowledgements ---------------------------------------------------------------------------------------------

    def _parcel_settled(self, receipt: Receipt, ticket: int) -> None:
        """Called by the producers' workers. What was handed back undelivered is not settled: it will be read again."""
        if receipt.state is not State.UNDELIVERED:
            self._settled.put(ticket)
            if self._stopping.is_set():
                self._wake()

    def _acknowledge(self, wait: float = 0.0) -> None:
        until = time.monotonic() + wait
        while True:
            try:
                ticket = self._settled.get(timeout=max(0.0, until - time.monotonic())) if wait else self._settled.get_nowait()
            except queue.Empty:
                return
            self._release(ticket)
            wait = 0.0

    def _release(self, ticket: int) -> None:
        for batch in self._tracker.settle(ticket):
            self.agent.acknowledge(batch)

    def _wake(self) -> None:
        self._room.set()
        self.agent.interrupt()


def _route_statistics(feeder: Feeder) -> RouteStatistics:
    route = feeder.route
    held, refusals = feeder.held_messages, feeder.disk_refusals
    return RouteStatistics(route.to, route.messages, held, route.unencodable, feeder.oversized, route.errors, refusals)
