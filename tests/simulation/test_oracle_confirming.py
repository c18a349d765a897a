"""The simulation notices what is broken about clients that confirm later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from standpipe.delivery.completion_worker import CompletionWorker
from standpipe.delivery.report import Report
from standpipe.producers.style import settings_of
from tests.simulation.failures import first_failure

Break = Callable[[pytest.MonkeyPatch], None]


def takes_silence_for_a_confirmation(patch: pytest.MonkeyPatch) -> None:
    settle = CompletionWorker._settle_everything

    def gladly(worker: CompletionWorker, error: BaseException) -> None:
        for report in worker._open:
            report.all_delivered()
        settle(worker, error)

    patch.setattr(CompletionWorker, "_settle_everything", gladly)


def forgets_what_was_not_confirmed_when_the_connection_closed(patch: pytest.MonkeyPatch) -> None:
    def forgets(worker: CompletionWorker, error: BaseException) -> None:
        worker._open.clear()
        worker._in_flight = 0

    patch.setattr(CompletionWorker, "_settle_everything", forgets)


def is_not_woken_by_a_report(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CompletionWorker, "_tell", lambda worker, report: worker._told.append(report))


def goes_on_after_a_failure_in_the_middle(patch: pytest.MonkeyPatch) -> None:
    made = CompletionWorker.__init__

    def unordered(worker: CompletionWorker, *given: Any) -> None:
        made(worker, *given)
        worker.ordered = False

    patch.setattr(CompletionWorker, "__init__", unordered)


def hands_over_several_of_a_key_to_a_client_that_keeps_no_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("standpipe.producers.base.settings_of", lambda *given: replace(settings_of(*given), exclusive=not given[1].completion))


def takes_one_message_for_another(patch: pytest.MonkeyPatch) -> None:
    positions = Report.arrived

    def others(report: Report) -> list[int]:
        found = positions(report)
        waiting = [position for position in report.positions() if position not in found]
        return [*found[1:], *waiting[:1]]

    patch.setattr(Report, "arrived", others)


def mixes_up_what_the_destination_said(patch: pytest.MonkeyPatch) -> None:
    details_of = Report.details_of

    def mixed(report: Report, positions: Sequence[int] | None) -> Sequence[Any] | None:
        details = details_of(report, positions)
        return None if details is None else details[::-1]

    patch.setattr(Report, "details_of", mixed)


def tries_again_without_saying_that_it_may_come_twice(patch: pytest.MonkeyPatch) -> None:
    worst = "standpipe.delivery.completion_worker.worst"
    from standpipe.delivery.worker import worst as right

    patch.setattr(worst, lambda verdicts: replace(right(verdicts), outcome=type(right(verdicts).outcome).FAILED))


def waits_for_ever_for_what_was_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CompletionWorker, "_give_up_overdue", lambda worker, now: None)


@pytest.mark.parametrize(
    "breaks",
    [
        takes_silence_for_a_confirmation,
        forgets_what_was_not_confirmed_when_the_connection_closed,
        is_not_woken_by_a_report,
        goes_on_after_a_failure_in_the_middle,
        hands_over_several_of_a_key_to_a_client_that_keeps_no_order,
        takes_one_message_for_another,
        mixes_up_what_the_destination_said,
        tries_again_without_saying_that_it_may_come_twice,
        waits_for_ever_for_what_was_lost,
    ],
)
def test_an_engine_that(breaks: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch)
    assert first_failure() is not None, "none of the histories notices"
