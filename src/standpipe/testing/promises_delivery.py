"""Promises about messages when nothing goes wrong: they arrive, as they are, in order, whatever is in them."""

from __future__ import annotations

import random
import threading
from typing import Any

from standpipe.core.errors import EncodingError, MessageTooLarge
from standpipe.delivery.receipt import State
from standpipe.producers.base import BaseProducer
from standpipe.testing.promise import promise
from standpipe.testing.trial import Broken, NotApplicable, Trial, alive, canonical, last_error, shown

LARGE_BYTES = 2**20
"""Of the large message that most destinations take: the limit of Kafka and NATS, so that it may just be too much."""
FIRST_MESSAGE = "the first message"
QUIET_SECONDS = 0.1
"""How long a producer that nobody has given anything is watched."""


@promise("nothing-early", "nothing is connected and no thread is started before the first message")
def nothing_early(trial: Trial) -> None:
    """Also shutting down a producer that was never used does nothing."""
    threads = set(threading.enumerate())
    address = trial.subject.address()
    proxy = trial.proxy() if address is not None else None
    producer = trial.producer(trial.subject.through(proxy.port) if proxy is not None else None)
    trial.wait_for(lambda: trial.faults.counts["connect"], QUIET_SECONDS)
    started = [thread.name for thread in threading.enumerate() if thread not in threads and "fault-proxy" not in thread.name]
    trial.expect(not started, f"a thread was started before the first message: {', '.join(started)}")
    trial.expect(not any(trial.faults.counts.values()), "a method was called before the first message")
    trial.expect(proxy is None or not proxy.statistics().accepted, "a connection was opened before the first message")
    trial.shut_down(producer, 1.0, "never used")
    trial.expect(not trial.faults.counts["connect"], "shutdown of a producer that was never used opened a connection")


@promise("delivers", "what is produced arrives, and what counts as delivered is there at once")
def delivers(trial: Trial) -> None:
    """Without any fault; each message alone, then many together."""
    producer = trial.producer()
    first = trial.send(producer)
    trial.settle(producer, FIRST_MESSAGE)
    if not first.delivered:
        raise Broken(f"{FIRST_MESSAGE} was {first.state.value}{last_error(producer.statistics())}")
    for number in range(10):
        trial.send(producer, is_error=number % 2 == 1).wait(trial.patience)
        trial.nothing_is_missing("read at once after the receipt", at_once=True)
    trial.send_many(producer, 200, keys=7)
    trial.delivered(producer, "200 messages together")
    trial.conserved(producer)


@promise("bytes", "odd and large messages arrive exactly as they are, or are refused with a reason; others are not harmed")
def bytes_are_kept(trial: Trial) -> None:
    """Empty, nested, Unicode, numbers at their limits, control characters, a mebibyte of text, many fields."""
    producer = trial.producer()
    _refuses_nan(trial, producer)
    for name, payload in odd_payloads(trial.chance).items():
        trial.send(producer)
        _whole_or_refused(trial, producer, name, trial.subject.with_payload(trial.message(), payload))
    _whole_or_refused(trial, producer, "an empty message", {})
    trial.send(producer)
    _judge_odd(trial, producer)


@promise("oversize", "a message that is too large is put aside with a reason, or arrives; it does not hold up others")
def oversize(trial: Trial) -> None:
    """Among others, with and without keys."""
    producer = trial.producer()
    trial.send_many(producer, 20, keys=3)
    _whole_or_refused(trial, producer, "an oversize message", trial.subject.oversize(trial.run, -1))
    trial.send_many(producer, 20, keys=3)
    _judge_odd(trial, producer)


@promise("refusal", "a message that is refused for good becomes a dead letter with its reason; others are not harmed")
def refusal(trial: Trial) -> None:
    """The destination itself must refuse it, so the subject has to know such a message."""
    poison = trial.subject.refused(trial.run, -1)
    if poison is None:
        raise NotApplicable("no message is known that the destination refuses; the subject's `refused` may name one")
    producer = trial.producer()
    trial.send_many(producer, 20, keys=3)
    receipt = trial.send(producer, poison)
    trial.send_many(producer, 20, keys=3)
    trial.settle(producer, "with a message among them that is refused")
    trial.expect(receipt.state is State.DEAD_LETTERED, f"the message to be refused was {receipt.state.value}")
    letters = [letter for letter in producer.dead_letters if letter.id == receipt.message_id]
    trial.expect(len(letters) == 1 and letters[0].error, "the dead letter does not say why the message was refused")
    trial.sent[:] = [sent for sent in trial.sent if sent.receipt is not receipt]
    trial.none_but_delivered("beside a message that is refused")
    trial.nothing_is_missing("beside a message that is refused")


@promise("errors-told-apart", "error and normal messages can be told apart where they arrive")
def errors_told_apart(trial: Trial) -> None:
    """As the destination has them."""
    producer = trial.producer()
    trial.send_many(producer, 12)
    trial.delivered(producer, "error and normal messages")
    arrivals = trial.arrivals()
    if arrivals is None:
        raise NotApplicable("the destination cannot be read; the subject's `read_back` may do it")
    flags = {canonical(arrival.message): arrival.is_error for arrival in arrivals}
    if set(flags.values()) == {None}:
        raise NotApplicable("what is read back does not say which are error messages")
    for sent in trial.sent:
        found = flags[canonical(sent.message)]
        trial.expect(found is sent.is_error, f"{shown(sent.message)} was produced with is_error={sent.is_error} and arrived as {found}")


@promise("order", "messages of one key arrive in the order in which they were produced, through failures and reconnects")
def order(trial: Trial) -> None:
    """While sends fail at random before and after the message has gone."""
    producer = trial.producer()

    def fail_sometimes(call: Any) -> None:
        if call.method == "send" and trial.chance.random() < 0.15:
            raise ConnectionError("put in by the conformance check")

    trial.faults.before = trial.faults.after = fail_sometimes
    for _ in range(3 if trial.quick else 10):
        trial.send_many(producer, 60, keys=5)
    trial.settle(producer, "while sends fail at random")
    trial.none_but_delivered("while sends fail at random")
    trial.nothing_is_missing("while sends fail at random")
    if trial.arrivals() is None:
        raise NotApplicable("the destination cannot be read; the subject's `read_back` may do it")
    trial.in_order("while sends fail at random")


@promise("one-thread", "its methods are called by one thread only, and never at the same time")
def one_thread(trial: Trial) -> None:
    """Also through resets and at shutdown, with several threads producing."""
    producer = trial.producer()
    callers = [threading.Thread(target=trial.send_many, args=(producer, 30)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    trial.faults.fail("send", ConnectionError("put in by the conformance check"), times=8)
    trial.send_many(producer, 30)
    trial.settle(producer, "with several threads producing")
    trial.shut_down(producer, trial.patience, "with several threads producing")
    trial.expect(not trial.faults.violations, trial.faults.violations[0] if trial.faults.violations else "")
    trial.expect(not alive(producer) or trial.wait_for(lambda: not alive(producer), trial.patience), "the worker did not end")


def odd_payloads(chance: random.Random) -> dict[str, Any]:
    """Values that trip up encoders, by name."""
    return {
        "an empty object": {},
        "100 objects in one another": _nested(100),
        "emoji and combining characters": "👩‍👩‍👧‍👦 é e\u0301 \u202eright to left\u202c ﷽ \U0001f600",
        "control characters": "".join(map(chr, range(32))) + "\x7f\u2028\u2029\ufeff",
        "quotes and line ends": "\"'`\\/\r\n\t%s %d {x} ${y} <a>&amp;</a> -- ; DROP TABLE x",
        "numbers at their limits": [2**63 - 1, -(2**63), 2**64 - 1, 1e308, 5e-324, -0.0, 0.1 + 0.2],
        "an integer too large for most": 10**40,
        "nothing, true and false": [None, True, False, [], "", 0],
        "field names": {"": 1, " ": 2, "a.b": 3, "$id": 4, "ключ": 5, "is_error": "no", "id": None},
        "1,000 fields": {f"field {number}": number for number in range(1000)},
        "a mebibyte of text": "".join(chance.choices("abcdefghijklmnopqrstuvwxyzäöü€", k=1024)) * (LARGE_BYTES // 1024),
    }


def _nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"end": True}
    for _ in range(depth):
        found = {"in": found}
    return found


def _refuses_nan(trial: Trial, producer: BaseProducer) -> None:
    for name, value in {"NaN": float("nan"), "infinity": float("inf"), "a lone surrogate": "\ud800", "bytes": b"x"}.items():
        try:
            producer.produce(False, trial.subject.with_payload(trial.message(), value))
        except EncodingError:
            continue
        raise Broken(f"{name} was accepted; produce must refuse it with EncodingError")


def _whole_or_refused(trial: Trial, producer: BaseProducer, name: str, message: dict[str, Any]) -> None:
    trial.faults.note(f"produce {name}")
    try:
        trial.send(producer, message, odd=True)
    except (EncodingError, MessageTooLarge) as error:
        trial.faults.note(f"refused by produce: {error}")


def _judge_odd(trial: Trial, producer: BaseProducer) -> None:
    trial.settle(producer, "odd messages among others")
    letters = {letter.id: letter for letter in producer.dead_letters}
    for sent in trial.sent:
        if not sent.receipt.delivered:
            letter = letters.get(sent.receipt.message_id)
            trial.expect(sent.odd, f"{shown(sent.message)}, an ordinary message, was {sent.receipt.state.value}{_why(letter)}")
            trial.expect(letter is not None and letter.error, f"{shown(sent.message)} was {sent.receipt.state.value} without a reason")
    trial.nothing_is_missing("odd messages among others")
    trial.conserved(producer)


def _why(letter: Any) -> str:
    return f" ({letter.error})" if letter is not None and letter.error else ""
