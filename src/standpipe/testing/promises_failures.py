"""Promises about messages when things go wrong: the service refuses, hangs, is slow, cuts connections; calls raise anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from standpipe.core.errors import Disconnected, NotSent, Reject, RetryAfter
from standpipe.delivery.receipt import Receipt
from standpipe.delivery.statistics import ProducerStatistics
from standpipe.producers.base import BaseProducer
from standpipe.testing.fault_proxy import FaultProxy
from standpipe.testing.promise import promise
from standpipe.testing.trial import SEND_TIMEOUT, Broken, NotApplicable, Trial, last_error

NOTICED_AFTER = 6.0
"""Seconds beyond `send_timeout` in which a dead connection must be noticed: for a client that only looks now and then."""
REFUSED_SECONDS = 1.0
"""How long connections are refused when the client hides from us that they are."""


@promise("refused-connections", "while connections are refused nothing counts as delivered; afterwards everything arrives")
def refused_connections(trial: Trial) -> None:
    """Before the first connection, and again after the service has gone away."""
    proxy, producer = _working(trial)
    for what in ("while the service is gone", "while it is gone again"):
        trial.faults.note("proxy: refuse, cut")
        proxy.refuse()
        proxy.cut()
        receipts = trial.send_many(producer, 20, keys=3)
        _wait_refused(trial, producer)
        _none_delivered(trial, receipts, what)
        proxy.accept()
        trial.delivered(producer, "after the service came back")


@promise("refused-at-first", "a service that is not there yet when the first message is produced is waited for")
def refused_at_first(trial: Trial) -> None:
    """Nothing counts as delivered before it is there."""
    _working(trial)
    proxy, producer = trial.proxied()
    proxy.refuse()
    receipts = trial.send_many(producer, 20, keys=3)
    _wait_refused(trial, producer)
    _none_delivered(trial, receipts, "before the service was there")
    proxy.accept()
    trial.delivered(producer, "after the service came up")


@promise("cuts", "connections cut anywhere, in the middle of a send or of an answer, lose nothing and reorder nothing")
def cuts(trial: Trial) -> None:
    """At random bytes, by reset and in order, in both directions."""
    proxy, producer = _working(trial)
    for _ in range(8 if trial.quick else 40):
        direction: Any = trial.chance.choice(("to_upstream", "to_client"))
        how: Any = trial.chance.choice(("rst", "fin"))
        count = trial.chance.choice((0, trial.chance.randrange(50), trial.chance.randrange(3000)))
        trial.faults.note(f"proxy: cut_after({count}, {how!r}, direction={direction!r})")
        proxy.cut_after(count, how, direction=direction)
        trial.send_many(producer, 20, keys=3)
        trial.settle(producer, "while connections are cut")
    proxy.heal()
    trial.delivered(producer, "while connections were cut")
    trial.in_order("while connections were cut")


@promise("lost-answers", "a message whose answer is lost is sent again; it counts as delivered only when that is acknowledged")
def lost_answers(trial: Trial) -> None:
    """Everything the service says is swallowed, then the connection is reset."""
    if trial.subject.at_most_once:
        raise NotApplicable("the destination acknowledges nothing")
    proxy, producer = _working(trial)
    trial.faults.note("proxy: black_hole(direction='to_client')")
    proxy.black_hole(direction="to_client")
    receipts = trial.send_many(producer, 10, keys=3)
    passed = proxy.statistics().to_upstream
    trial.wait_for(lambda: proxy.statistics().to_upstream > passed, REFUSED_SECONDS)
    _none_delivered(trial, receipts, "although every answer was lost")
    proxy.heal()
    trial.delivered(producer, "after answers were lost")


@promise(
    "hanging-sends", "a connection that is dead without a word is noticed within send_timeout; nothing sent into it counts as delivered"
)
def hanging_sends(trial: Trial) -> None:
    """A half-open peer: everything is taken, nothing passed on, nothing answered."""
    _goes_dead(trial, lambda proxy: proxy.black_hole(), "a half-open peer")


@promise("frozen-peer", "a peer that stops reading is noticed within send_timeout; nothing it has not confirmed counts as delivered")
def frozen_peer(trial: Trial) -> None:
    """As by SIGSTOP: connections stay open, and are accepted."""
    _goes_dead(trial, lambda proxy: proxy.stop_reading(), "a frozen peer")


@promise("slow-peer", "a slow connection loses nothing")
def slow_peer(trial: Trial) -> None:
    """Delayed by 20 ms, and some 100 kB/s."""
    proxy, producer = _working(trial)
    proxy.delay(0.02, jitter=0.02)
    proxy.throttle(100_000)
    for _ in range(5):
        trial.send(producer).wait(trial.patience)
        if not trial.subject.at_most_once:
            trial.nothing_is_missing("over a slow connection, read at once after the receipt", at_once=True)
    trial.send_many(producer, 30 if trial.quick else 100, keys=5)
    trial.delivered(producer, "over a slow connection")
    trial.in_order("over a slow connection")


@promise("garbled-answers", "an answer that cannot be understood does not end delivery")
def garbled_answers(trial: Trial) -> None:
    """Bits of what the service says are flipped; afterwards new messages arrive."""
    proxy, producer = _working(trial)
    trial.faults.note("proxy: corrupt(3, direction='to_client')")
    proxy.corrupt(3, direction="to_client")
    with trial.forgetting():
        receipts = trial.send_many(producer, 10)
        receipts[0].wait(REFUSED_SECONDS)
    proxy.heal()
    proxy.cut()
    trial.send_many(producer, 10)
    trial.delivered(producer, "after answers were garbled")
    trial.conserved(producer)


@promise("any-exception", "whatever a call raises, before or after the message has gone, loses nothing and does not end delivery")
def any_exception(trial: Trial) -> None:
    """Also SystemExit, KeyboardInterrupt and MemoryError, from connecting and from sending."""
    producer = trial.producer()
    kinds: list[Callable[[], BaseException]] = [
        lambda: ConnectionResetError(104, "put in by the conformance check"),
        lambda: TimeoutError("put in by the conformance check"),
        lambda: ValueError("put in by the conformance check"),
        lambda: MemoryError(),
        lambda: SystemExit(1),
        lambda: KeyboardInterrupt(),
        lambda: Disconnected("put in by the conformance check"),
        lambda: RetryAfter(0.01),
    ]

    def fail_sometimes(call: Any) -> None:
        if call.method != "close" and trial.chance.random() < 0.2:
            raise trial.chance.choice(kinds)()

    trial.faults.before = trial.faults.after = fail_sometimes
    for _ in range(2 if trial.quick else 8):
        trial.send_many(producer, 40, keys=5)
    trial.settle(producer, "while calls raise anything")
    trial.faults.heal()
    trial.none_but_delivered("while calls raise anything")
    trial.nothing_is_missing("while calls raise anything")
    trial.conserved(producer)


@promise("partial-failures", "a message that cannot be sent concerns nobody else, in the same batch or after it")
def partial_failures(trial: Trial) -> None:
    """One message that is rejected, and one that fails some times, among many that wait for the connection together."""
    producer = trial.producer()
    hang = trial.faults.hang("connect")
    bad, slow = trial.message(), trial.message()
    tries = [0]

    def fail(call: Any) -> None:
        if bad in call.messages and call.report is not None:
            call.report.failed(call.messages.index(bad), Reject("put in by the conformance check"))
        elif bad in call.messages:
            raise Reject("put in by the conformance check")
        if slow in call.messages and len(call.messages) == 1 and tries[0] < 3:
            tries[0] += 1
            raise NotSent("put in by the conformance check")

    trial.faults.before = fail
    trial.send_many(producer, 20)
    rejected = trial.send(producer, bad, odd=True)
    trial.send(producer, slow)
    trial.send_many(producer, 20)
    hang.release()
    trial.settle(producer, "with a bad message among them")
    trial.expect(rejected.state.value == "dead_lettered", f"the rejected message was {rejected.state.value}")
    trial.expect([letter.content() for letter in producer.dead_letters] == [bad], "the dead letters are not just the rejected message")
    trial.sent[:] = [sent for sent in trial.sent if not sent.odd]
    trial.none_but_delivered("beside a bad message")
    trial.nothing_is_missing("beside a bad message")


# --- how ----------------------------------------------------------------------------------------------------------------


def _working(trial: Trial) -> tuple[FaultProxy, BaseProducer]:
    """A proxy and a producer whose messages get through it. Not applicable if they do not, or go around it."""
    proxy, producer = trial.proxied()
    receipt = trial.send(producer)
    receipt.wait(trial.patience)
    if not receipt.delivered:
        raise NotApplicable(f"no message gets through a proxy{last_error(producer.statistics())}")
    if not trial.wait_for(lambda: proxy.statistics().to_upstream, REFUSED_SECONDS):
        raise NotApplicable("messages go around the proxy; the subject may say how they can be led through it")
    return proxy, producer


def _wait_refused(trial: Trial, producer: BaseProducer) -> None:
    """Until connecting has failed twice more; some clients hide that they connect."""
    failures = producer.statistics().connect_failures
    trial.wait_for(lambda: producer.statistics().connect_failures > failures + 1, REFUSED_SECONDS)


def _none_delivered(trial: Trial, receipts: list[Receipt], what: str) -> None:
    if trial.subject.at_most_once:
        return
    claimed = sum(receipt.delivered for receipt in receipts)
    trial.expect(not claimed, f"{what}: {claimed} of {len(receipts)} messages count as delivered and cannot have been confirmed")


def _goes_dead(trial: Trial, die: Callable[[FaultProxy], None], what: str) -> None:
    """The peer dies while connected; before and after there is life."""
    proxy, producer = _working(trial)
    before = producer.statistics()
    trial.faults.note(f"proxy: {what}")
    die(proxy)
    receipts = trial.send_many(producer, 20, keys=3)
    within = SEND_TIMEOUT + min(NOTICED_AFTER, trial.patience)
    noticed = trial.wait_for(lambda: _has_noticed(before, producer.statistics()) or any(r.delivered for r in receipts), within)
    _none_delivered(trial, receipts, what)
    trial.faults.note(f"noticed: {noticed}; the proxy heals")
    proxy.heal()
    if not noticed and not trial.subject.at_most_once:
        raise Broken(f"{what} was not noticed within {within:g} s, with send_timeout {SEND_TIMEOUT:g} s; a send hangs for ever")
    trial.delivered(producer, f"after {what}")
    trial.in_order(f"after {what}")


def _has_noticed(before: ProducerStatistics, now: ProducerStatistics) -> bool:
    return (before.retries, before.resets, before.connect_failures, before.last_error) != (
        now.retries,
        now.resets,
        now.connect_failures,
        now.last_error,
    )
