"""Callbacks for what the client has: each finds its message, and serves again; reports are told in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from confluent_kafka import KafkaError, Message

from standpipe.core.errors import NotSent
from standpipe.delivery.report import Report
from standpipe.producers.kafka_errors import translate
from standpipe.producers.kafka_window import Callback, Coordinates, Window
from tests.unit.producers.batches import batch_of, given


class Heard(Report):
    """Notes which messages it was told about, in that order; all at once: -1."""

    def __init__(self, count: int) -> None:
        super().__init__(batch_of(given(*[{"n": n} for n in range(count)])), 0.0, lambda report: None)
        self.positions_told: list[int] = []

    def delivered(self, position: int, detail: Any = None) -> None:
        self.positions_told.append(position)
        super().delivered(position, detail)

    def all_delivered(self, details: Sequence[Any] | None = None) -> None:
        self.positions_told.append(-1)
        super().all_delivered(details)


class At:
    """Where a message is, as the client says it."""

    def __init__(self, partition: int, offset: int) -> None:
        self._at = partition, offset

    def partition(self) -> int:
        return self._at[0]

    def offset(self) -> int:
        return self._at[1]


def make(count: int) -> tuple[Window, Heard]:
    return Window(translate, details=True), Heard(count)


def topics(count: int) -> list[str]:
    return [f"t{n}" for n in range(count)]


def arrive(callback: Callback, partition: int = 0, offset: int = 0) -> None:
    callback(None, cast("Message", At(partition, offset)))


def test_each_callback_finds_its_message_in_any_order() -> None:
    window, report = make(5)
    for position, callback in reversed(list(enumerate(window.take(report, topics(5))[:5]))):
        assert not report.complete
        arrive(callback, position, 10 * position)
    assert report.all_arrived
    details = report.details_of(None)
    assert details is not None
    assert list(details) == [{"topic": f"t{n}", "partition": n, "offset": 10 * n} for n in range(5)]
    assert report.details_of([3, 1]) == [details[3], details[1]]


def test_a_batch_that_arrives_whole_is_told_in_one_piece() -> None:
    window, report = make(3)
    for callback in window.take(report, topics(3))[:3]:
        assert report.positions_told == []
        arrive(callback)
    assert report.positions_told == [-1]


def test_what_has_arrived_of_a_batch_is_told_when_asked_for() -> None:
    window, report = make(3)
    first, second, third = window.take(report, topics(3))[:3]
    arrive(second, 7, 8)
    window.tell()
    window.tell()
    assert report.positions_told == [1]
    assert report.details_of(report.arrived()) == [{"topic": "t1", "partition": 7, "offset": 8}]
    arrive(third)
    arrive(first)
    assert report.positions_told == [1, 2, 0]
    assert report.all_arrived


def test_a_failure_is_told_at_once_and_what_has_arrived_with_the_last() -> None:
    window, report = make(3)
    first, second, third = window.take(report, topics(3))[:3]
    arrive(third)
    first(KafkaError(KafkaError._PURGE_QUEUE), None)
    assert isinstance(report.result(0), NotSent)
    assert report.positions_told == []
    second(KafkaError(KafkaError._PURGE_QUEUE), None)
    assert report.complete
    assert report.positions_told == [2]


def test_details_that_nobody_wants_are_not_asked_for() -> None:
    report = Heard(2)
    for callback in Window(translate, details=False).take(report, topics(2)):
        callback(None, cast("Message", object()))
    assert report.all_arrived
    assert report.details_of(None) is None


def test_what_a_block_told_before_stays_when_it_serves_again() -> None:
    window, report = make(2)
    for callback in window.take(report, topics(2)):
        arrive(callback, 1, 1)
    for callback in window.take(Heard(2), ["other"] * 2):
        arrive(callback, 2, 2)
    details = report.details_of(None)
    assert details is not None
    assert list(details) == [{"topic": f"t{n}", "partition": 1, "offset": 1} for n in range(2)]


def test_coordinates_are_a_sequence() -> None:
    made = Coordinates(topics(4), [0, 1, 2, 3], [4, 5, 6, 7])
    assert len(made) == 4
    assert made[-1] == {"topic": "t3", "partition": 3, "offset": 7}
    assert list(made[1:3]) == [made[1], made[2]]


def test_callbacks_serve_again_and_no_two_messages_share_one() -> None:
    window = Window(translate, details=True)
    seen = set()
    for _ in range(20):
        reports = Heard(100), Heard(65)
        first, second = window.take(reports[0], topics(100)), window.take(reports[1], topics(65))
        assert not {id(callback) for callback in first} & {id(callback) for callback in second}
        seen |= {id(first), id(second)}
        for callback in first[:100] + second[:65]:
            arrive(callback)
        assert all(report.all_arrived for report in reports)
    assert len(seen) == 2


def test_callbacks_serve_another_batch_only_after_the_last_message_of_theirs() -> None:
    window, report = make(2)
    first, second = window.take(report, topics(2))[:2]
    arrive(second)
    window.tell()
    other = window.take(Heard(2), topics(2))
    assert first not in other
    arrive(first)
    assert window.take(Heard(2), topics(2))[0] is first


def test_small_batches_do_not_keep_large_blocks() -> None:
    window, report = make(1)
    assert [len(window.take(report, topics(count))) for count in (1, 2, 3, 4, 5, 1000)] == [1, 2, 4, 4, 8, 1024]


def test_an_error_is_told_by_its_meaning() -> None:
    window, report = make(1)
    window.take(report, topics(1))[0](KafkaError(KafkaError._PURGE_QUEUE), None)
    assert isinstance(report.result(0), NotSent)
