"""A running configuration: producers by name, pipelines, start and stop order."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from standpipe.agents.base import BaseAgent
from standpipe.app.configuration import Plan, read_plan
from standpipe.app.ledger import Ledger, make_ledger
from standpipe.delivery.breaker import BreakerState
from standpipe.delivery.statistics import ProducerStatistics, ShutdownReport
from standpipe.pipelines.lane import Lane
from standpipe.pipelines.pipeline import build_lanes
from standpipe.producers.base import BaseProducer

_log = logging.getLogger("standpipe.app")

CLOSE_SHARE = 0.3
"""Share of the time of `shutdown` that the producers keep for themselves when a lane still waits for a full queue."""

FLUSH_LOOK = 0.1
"""Seconds between looks whether a destination that still has to get something has gone down."""

STOP_GRACE = 1.0
"""Seconds that a lane gets beyond the producers' deadline to write its last checkpoint."""


class Application(Mapping[str, BaseProducer]):
    """The producers of a configuration by name, and its pipelines.

        with standpipe.load("standpipe.yaml") as app:
            app["events"].produce(False, {"hello": "world"})

    Building it opens the agents and their checkpoints; `start` starts producers and pipelines. Thread-safe.
    """

    def __init__(self, plan: Plan, *, state_dir: str | os.PathLike[str] | None = None) -> None:
        """Raises ConfigurationError when a component cannot work as configured; what was opened is closed again."""
        self.plan = plan
        self.built_at = time.time()
        self.state_dir = plan.state_dir(state_dir)
        self.producers: dict[str, BaseProducer] = {name: kind(config) for name, (kind, config) in plan.producers.items()}
        for producer in self.producers.values():
            producer.keep_state_in(self.state_dir)
        self.lanes: list[Lane] = []
        self.reports: dict[str, ShutdownReport] = {}
        self._lock = threading.Lock()
        self._started = False
        self._stopped = threading.Event()
        opened: list[BaseAgent] = []
        try:
            for pipeline in plan.pipelines:
                agents = [self._open(name, self.state_dir / "checkpoints" / pipeline.name, opened) for name in pipeline.agents]
                self.lanes += build_lanes(pipeline, agents, self.producers)
        except BaseException:
            for agent in opened:
                agent.close()
            raise

    def _open(self, name: str, state: Path, opened: list[BaseAgent]) -> BaseAgent:
        kind, config = self.plan.agents[name]
        agent = kind(config, state=state)
        agent.open()
        opened.append(agent)
        return agent

    # --- producers by name --------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> BaseProducer:
        return self.producers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.producers)

    def __len__(self) -> int:
        return len(self.producers)

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Connect the producers and begin to read. Does nothing when it was started already."""
        with self._lock:
            if not self._started:
                self._started = True
                for producer in self.producers.values():
                    producer.start()
                for lane in self.lanes:
                    lane.start()
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all pipelines have ended (finite agents read to their end, everything settled); False after `timeout`.

        With an agent that never ends, or without pipelines, this waits until `shutdown`.
        """
        until = None if timeout is None else time.monotonic() + timeout
        if not self.lanes:
            return self._stopped.wait(timeout)
        if not all(lane.wait_finished(_left(until)) for lane in self.lanes):
            return False
        # A lane ends when a spool has what it read; what is waited for is that it arrives, if anything does.
        while not self.finished:
            for producer in self.producers.values():
                producer.flush(min(FLUSH_LOOK, FLUSH_LOOK if until is None else _left(until) or 0.0))
            if until is not None and time.monotonic() >= until:
                return self.finished
        return True

    @property
    def finished(self) -> bool:
        """Whether all pipelines have ended and everything they read has arrived, or is kept for a destination that is down."""
        ended = bool(self.lanes) and all(lane.finished for lane in self.lanes)
        return ended and all(_is_done(producer.statistics()) for producer in self.producers.values())

    def shutdown(self, timeout: float | None = None) -> Ledger:
        """Stop reading, deliver what was read, write the checkpoints, close everything; returns the ledger.

        `timeout` (seconds) is for all of it; default: the longest `shutdown_timeout` of the producers. Idempotent.
        """
        if timeout is None:
            timeout = max((producer.config.shutdown_timeout for producer in self.producers.values()), default=0.0)
        with self._lock:
            deadline = time.monotonic() + timeout
            for lane in self.lanes:
                lane.stop()
            if self._started:
                self._drain_lanes(deadline - timeout * CLOSE_SHARE)
            self._shut_producers(deadline)
            self._end_lanes(deadline)
            self._stopped.set()
        return self.ledger()

    def _drain_lanes(self, deadline: float) -> None:
        """What is held for full queues goes to the producers while they still deliver."""
        for lane in self.lanes:
            lane.wait_drained(max(0.0, deadline - time.monotonic()))

    def _shut_producers(self, deadline: float) -> None:
        """All at the same time: none waits for the others."""
        for producer in self.producers.values():
            producer._begin_shutdown(max(0.0, deadline - time.monotonic()))
        for name, producer in self.producers.items():
            self.reports[name] = producer.shutdown(max(0.0, deadline - time.monotonic()))

    def _end_lanes(self, deadline: float) -> None:
        for lane in self.lanes:
            # Everything is settled or never will be: the lane takes what is in its mailbox and closes its agent.
            lane.abort()
            if self._started:
                lane.join(max(0.0, deadline - time.monotonic()) + STOP_GRACE)
            else:
                lane.agent.close()

    def stop_now(self) -> None:
        """Give up what is pending: end every wait at once. For a second signal; `shutdown` (under way or called next) returns."""
        for lane in self.lanes:
            lane.abort()
        for producer in self.producers.values():
            producer._begin_shutdown(0.0)

    def ledger(self) -> Ledger:
        """What became of every message so far."""
        producers = {name: producer.statistics() for name, producer in self.producers.items()}
        return make_ledger(producers, [lane.statistics() for lane in self.lanes])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.shutdown()


def _is_done(now: ProducerStatistics) -> bool:
    # Only a spool can have something pending when the lanes have ended; it keeps it until the destination is back.
    return now.pending == 0 or now.breaker is not BreakerState.CLOSED


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())


def load(path: str | os.PathLike[str], *, state_dir: str | os.PathLike[str] | None = None) -> Application:
    """The producers of a configuration file, started, by name; its pipelines run as well.

    `app = standpipe.load("standpipe.yaml")`, then `app["name"].produce(...)`; end with `app.shutdown()` or use it as a context
    manager. Raises ConfigurationError (ConfigProblems with all problems of the file) before anything is started.
    """
    return Application(read_plan(path), state_dir=state_dir).start()
