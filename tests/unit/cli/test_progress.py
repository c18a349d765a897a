from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from standpipe.app.application import Application
from standpipe.app.configuration import read_plan
from standpipe.cli import progress
from standpipe.cli.progress import LiveProgress, LoggedProgress, choose_progress, condition
from standpipe.delivery.breaker import BreakerState
from standpipe.delivery.statistics import ProducerStatistics


@pytest.fixture
def application(tmp_path: Path) -> Application:
    path = tmp_path / "standpipe.yaml"
    path.write_text('producers: [{type: "null", name: a-producer-with-a-name}]')
    return Application(read_plan(path))


def test_the_live_table_shows_each_producer_and_log_lines_stay_above_it(application: Application) -> None:
    screen = io.StringIO()
    live = LiveProgress(Console(file=screen, force_terminal=True, width=80, height=20))
    with live:
        live.watch(application)
        print("a log line [with brackets]", file=live.log_stream)
    shown = screen.getvalue()
    assert "a-producer-with-a-name" in shown
    assert "connecting" in shown
    assert "a log line [with brackets]" in shown


def test_a_terminal_that_has_gone_away_disturbs_nobody(application: Application) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    live = LiveProgress(Console(file=Gone(), force_terminal=True, width=80, height=20))
    with live:
        live.watch(application)
        print("a log line", file=live.log_stream)


def test_without_a_terminal_there_is_no_table(application: Application, capfd: pytest.CaptureFixture[str]) -> None:
    assert not choose_progress(application.plan, wanted=True).is_live


def test_elsewhere_a_line_is_logged_now_and_then(
    application: Application, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    with caplog.at_level("INFO", logger="standpipe.cli"):
        LoggedProgress(io.StringIO()).watch(application)
    assert caplog.messages == ["a-producer-with-a-name: 0 delivered, 0 pending; connecting"]


@pytest.mark.parametrize(
    ("statistics", "words"),
    [
        (ProducerStatistics(), "connecting"),
        (ProducerStatistics(connected=True), "up"),
        (ProducerStatistics(connected=True, dead_lettered=1), "up; 1 dead letter"),
        (ProducerStatistics(breaker=BreakerState.OPEN, last_error="OSError: no\x1b[31m"), "down: OSError: no\\x1b[31m"),
        (ProducerStatistics(connected=True, breaker=BreakerState.HALF_OPEN), "down: no answer"),
    ],
)
def test_the_condition_of_a_producer_in_words(statistics: ProducerStatistics, words: str) -> None:
    assert condition(statistics) == words
