"""The contract: what is accepted, what is refused, and what happens when the queue is full."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from standpipe.core.errors import EncodingError, MessageTooLarge, ProducerClosed, QueueFull
from standpipe.delivery.receipt import State
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch
from tests.unit.delivery.scripted import Scripted, ScriptedBatch, check, drive


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message["n"] for message in messages]


# --- what is produced is what is sent ---------------------------------------------------------------------------------


def test_changes_after_produce_do_not_matter() -> None:
    producer = Scripted()
    message: dict[str, Any] = {"n": 1, "list": [1, 2]}
    headers = {"a": "b"}
    producer.produce(False, message, headers=headers)
    message["n"], headers["a"] = 2, "c"
    message["list"].append(3)
    drive(producer)
    assert producer.sent == [{"n": 1, "list": [1, 2]}]


def test_changes_to_the_lists_given_to_produce_many_do_not_matter() -> None:
    seen: list[tuple[list[str | None], list[str]]] = []

    class Keys(ScriptedBatch):
        atomic_batches = True

        def _send_batch(self, batch: Batch) -> Any:
            seen.append((batch.keys(), batch.ids()))
            return super()._send_batch(batch)

    producer = Keys()
    messages, keys, ids = [{"n": 0}, {"n": 1}], ["a", "b"], ["x", "y"]
    producer.produce_many(False, messages, keys=keys, message_ids=ids)
    messages.clear()
    keys[:] = ["z", "z"]
    ids.clear()
    drive(producer)
    assert numbers(producer.sent) == [0, 1]
    assert seen == [(["a", "b"], ["x", "y"])]


def test_a_retry_sends_the_message_as_it_was_produced() -> None:
    def spoil(message: dict[str, Any]) -> None:
        assert message == {"n": 1}
        message["n"] = "spoilt"
        if len(producer.tried) == 1:
            raise OSError("again")

    producer = Scripted(on_send=spoil)
    producer.produce(False, {"n": 1})
    drive(producer)
    assert len(producer.tried) == 2


CIRCULAR: dict[str, Any] = {}
CIRCULAR |= {"a": CIRCULAR, "b": CIRCULAR, "c": [CIRCULAR] * 3}


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"a": {"b": [1, math.nan]}}, "message['a']['b'][1] is nan, which JSON cannot say; send a number, a text or None"),
        ({"a": math.inf}, "message['a'] is inf, which JSON cannot say"),
        ({"a": {1, 2}}, "message['a'] cannot be encoded as JSON: Type is not JSON serializable: set"),
        ({"a": b"bytes"}, "message['a'] cannot be encoded as JSON: Type is not JSON serializable: bytes"),
        ({"a": [{"b": object()}]}, "message['a'][0]['b'] cannot be encoded as JSON"),
        ({"a": "\ud800"}, "message['a'] cannot be encoded as JSON: str is not valid UTF-8"),
        ({"\ud800": 1}, "cannot be encoded as JSON: str is not valid UTF-8"),
        ({1: "a"}, "the key 1 of message cannot be encoded as JSON"),
        ({"a": {None: 1}}, "the key None of message['a'] cannot be encoded as JSON"),
        ({"a": 2**70}, "message['a'] cannot be encoded as JSON: Integer exceeds 64-bit range"),
        (CIRCULAR, "the message cannot be encoded as JSON: Recursion limit reached"),
        ([1, 2], "a message must be a dict, not list"),
        ("text", "a message must be a dict, not str"),
        (None, "a message must be a dict, not NoneType"),
        (7, "a message must be a dict, not int"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
@pytest.mark.parametrize("how", ["produce", "produce_many", "aproduce"])
def test_what_json_cannot_say_fails_in_the_callers_face(how: str, message: Any, complaint: str) -> None:
    producer = Scripted()
    calls: dict[str, Callable[[], object]] = {
        "produce": lambda: producer.produce(False, message),
        "produce_many": lambda: producer.produce_many(False, [{"n": 1}, message, {"n": 2}]),
        "aproduce": lambda: asyncio.run(producer.aproduce(False, message)),
    }
    with pytest.raises(EncodingError) as raised:
        calls[how]()
    assert complaint in str(raised.value)
    assert producer.statistics() == Scripted().statistics()
    assert producer.events == []


def test_none_is_no_fault_although_it_looks_like_what_nan_becomes() -> None:
    producer = Scripted()
    producer.produce(False, {"a": None, "b": "null"})
    producer.produce_many(False, [{"a": None}, {"b": "null"}])
    drive(producer)
    assert producer.sent == [{"a": None, "b": "null"}, {"a": None}, {"b": "null"}]


@pytest.mark.parametrize(
    ("details", "complaint"),
    [
        ({"key": 7}, "the key 7 is int, not text"),
        ({"headers": {"a": 1}}, "the header 'a': 1 is not text to text"),
        ({"headers": {"a": "\ud800"}}, "cannot be encoded as UTF-8"),
        ({"message_id": ""}, "the message id '' is not a text of 1 to 200 characters"),
        ({"message_id": "x" * 201}, "is not a text of 1 to 200 characters"),
        ({"message_id": 5}, "the message id 5 is not a text of 1 to 200 characters"),
    ],
)
def test_details_that_no_destination_could_take_are_refused(details: dict[str, Any], complaint: str) -> None:
    producer = Scripted()
    with pytest.raises(EncodingError, match=complaint):
        producer.produce(False, {"n": 1}, **details)
    assert producer.statistics().accepted == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"messages": []}, "produce_many needs at least one message"),
        ({"messages": [{}], "keys": ["a", "b"]}, "2 keys for 1 messages"),
        ({"messages": [{}], "key": "a", "keys": ["b"]}, "1 keys for 1 messages; give one key per message, or `key` for all"),
        ({"messages": [{}, {}], "message_ids": ["a"]}, "1 message ids for 2 messages"),
    ],
)
def test_produce_many_wants_one_of_each_per_message(arguments: dict[str, Any], complaint: str) -> None:
    producer = Scripted()
    with pytest.raises(EncodingError, match=complaint):
        producer.produce_many(False, **arguments)
    assert producer.statistics().accepted == 0


# --- a full queue -----------------------------------------------------------------------------------------------------


def full(**queue: Any) -> Scripted:
    producer = Scripted(queue={"max_messages": 3, **queue})
    for number in range(3):
        producer.produce(False, {"n": number})
    return producer


def test_on_full_raise_refuses_the_message() -> None:
    producer = full(on_full="raise")
    with pytest.raises(QueueFull, match=r"test: the queue is full \(3 of 3 messages, 21 of 67108864 bytes\); the message was not accepted"):
        producer.produce(False, {"n": 3})
    assert drive(producer).delivered == producer.statistics().accepted == 3


def test_on_full_drop_newest_drops_and_counts_the_new_message() -> None:
    producer = full(on_full="drop_newest")
    receipt = producer.produce(False, {"n": 3})
    assert receipt.state is State.DROPPED
    check(producer.statistics())
    report = drive(producer)
    assert (numbers(producer.sent), report.dropped) == ([0, 1, 2], 1)


def test_on_full_drop_oldest_makes_room_by_dropping_and_counting_the_oldest() -> None:
    producer = full(on_full="drop_oldest")
    receipts = [producer.produce(False, {"n": number}) for number in range(3, 5)]
    check(producer.statistics())
    report = drive(producer)
    assert (numbers(producer.sent), report.dropped) == ([2, 3, 4], 2)
    assert all(receipt.delivered for receipt in receipts)


def test_drop_oldest_drops_only_what_is_not_being_sent() -> None:
    producer = Scripted(queue={"max_messages": 3, "on_full": "drop_oldest"}, sends=[OSError("x")] * 3)
    receipts = [producer.produce(False, {"n": 0}, key="k")]
    producer.clock.at(0.2, lambda: receipts.extend(producer.produce(False, {"n": n}, key="k") for n in range(1, 8)))
    report = drive(producer)
    assert numbers(producer.sent) == [0, 6, 7]
    assert (report.delivered, report.dropped) == (3, 5)
    assert [receipt.state is State.DROPPED for receipt in receipts] == [n in (1, 2, 3, 4, 5) for n in range(8)]


def test_drop_oldest_drops_the_untaken_rest_of_a_produce_many_and_its_receipt_tells() -> None:
    producer = ScriptedBatch(queue={"max_messages": 10, "on_full": "drop_oldest"}, batch={"max_messages": 4})
    receipts = [producer.produce_many(False, [{"n": n} for n in range(10)])]
    producer.on_send = lambda message: receipts.append(producer.produce(False, {"n": 99})) if message["n"] == 0 else None
    drive(producer)
    assert receipts[0].counts == {"queued": 0, "stored": 0, "delivered": 4, "dead_lettered": 0, "dropped": 6, "undelivered": 0}
    assert receipts[0].state is State.DROPPED
    assert numbers(producer.sent) == [0, 1, 2, 3, 99]


@pytest.mark.parametrize("policy", ["block", "raise", "drop_newest", "drop_oldest"])
def test_the_queue_is_bounded_in_bytes_too(policy: str) -> None:
    producer = Scripted(queue={"max_bytes": 100, "on_full": policy, "full_timeout": 0})
    accepted = 0
    for number in range(10):
        try:
            producer.produce(False, {"n": number, "pad": "x" * 20})
            accepted += 1
        except QueueFull:
            assert policy in ("block", "raise")
    now = check(producer.statistics())
    assert now.queue_bytes_max <= 100
    assert now.accepted == accepted
    drive(producer)
    assert producer.statistics().queue_bytes == 0


@pytest.mark.parametrize("policy", ["block", "raise", "drop_newest", "drop_oldest"])
def test_a_message_that_can_never_fit_is_refused_with_the_remedy(policy: str) -> None:
    producer = Scripted(queue={"max_bytes": 50, "max_messages": 2, "on_full": policy})
    with pytest.raises(MessageTooLarge, match=r"can never fit into a queue of 2 messages and 50 bytes; .* raise queue.max_messages"):
        producer.produce(False, {"pad": "x" * 100})
    with pytest.raises(MessageTooLarge):
        producer.produce_many(False, [{}] * 3)
    with pytest.raises(MessageTooLarge):
        asyncio.run(producer.aproduce(False, {"pad": "x" * 100}))
    assert producer.statistics().accepted == 0


def test_produce_many_is_accepted_as_a_whole_or_not_at_all() -> None:
    producer = full(on_full="raise", max_messages=5)
    with pytest.raises(QueueFull, match="the queue is full"):
        producer.produce_many(False, [{"n": n} for n in range(3, 6)])
    assert producer.statistics().accepted == 3
    producer.produce_many(False, [{"n": n} for n in range(3, 5)])
    assert drive(producer).delivered == 5


def test_block_waits_for_room_as_long_as_full_timeout_says() -> None:
    producer = full(full_timeout="2s")
    with pytest.raises(QueueFull, match="the queue is full and stayed so for 2 s"):
        producer.produce(False, {"n": 3})
    assert producer.clock.now == 2.0
    with pytest.raises(QueueFull, match=r"stayed so for 0.5 s"):
        producer.produce_encoded(False, b'{"n":3}', 1, timeout=0.5)
    assert check(producer.statistics()).accepted == 3


def test_block_waits_until_the_worker_has_made_room() -> None:
    producer = Threaded(BaseProducerConfig(type="real", name="real", queue={"max_messages": 2}))
    for number in range(200):
        producer.produce(False, {"n": number})
    assert producer.shutdown(timeout=10.0).delivered == 200
    assert producer.sent == list(range(200))
    assert producer.statistics().queue_messages_max <= 2


class Threaded(BaseProducer):
    """With its own worker thread."""

    def __init__(self, config: BaseProducerConfig) -> None:
        self.sent: list[int] = []
        super().__init__(config)

    def _connect(self) -> None:
        pass

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self.sent.append(message["n"])

    def _close(self) -> None:
        pass


def test_a_callback_that_produces_into_a_full_queue_is_refused_instead_of_waiting_for_itself() -> None:
    producer = Scripted(queue={"max_messages": 1})
    refused: list[BaseException] = []

    def callback(_: object) -> None:
        producer.produce(False, {"n": 1})
        try:
            producer.produce(False, {"n": 2})
        except QueueFull as error:
            refused.append(error)

    producer.produce(False, {"n": 0}).add_done_callback(callback)
    assert drive(producer).delivered == 2
    assert len(refused) == 1


def test_the_watermarks_keep_the_most_the_queue_ever_held() -> None:
    producer = Scripted()
    for _ in range(7):
        producer.produce(False, {"n": 1})
    drive(producer)
    now = producer.statistics()
    assert (now.queue_messages, now.queue_bytes, now.queue_messages_max, now.queue_bytes_max) == (0, 0, 7, 49)


def test_whoever_watches_for_room_is_woken_also_when_it_was_made_a_moment_before() -> None:
    producer = full()
    woken: list[str] = []
    producer.when_room(lambda: woken.append("first"))
    assert woken == []
    drive(producer)
    producer.when_room(lambda: woken.append("second"))
    assert woken == ["first", "second"]


def test_flush_counts_down_what_was_pending_when_it_began() -> None:
    producer = full()
    assert producer.flush(timeout=1.0) == 3
    assert producer.clock.now == 1.0
    drive(producer)
    assert producer.flush() == 0


def test_closing_is_not_fullness() -> None:
    producer = full(on_full="drop_newest")
    producer.shutdown(timeout=0.0)
    with pytest.raises(ProducerClosed):
        producer.produce(False, {"n": 9})
    assert producer.statistics().dropped == 0
