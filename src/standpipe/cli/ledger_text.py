"""The ledger in words: what became of every message, and for whatever was not delivered who, why and what now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from standpipe.agents.base import BaseAgent
from standpipe.app.application import Application
from standpipe.app.ledger import Ledger, LedgerRow
from standpipe.cli.output import number_of, table
from standpipe.core.dead_letter import DeadLetter
from standpipe.core.errors import StandpipeError
from standpipe.pipelines.lane import LaneStatistics
from standpipe.producers.base import BaseProducer
from standpipe.spool.dead_letter_table import LetterFilter
from standpipe.spool.dead_letters import SqliteDeadLetters

LETTERS_READ = 10_000
"""Stored dead letters that are looked at for their reasons: the three most common ones are told, not an exact count of all."""


def ledger_lines(ledger: Ledger) -> list[str]:
    """The tables of producers and pipelines, and whether it all adds up."""
    lines = table(
        ("producer", "accepted", "delivered", "dead-lettered", "dropped", "pending"),
        [(row.producer, row.accepted, row.delivered, row.dead_lettered, row.dropped, row.pending) for row in ledger.rows],
    )
    if ledger.lanes:
        lines += ["", *_lane_table(ledger)]
    return [*lines, "", _verdict(ledger)]


def _lane_table(ledger: Ledger) -> list[str]:
    header = ("pipeline", "agent", "read", "left out", "unrouted")
    return table(header, [(lane.pipeline, lane.agent, lane.read, lane.left_out, lane.unrouted) for lane in ledger.lanes], text_columns=2)


def _verdict(ledger: Ledger) -> str:
    wrong = [row.producer for row in ledger.rows if not row.adds_up]
    if wrong:
        return f"It does NOT add up for {', '.join(wrong)}: please report this."
    if ledger.all_delivered:
        return "It adds up: every accepted message is accounted for, and all were delivered."
    return "It adds up: every accepted message is accounted for, but not all were delivered."


def trouble_lines(application: Application, ledger: Ledger) -> list[str]:
    """One line for each thing that went wrong: whose it is, why, and what to do."""
    lines = [f"pipeline {lane.pipeline!r} stopped reading {lane.agent!r}: {lane.failed}" for lane in ledger.lanes if lane.failed]
    for row in ledger.rows:
        lines += _producer_trouble(application, row)
    for lane, statistics in zip(application.lanes, ledger.lanes, strict=True):
        if statistics.unacknowledged:
            lines.append(_unacknowledged(statistics, lane.agent))
    return lines


def _producer_trouble(application: Application, row: LedgerRow) -> Iterator[str]:
    producer = application.producers[row.producer]
    if row.pending:
        error = producer.statistics().last_error
        why = f"the last error was {error}" if error else "there was no error, only too little time; give it more with --timeout"
        report = application.reports.get(row.producer)
        kept = report.spooled if report is not None else 0
        if kept:
            yield f"producer {row.producer!r} keeps {number_of(kept, 'message')} on the disk for its next start; {why}"
        if row.pending > kept:
            yield f"producer {row.producer!r} left {number_of(row.pending - kept, 'message')} undelivered; {why}"
    if row.dead_lettered:
        reasons = Counter(
            f"{letter.reason.value}: {letter.error}" if letter.error else letter.reason.value for letter in _letters(producer, application)
        )
        shown = "; ".join(f"{number} {reason}" for reason, number in reasons.most_common(3))
        yield f"producer {row.producer!r} dead-lettered {number_of(row.dead_lettered, 'message')}{f' ({shown})' if shown else ''}"
    if row.dropped:
        yield (
            f"producer {row.producer!r} dropped {number_of(row.dropped, 'message')}, as its queue's `on_full: "
            f"{producer.config.queue.on_full}` says; a larger queue or `on_full: block` drops none"
        )


def _letters(producer: BaseProducer, application: Application) -> Iterable[DeadLetter]:
    """Those of this run: a store on disk has those of former ones as well."""
    store = producer.dead_letters
    if not isinstance(store, SqliteDeadLetters):
        return store
    try:
        return store.find(LetterFilter(since=application.built_at), LETTERS_READ)
    except (StandpipeError, OSError):  # they were stored and counted; that they cannot be read now must not spoil the ledger
        return ()


def _unacknowledged(lane: LaneStatistics, agent: BaseAgent) -> str:
    if agent.remembers:
        return f"agent {lane.agent!r} will read what was not settled again on the next run of pipeline {lane.pipeline!r}"
    return f"agent {lane.agent!r} of pipeline {lane.pipeline!r} cannot read again what was not settled"


def note_lines(ledger: Ledger) -> list[str]:
    """What an operator may want to know although nothing is lost: changed, cut or unrouted messages, troubles of the sources."""
    return [f"{lane.pipeline}: {note}" for lane in ledger.lanes for note in _lane_notes(lane)]


def _lane_notes(lane: LaneStatistics) -> Iterator[str]:
    source = lane.source
    if lane.unrouted:
        yield f"{number_of(lane.unrouted, 'message')} took no route; a last route with `otherwise: true` takes them"
    if source.errors:
        yield f"agent {lane.agent!r} met {number_of(source.errors, 'problem')}; the last: {source.last_error}"
    if source.truncated_lines:
        yield f"{number_of(source.truncated_lines, 'line')} longer than `max_line_bytes` were cut"
    if source.invalid_lines:
        yield f"{number_of(source.invalid_lines, 'line')} had bytes that are not in the configured encoding; they were replaced"
    for step in lane.steps:
        if step.errors and step.type == "parse":
            yield f"{number_of(step.errors, 'message')} could not be parsed"
        elif step.errors:
            yield f"an expression of step `{step.type}` had no result for {number_of(step.errors, 'message')}"
        if step.dropped:
            yield f"step `{step.type}` dropped {number_of(step.dropped, 'message')}, as its `on_error: drop` says"
    for route in lane.routes:
        if route.unencodable:
            yield f"{number_of(route.unencodable, 'message')} to {route.to!r} could not be encoded as JSON and went on as error messages"
        if route.oversized:
            yield f"{number_of(route.oversized, 'message')} to {route.to!r} were larger than its whole queue"
        if route.expression_errors:
            yield f"an expression of the route to {route.to!r} had no result {number_of(route.expression_errors, 'time')}"
