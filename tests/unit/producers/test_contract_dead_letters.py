"""The contract: messages put aside, receipts, callbacks, and the statistics in every snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import SecretStr

from standpipe.core.errors import Disconnected, ProducerClosed, Reject, RetryAfter
from standpipe.delivery.dead_letters import TRACEBACK_MAX, DeadLetter, MemoryDeadLetters, Reason
from standpipe.delivery.receipt import Receipt, State
from standpipe.producers.base import BaseProducerConfig
from tests.unit.delivery.scripted import AtomicBatch, Scripted, ScriptedBatch, check, drive

WALL = 1_800_000_000.0


class SecretConfig(BaseProducerConfig):
    password: SecretStr = SecretStr("hunter22")


class Flaky(MemoryDeadLetters):
    """Refuses the first `failures` calls."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.calls = 0

    def add(self, letters: Sequence[DeadLetter]) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise OSError("the disk is full")
        super().add(letters)


def letters_of(producer: Scripted) -> list[DeadLetter]:
    return list(producer.dead_letters)


def test_a_dead_letter_says_everything_about_its_message() -> None:
    producer = Scripted(sends=[OSError("x"), OSError("y"), Reject("no such topic")])
    receipt = producer.produce(True, {"n": 1}, key="k", headers={"a": "b"})
    producer.clock.advance(5.0)
    drive(producer)
    (letter,) = letters_of(producer)
    assert letter.traceback is not None
    assert "no such topic" in letter.traceback
    assert letter == DeadLetter(
        id=receipt.message_id,
        producer="test",
        destination="scripted:test",
        reason=Reason.REJECTED,
        is_error=True,
        payload=b'{"n":1}',
        key="k",
        headers={"a": "b"},
        error="Reject: no such topic",
        traceback=letter.traceback,
        attempts=3,
        accepted_at=WALL,
        first_attempt_at=WALL + 5.0,
        last_attempt_at=letter.last_attempt_at,
    )
    assert letter.last_attempt_at == pytest.approx(WALL + 5.3)


def test_secrets_reach_neither_dead_letters_nor_statistics_nor_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "standpipe")
    error = Reject("login hunter22 refused by https://user:pw@example.org/x")
    producer = Scripted(sends=[OSError("hunter22"), error], connects=[OSError("hunter22")], config=SecretConfig(type="s", name="test"))
    producer.produce(False, {"n": 1})
    drive(producer)
    (letter,) = letters_of(producer)
    everything = f"{letter.error} {letter.traceback} {producer.statistics()} {caplog.text}"
    assert "hunter22" not in everything
    assert "user:pw" not in everything
    assert "refused by https://" in str(letter.error)


def test_an_endless_traceback_is_cut() -> None:
    def deep(level: int) -> None:
        if not level:
            raise Reject("x" * 100_000)
        deep(level - 1)

    producer = Scripted(on_send=lambda message: deep(100))
    producer.produce(False, {"n": 1})
    drive(producer)
    (letter,) = letters_of(producer)
    assert len(letter.traceback or "") <= TRACEBACK_MAX
    assert len(letter.error or "") <= 500


@pytest.mark.parametrize("kind", [Scripted, ScriptedBatch, AtomicBatch])
def test_a_message_expires_when_it_has_waited_longer_than_its_deadline(kind: type[Scripted]) -> None:
    producer = kind(on_send=fail, deadline="10s")
    receipts = [producer.produce(False, {"n": n}, key="k") for n in range(3)]
    drive(producer)
    assert {receipt.state for receipt in receipts} == {State.DEAD_LETTERED}
    letters = letters_of(producer)
    assert sorted(letter.content()["n"] for letter in letters) == [0, 1, 2]
    assert {letter.reason for letter in letters} == {Reason.EXPIRED}
    assert all(letter.last_attempt_at - WALL == pytest.approx(10.0, abs=0.01) for letter in letters)


def test_an_expired_dead_letter_keeps_the_history_of_its_attempts() -> None:
    producer = Scripted(on_send=fail, deadline="1s")
    producer.produce(False, {"n": 0})
    drive(producer)
    (letter,) = letters_of(producer)
    assert letter.attempts == producer.statistics().attempts == 4
    assert letter.first_attempt_at == WALL


@pytest.mark.parametrize("accepted_at", [0.0, 15.0, 50.0])
def test_a_message_expires_also_during_the_long_wait_for_a_connection(accepted_at: float) -> None:
    expired: list[float] = []
    producer = Scripted(connects=[OSError("down")] * 10_000, deadline="5s")
    producer.clock.at(
        accepted_at,
        lambda: producer.produce(False, {"n": 1}).add_done_callback(lambda _: expired.append(producer.clock.now)),
    )
    drive(producer, seconds=200.0)
    assert expired == [pytest.approx(accepted_at + 5.0, abs=0.01)]


def test_a_message_expires_during_the_pause_of_retry_after() -> None:
    producer = Scripted(sends=[RetryAfter(1000)] * 2, deadline="5s")
    producer.produce(False, {"n": 1})
    drive(producer, seconds=100.0)
    assert [letter.reason for letter in letters_of(producer)] == [Reason.EXPIRED]


def test_only_the_old_messages_of_a_waiting_batch_expire() -> None:
    producer = AtomicBatch(results=[Disconnected()] + [OSError("x")] * 30, deadline="5s")
    producer.produce(False, {"n": 0}, key="k")
    producer.clock.at(3.0, lambda: producer.produce(False, {"n": 1}, key="k"))
    drive(producer, seconds=6.0, timeout=100.0)
    now = check(producer.statistics())
    assert (now.delivered, now.dead_lettered) in ((0, 2), (1, 1))
    assert letters_of(producer)[0].content()["n"] == 0


@pytest.mark.parametrize("failures", [1, 3])
def test_a_message_whose_dead_letter_cannot_be_stored_is_kept_and_tried_again(failures: int) -> None:
    store = Flaky(failures)
    producer = Scripted(on_send=refuse, dead_letters=store)
    receipt = producer.produce(False, {"n": 1})
    seen: list[State] = []
    producer.clock.at(1.0, lambda: seen.append(receipt.state))
    report = drive(producer)
    assert seen == [State.QUEUED]
    assert (report.dead_lettered, len(store)) == (1, 1)
    assert producer.times("send") == [5.0 * n for n in range(failures + 1)]


def test_expired_messages_whose_dead_letters_cannot_be_stored_do_not_make_the_worker_spin() -> None:
    store = Flaky(5)
    producer = Scripted(connects=[OSError("down")] * 10_000, deadline="1s", dead_letters=store)
    for number in range(3):
        producer.produce(False, {"n": number}, key="k")
    drive(producer, seconds=200.0)
    assert (len(store), store.calls) == (3, 6)
    assert len(producer.clock.waits) < 100


def test_dead_letters_in_memory_are_bounded_and_the_loss_is_counted() -> None:
    store = MemoryDeadLetters(max_letters=10, max_bytes=60)
    producer = Scripted(on_send=refuse, dead_letters=store)
    for number in range(25):
        producer.produce(False, {"n": number})
    drive(producer)
    assert [letter.content()["n"] for letter in store] == list(range(25))[-len(store) :]
    assert (len(store), store.dropped) == (7, 18)  # eight bytes each
    assert len(store.clear()) == 7
    assert list(store) == []


# --- receipts and callbacks -------------------------------------------------------------------------------------------


def test_callbacks_run_once_the_message_is_settled_and_at_once_when_it_was() -> None:
    producer = Scripted()
    seen: list[State] = []
    receipt = producer.produce(False, {"n": 1})
    receipt.add_done_callback(lambda r: seen.append(r.state))
    assert seen == []
    drive(producer)
    receipt.add_done_callback(lambda r: seen.append(r.state))
    assert seen == [State.DELIVERED] * 2


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_callbacks_that_raise_change_nothing_and_are_counted(error: BaseException) -> None:
    producer = ScriptedBatch()
    seen: list[int] = []

    def raises(_: Receipt) -> None:
        raise error

    for number in range(3):
        receipt = producer.produce(False, {"n": number})
        receipt.add_done_callback(raises)
        receipt.add_done_callback(lambda r: seen.append(1))
    assert drive(producer).delivered == 3
    assert (len(seen), producer.statistics().observer_failures) == (3, 3)
    assert producer.statistics().attempts == 3


def test_failing_callbacks_are_one_line_in_the_log_not_one_per_message(caplog: pytest.LogCaptureFixture) -> None:
    producer = Scripted()
    for number in range(100):
        producer.produce(False, {"n": number}).add_done_callback(lambda _: 1 / 0)
    drive(producer)
    assert len([line for line in caplog.messages if "callback" in line]) == 1


def test_callbacks_may_produce() -> None:
    producer = Scripted()
    producer.produce(False, {"n": 0}).add_done_callback(lambda _: producer.produce(False, {"n": 1}))
    assert drive(producer).delivered == 2


def test_waiting_again_and_again_leaves_nothing_behind() -> None:
    producer = Scripted()
    receipt = producer.produce(False, {"n": 1})
    for _ in range(100):
        assert receipt.wait(timeout=0.0) is State.QUEUED
    assert receipt._more is not None
    assert receipt._more.watchers == []
    producer.shutdown(timeout=0.0)


def test_a_callback_that_waits_for_another_message_does_not_wait_for_itself() -> None:
    producer = Scripted()
    states: list[State] = []
    first, second = producer.produce(False, {"n": 0}), producer.produce(False, {"n": 1})
    first.add_done_callback(lambda _: states.append(second.wait()))
    first.add_done_callback(lambda _: producer.flush())
    assert drive(producer).delivered == 2
    assert states == [State.QUEUED]


def test_message_ids_are_unique_and_stay_the_same_in_every_attempt() -> None:
    seen: list[list[str]] = []

    class Ids(AtomicBatch):
        def _send_batch(self, batch: Any) -> Any:
            seen.append(batch.ids())
            return super()._send_batch(batch)

    producer = Ids(results=[OSError("x"), Disconnected()])
    receipts = [producer.produce(False, {"n": 1}), producer.produce_many(False, [{"n": 2}, {"n": 3}])]
    expected = [message_id for receipt in receipts for message_id in receipt.message_ids]
    drive(producer)
    assert len(set(expected)) == 3
    assert [message_id for ids in seen for message_id in ids if message_id in expected[1:]].count(expected[1]) >= 2
    assert {message_id for ids in seen for message_id in ids} == set(expected)


def test_the_receipt_of_several_messages_has_the_gravest_of_their_states() -> None:
    producer = ScriptedBatch(on_message=lambda message: Reject("bad") if message["n"] == 2 else None)
    receipt = producer.produce_many(False, [{"n": n} for n in range(5)])
    drive(producer)
    assert receipt.state is State.DEAD_LETTERED
    assert receipt.counts == {"queued": 0, "stored": 0, "delivered": 4, "dead_lettered": 1, "dropped": 0, "undelivered": 0}
    assert isinstance(receipt.error, Reject)
    assert repr(receipt).startswith("<Receipt 5 messages from ")


def test_a_settled_receipt_keeps_no_payload() -> None:
    producer = ScriptedBatch(batch={"max_messages": 3})
    receipts = [producer.produce(False, {"n": 1}), producer.produce_many(False, [{"n": n} for n in range(10)])]
    drive(producer)
    assert [receipt._payload for receipt in receipts] == [b"", b""]
    assert receipts[1]._more is not None
    assert receipts[1]._more.lines is None


# --- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Scripted, ScriptedBatch, AtomicBatch])
@pytest.mark.parametrize("ordering", ["key", "fifo", "none"])
def test_every_snapshot_adds_up(kind: type[Scripted], ordering: str) -> None:
    snapshots = 0

    def look(message: dict[str, Any]) -> None:
        nonlocal snapshots
        snapshots += 1
        check(producer.statistics())
        if message["n"] in next_errors:
            raise next_errors.pop(message["n"])

    next_errors: dict[int, BaseException] = {3: OSError("x"), 7: Reject("y"), 11: RetryAfter(1), 12: Disconnected()}
    producer = kind(on_send=look, ordering=ordering, queue={"max_messages": 15, "on_full": "drop_oldest"})
    receipts = [producer.produce(False, {"n": n}, key=f"k{n % 3}") for n in range(20)]
    for receipt in receipts:
        receipt.add_done_callback(lambda _: check(producer.statistics()))
    report = drive(producer)
    now = check(producer.statistics())
    assert (now.accepted, now.pending, now.dropped) == (20, 0, 5)
    assert report.delivered + report.dead_lettered == 15
    assert producer.statistics().observer_failures == 0
    assert snapshots >= 15


def test_statistics_say_when_and_why() -> None:
    producer = Scripted(sends=[OSError("first"), OSError("second")])
    producer.produce(False, {"n": 1})
    drive(producer, seconds=60.0)
    now = producer.statistics()
    assert now.last_error == "OSError: second"
    assert now.last_error_at == pytest.approx(WALL + 0.1)
    assert now.last_success_at == pytest.approx(WALL + 0.3)
    assert now.as_dict()["breaker"] == "closed"


def test_the_outcome_of_a_message_produced_while_shutting_down_is_an_error() -> None:
    producer = Scripted()

    def late(_: Receipt) -> None:
        producer.produce(False, {"n": 2})

    producer.produce(False, {"n": 1}).add_done_callback(late)
    report = drive(producer, seconds=0.0)
    assert report.delivered in (1, 2)
    with pytest.raises(ProducerClosed):
        producer.produce(False, {"n": 3})


def fail(message: dict[str, Any]) -> None:
    raise OSError("down")


def refuse(message: dict[str, Any]) -> None:
    raise Reject("never")
