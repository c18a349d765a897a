"""The fixtures of the plugin, as users have them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import standpipe.testing
from standpipe.core.errors import Reject
from standpipe.delivery.receipt import State
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.testing import ManualClock, RecordingProducer
from standpipe.testing.pytest_plugin import MakeFaulty


class Listing(BaseProducer):
    def __init__(self, config: BaseProducerConfig) -> None:
        self.sent: list[dict[str, Any]] = []
        super().__init__(config)

    def _connect(self) -> None:
        pass

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def _close(self) -> None:
        pass


CONFIG = BaseProducerConfig.model_validate({"type": "list", "name": "listing", "retry": {"initial": 0.001, "max": 0.001}})


def test_a_recording_producer_keeps_what_it_is_sent(recording_producer: RecordingProducer) -> None:
    recording_producer.produce(False, {"n": 1}, key="a", headers={"h": "v"})
    recording_producer.produce(True, {"n": 2})
    messages = recording_producer.wait_for(lambda found: len(found) == 2)
    assert [(message.content(), message.key, message.headers, message.is_error) for message in messages] == [
        ({"n": 1}, "a", {"h": "v"}, False),
        ({"n": 2}, None, None, True),
    ]
    assert (recording_producer.contents(is_error=False), recording_producer.errors()) == ([{"n": 1}], [{"n": 2}])


def test_a_recording_producer_fails_as_told_and_only_the_message_concerned(recording_producer: RecordingProducer) -> None:
    recording_producer.fail_with([ConnectionError("once"), ConnectionError("twice"), Reject("never")])
    receipts = [recording_producer.produce(False, {"n": n}) for n in range(10)]
    assert recording_producer.flush(5) == 0
    states = [receipt.state for receipt in receipts]
    assert (states.count(State.DEAD_LETTERED), states.count(State.DELIVERED)) == (1, 9)
    delivered = [n for n, state in enumerate(states) if state is State.DELIVERED]
    assert sorted(content["n"] for content in recording_producer.contents()) == delivered


def test_waiting_for_what_does_not_come_says_so(recording_producer: RecordingProducer) -> None:
    with pytest.raises(TimeoutError, match=r"within 0\.01 s; 0 messages have arrived"):
        recording_producer.wait_for(lambda found: len(found) == 1, timeout=0.01)


def test_a_faulty_producer_fails_and_hangs_as_told(faulty: MakeFaulty) -> None:
    producer, faults = faulty(Listing, CONFIG)
    faults.fail("send", ConnectionError("gone"), times=2)
    faults.fail("send", ConnectionError("the answer was lost"), when="after")
    hang = faults.hang("connect")
    receipt = producer.produce(False, {"n": 1})
    assert hang.wait_entered(5)
    assert receipt.state is State.QUEUED
    hang.release()
    assert receipt.wait(5) is State.DELIVERED
    assert isinstance(producer, Listing)
    assert producer.sent == [{"n": 1}, {"n": 1}]
    assert faults.counts["send"] == 4
    assert [line.partition(" s  ")[2] for line in faults.lines()][-3:] == [
        "standpipe-listing _send raised ConnectionError: the answer was lost",
        "standpipe-listing _send {'n': 1}",
        "standpipe-listing _send returned",
    ]


def test_calls_from_a_second_thread_are_noted(faulty: MakeFaulty) -> None:
    producer, faults = faulty(Listing, CONFIG)
    producer.produce(False, {"n": 1}).wait(5)
    other = threading.Thread(target=producer._send, args=(False, {"n": 2}), name="other")
    other.start()
    other.join()
    assert faults.violations == ["_send was called from thread other, which is not the worker"]


def test_a_manual_clock_stands_still(manual_clock: ManualClock) -> None:
    assert manual_clock.monotonic() == manual_clock.monotonic() == 0.0


def test_everything_named_can_be_imported_and_nothing_else() -> None:
    assert all(getattr(standpipe.testing, name) is not None for name in standpipe.testing.__all__)
    with pytest.raises(AttributeError, match="has no 'FaultProxi'; it has: Arrival, "):
        standpipe.testing.FaultProxi  # noqa: B018
