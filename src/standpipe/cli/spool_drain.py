"""Delivering what waits in one spool."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import Any

from standpipe.cli.dead_stores import Place
from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.log_options import LogFormat, LogLevel
from standpipe.cli.log_output import logging_to
from standpipe.cli.options import near
from standpipe.cli.output import number_of, say, show, show_json
from standpipe.cli.stop_signals import StopSignals
from standpipe.delivery.statistics import ShutdownReport
from standpipe.producers.base import BaseProducer
from standpipe.producers.config import SpoolConfig

TICK = 0.1
"""Seconds between two looks at whether it is empty; signals are heard at once."""


def drain_producer(place: Place, name: str, timeout: float | None, *, json: bool, verbose: bool) -> ExitCode:
    """Start the producer, wait until its spool is empty, tell what became of the messages; DELIVERED when none is left.

    Raises CommandFailed, and SpoolInUse when a running process delivers them already.
    """
    producer = _producer(place, name)
    level = LogLevel.INFO if verbose else LogLevel.WARNING
    with StopSignals() as signals, logging_to(sys.stderr, LogFormat.HUMAN, level):
        producer.start()
        waiting = producer.statistics().accepted  # nobody hands over anything else
        if waiting and not json:
            say(f"{name}: {number_of(waiting, 'message')} waiting, delivering them")
        empty = _drained(producer, signals, timeout)
        error = producer.statistics().last_error
        report = producer.shutdown(None if empty else 0)
    left = report.spooled + report.undelivered
    if json:
        show_json(_entry(name, waiting, report, error))
    else:
        show(f"{name}: {_in_words(report, left)}")
        if left:
            say(f"standpipe: {name}: {number_of(left, 'message')} left, kept in the spool; {_why(error, bool(signals.received))}")
    return ExitCode.UNDELIVERED if left else ExitCode.DELIVERED


def _producer(place: Place, name: str) -> BaseProducer:
    plan = place.plan
    if plan is None:
        raise CommandFailed("draining needs the configuration of the producer; name it with --config", ExitCode.USAGE)
    if name not in plan.producers:
        raise CommandFailed(f"{plan.path}: there is no producer named {name!r}; {near(name, list(plan.producers))}", ExitCode.USAGE)
    kind, config = plan.producers[name]
    if not isinstance(config.queue, SpoolConfig) and config.queue.on_full != "spill":
        raise CommandFailed(f"{name}: its queue is in memory, there is nothing to drain", ExitCode.USAGE)
    producer = kind(config)
    producer.keep_state_in(place.state_dir)
    return producer


def _drained(producer: BaseProducer, signals: StopSignals, timeout: float | None) -> bool:
    """Wait until nothing is pending; False after `timeout` or a signal."""
    until = float("inf") if timeout is None else time.monotonic() + timeout
    while producer.flush(TICK):
        if time.monotonic() >= until or signals.wait(0):
            return False
    return True


def _in_words(report: ShutdownReport, left: int) -> str:
    parts = [f"{report.delivered:,} delivered"]
    if report.dead_lettered:
        parts.append(f"{report.dead_lettered:,} put aside (`standpipe dead list` shows them)")
    if report.dropped:
        parts.append(f"{report.dropped:,} dropped")
    parts.append(f"{left:,} left" if left else "the spool is empty")
    return ", ".join(parts)


def _why(error: str | None, stopped: bool) -> str:
    if stopped:
        return "stopped by a signal"
    return f"the last error was {error}" if error else "there was no error, only too little time; give it more with --timeout"


def _entry(name: str, waiting: int, report: ShutdownReport, error: str | None) -> dict[str, Any]:
    counts = {key: value for key, value in asdict(report).items() if isinstance(value, int)}
    return {"producer": name, "waiting": waiting, **counts, "left": report.spooled + report.undelivered, "last_error": error}
