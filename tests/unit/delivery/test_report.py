"""What is said of a batch from several threads at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsIndex

import pytest

from standpipe.core.errors import SendError
from standpipe.delivery.batch import Batch
from standpipe.delivery.report import Report

LATE = SendError("too late")


class Interrupted(list[Any]):
    """A list behind which another thread has its turn, once, when somebody has just looked something up."""

    def __init__(self, values: list[Any], meanwhile: Callable[[], None]) -> None:
        super().__init__(values)
        self._meanwhile: Callable[[], None] | None = meanwhile

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        found = super().__getitem__(index)
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found


def report_on(count: int) -> tuple[Report, list[Report]]:
    told: list[Report] = []
    return Report(Batch([], count), 0.0, told.append), told


def test_a_message_that_two_threads_speak_of_at_once_stands_for_no_other() -> None:
    report, told = report_on(3)
    report._results = Interrupted(report._results, lambda: report.failed(0, LATE))
    report.delivered(0)
    report.delivered(1)  # three times something was said, and the third message is still on its way
    assert not report.complete
    told.clear()
    report.delivered(2)
    assert told == [report]
    assert report.complete
    assert None not in report.results()


def test_details_are_kept_for_those_that_have_one() -> None:
    report, told = report_on(3)
    report.delivered(2, {"offset": 7})
    report.delivered(0)
    assert not told
    report.delivered(1, {"offset": 6})
    assert told == [report]
    assert report.details_of(None) == [None, {"offset": 6}, {"offset": 7}]
    assert report.details_of([2]) == [{"offset": 7}]


def test_nothing_is_kept_when_the_destination_says_nothing() -> None:
    report, _ = report_on(2)
    report.all_delivered()
    assert report.complete
    assert report.all_arrived
    assert report.details_of(None) is None


def test_a_batch_that_arrives_whole_is_told_once() -> None:
    report, told = report_on(3)
    report.all_delivered([{"offset": 5}, {"offset": 6}, {"offset": 7}])
    report.failed(1, LATE)  # too late
    assert told == [report]
    assert report.complete
    assert report.all_arrived
    assert report.details_of([2, 0]) == [{"offset": 7}, {"offset": 5}]


def test_what_was_said_before_stays_when_the_others_arrive() -> None:
    report, told = report_on(3)
    report.failed(1, LATE)
    report.all_delivered([{"offset": 5}, {"offset": 6}, {"offset": 7}])
    assert told == [report, report]
    assert report.result(1) is LATE
    assert report.arrived() == [0, 2]
    assert report.details_of([0, 2]) == [{"offset": 5}, {"offset": 7}]


def test_each_message_has_its_detail_or_none_has() -> None:
    report, told = report_on(3)
    with pytest.raises(ValueError, match="2 details for 3 messages"):
        report.all_delivered([{"offset": 5}, {"offset": 6}])
    assert not told
    assert not report.begun
