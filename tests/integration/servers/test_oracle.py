"""The oracle finds what is wrong: a judge that cannot find fault is worth nothing."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from standpipe.core.errors import Reject
from standpipe.core.outcome import Outcome
from standpipe.producers.base import BaseProducerConfig, Batch
from standpipe.producers.null import NullProducer
from tests.servers.oracle import Attempt, Found, Oracle

KEYS = ("a", "b", None)


@pytest.fixture(scope="module")
def delivered() -> list[Attempt]:
    """Nine messages that were acknowledged, of keys a, b and none in turn."""
    attempts = []
    with NullProducer(BaseProducerConfig(type="null", name="oracle")) as producer:
        for number in range(9):
            message, key = {"number": number}, KEYS[number % 3]
            attempts.append(Attempt(f"m{number}", key, False, message, producer.produce(False, message, key=key)))
    return attempts


def found_of(attempts: list[Attempt]) -> list[Found]:
    return [Found(each.id, each.payload, each.key, each.is_error) for each in attempts]


def test_all_there_once_and_in_order_is_right(delivered: list[Attempt]) -> None:
    oracle = Oracle(delivered).read(found_of(delivered))
    oracle.check()
    assert oracle.summary() == "9 handed over, 9 acknowledged, 9 found: 0 lost, 0 duplicates, 0 out of order"


def test_what_a_reader_cannot_tell_is_not_compared(delivered: list[Attempt]) -> None:
    Oracle(delivered).read([Found(each.id, each.payload) for each in delivered]).check()


def test_keys_may_overtake_each_other_and_messages_without_a_key_anything(delivered: list[Attempt]) -> None:
    by_key = sorted(found_of(delivered), key=lambda found: found.key or "z")
    Oracle(delivered).read(by_key[:6] + by_key[:5:-1]).check()


def test_sending_a_whole_run_again_is_duplicates_and_not_disorder(delivered: list[Attempt]) -> None:
    oracle = Oracle(delivered).read(found_of(delivered[:5] + delivered))
    assert (len(oracle.duplicates), oracle.out_of_order) == (5, [])
    oracle.check(duplicates=5)


FAULTS: dict[str, tuple[Callable[[list[Found]], list[Found]], str]] = {
    "lost": (lambda found: found[1:], r"1 acknowledged but not found \(allowed: 0\): m0"),
    "twice": (lambda found: [*found, found[2]], r"1 found more than once \(allowed: 0\): m2"),
    "overtaken": (lambda found: [found[3], found[0], *found[1:3], *found[4:]], r"1 out of order within their key \(allowed: 0\): m0"),
    "altered": (lambda found: [Found("m0", orjson.dumps({"number": 7})), *found[1:]], "1 found with another payload, key or kind .*: m0"),
    "wrong_key": (lambda found: [Found("m0", found[0].payload, key="b"), *found[1:]], "1 found with another payload, key or kind .*: m0"),
    "wrong_kind": (lambda found: [Found("m0", found[0].payload, is_error=True), *found[1:]], "1 found with another payload.*: m0"),
    "stranger": (lambda found: [*found, Found("x", b"{}")], r"1 found but never handed over \(allowed: 0\): x"),
    "several": (lambda found: found[7:], "7 acknowledged but not found .*: m0, m1, m2, m3, m4, ... 2 more"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found_and_named(fault: str, delivered: list[Attempt]) -> None:
    spoil, complaint = FAULTS[fault]
    with pytest.raises(AssertionError, match=complaint):
        Oracle(delivered).read(spoil(found_of(delivered))).check()


class Refusing(NullProducer):
    """Never delivers."""

    def _send_batch(self, batch: Batch) -> list[Outcome]:
        raise Reject("never")


def test_message_that_was_not_acknowledged_may_be_missing_but_is_told(delivered: list[Attempt]) -> None:
    with Refusing(BaseProducerConfig(type="null", name="oracle")) as producer:
        refused = Attempt("refused", None, False, {}, producer.produce(False, {}))
    oracle = Oracle([*delivered, refused]).read(found_of(delivered))
    oracle.check(unacknowledged=1)
    with pytest.raises(AssertionError, match=r"1 not acknowledged \(allowed: 0\): refused \(dead_lettered\)"):
        oracle.check()


def test_bounds_are_bounds(delivered: list[Attempt]) -> None:
    oracle = Oracle(delivered).read(found_of(delivered)[2:])
    oracle.check(lost=2)
    with pytest.raises(AssertionError, match="2 acknowledged but not found"):
        oracle.check(lost=1)
