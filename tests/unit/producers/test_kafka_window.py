"""Callbacks for what the client has: each finds its message, and serves again."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError

from standpipe.core.errors import NotSent
from standpipe.delivery.report import Report
from standpipe.producers.kafka_errors import translate
from standpipe.producers.kafka_window import Window
from tests.unit.producers.batches import batch_of, given


class Heard(Report):
    """Notes which messages it was told about, in that order."""

    def __init__(self, count: int) -> None:
        super().__init__(batch_of(given(*[{"n": n} for n in range(count)])), 0.0, lambda report: None)
        self.positions_told: list[int] = []

    def delivered(self, position: int, detail: Any = None) -> None:
        self.positions_told.append(position)
        super().delivered(position, detail)


def make(count: int) -> tuple[Window, Heard]:
    return Window(translate, details=True), Heard(count)


def test_each_callback_finds_its_message_in_any_order() -> None:
    window, report = make(5)
    for callback in reversed(window.take(report, 5)[:5]):
        callback(None, None)
    assert report.positions_told == [4, 3, 2, 1, 0]
    assert report.all_arrived


def test_callbacks_serve_again_and_no_two_messages_share_one() -> None:
    window, report = make(100)
    seen = set()
    for _ in range(20):
        first, second = window.take(report, 100), window.take(report, 65)
        assert not {id(callback) for callback in first} & {id(callback) for callback in second}
        seen |= {id(first), id(second)}
        for callback in first[:100] + second[:65]:
            callback(None, None)
    assert len(seen) == 2
    assert len(report.positions_told) == 20 * 165


def test_callbacks_serve_another_batch_only_after_the_last_message_of_theirs() -> None:
    window, report = make(2)
    first, second = window.take(report, 2)[:2]
    second(None, None)
    other = window.take(report, 2)
    assert first not in other
    first(None, None)
    assert window.take(report, 2)[0] is first


def test_small_batches_do_not_keep_large_blocks() -> None:
    window, report = make(1)
    assert [len(window.take(report, count)) for count in (1, 2, 3, 4, 5, 1000)] == [1, 2, 4, 4, 8, 1024]


def test_an_error_is_told_by_its_meaning() -> None:
    window, report = make(1)
    window.take(report, 1)[0](KafkaError(KafkaError._PURGE_QUEUE), None)
    assert isinstance(report.result(0), NotSent)
