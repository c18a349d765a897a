"""What is going on right now: a small live table on a terminal, now and then a log line elsewhere."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import time
from types import TracebackType
from typing import Protocol, Self, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from standpipe.app.application import Application
from standpipe.app.configuration import Plan
from standpipe.cli.output import number_of, printable
from standpipe.delivery.breaker import BreakerState
from standpipe.delivery.statistics import ProducerStatistics
from standpipe.producers.console import ConsoleProducer

REDRAW = 0.25
"""Seconds between two pictures: four a second look live and cost nothing."""

LOG_EVERY = 30.0
"""Seconds between two log lines about the progress."""

_log = logging.getLogger("standpipe.cli")


class Progress(Protocol):
    """Shows the progress of an application; a context manager."""

    @property
    def log_stream(self) -> TextIO:
        """Where log lines have to be written so that they do not disturb the picture."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether there is a picture, so that routine log lines are not needed."""
        ...

    def watch(self, application: Application) -> None:
        """Look at the application; called often."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class LoggedProgress:
    """A log line every half minute."""

    is_live = False

    def __init__(self, stream: TextIO) -> None:
        self.log_stream = stream
        self._due = time.monotonic() + LOG_EVERY

    def watch(self, application: Application) -> None:
        """Write the line when it is time."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + LOG_EVERY
            for name, producer in application.producers.items():
                statistics = producer.statistics()
                _log.info("%s: %s delivered, %d pending; %s", name, statistics.delivered, statistics.pending, condition(statistics))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is left on the screen."""


class LiveProgress:
    """A table that is drawn again and again at the bottom of the terminal, log lines above it."""

    is_live = True

    def __init__(self, console: Console) -> None:
        self.log_stream: TextIO = _AboveTheTable(console)
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._drawn_at = 0.0
        self._before: dict[str, int] = {}

    def watch(self, application: Application) -> None:
        """Draw again when it is time. A terminal that has gone away disturbs nobody."""
        now = time.monotonic()
        elapsed = now - self._drawn_at
        if elapsed >= REDRAW:
            with contextlib.suppress(OSError, ValueError):
                self._live.update(self._picture(application, elapsed), refresh=True)
            self._drawn_at = now

    def _picture(self, application: Application, elapsed: float) -> Table:
        picture = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        picture.add_column("producer", no_wrap=True)
        for heading in ("delivered", "per second", "pending"):
            picture.add_column(heading, justify="right", no_wrap=True)
        picture.add_column("")  # the only one that may wrap: it is the one that gives way on a narrow terminal
        for name, producer in application.producers.items():
            now = producer.statistics()
            rate = (now.delivered - self._before.get(name, now.delivered)) / elapsed
            self._before[name] = now.delivered
            style = "red" if now.breaker is not BreakerState.CLOSED else ""
            picture.add_row(
                name,
                f"{now.delivered:,}",
                f"{rate:,.0f}",
                f"{now.pending:,}",
                Text(condition(now), style, no_wrap=True, overflow="ellipsis"),
            )
        return picture

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError, ValueError):
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._live.stop()


class _AboveTheTable(io.StringIO):
    """A stream for log lines that leaves the live table intact."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def write(self, text: str) -> int:
        if text.strip():
            with contextlib.suppress(OSError, ValueError):
                self._console.print(Text(text.rstrip("\n")), soft_wrap=True)
        return len(text)


def condition(statistics: ProducerStatistics) -> str:
    """How a producer is doing, in a few words."""
    if statistics.breaker is not BreakerState.CLOSED:
        return f"down: {printable(statistics.last_error or 'no answer')}"
    if not statistics.connected:
        return "connecting"
    if statistics.dead_lettered:
        return f"up; {number_of(statistics.dead_lettered, 'dead letter')}"
    return "up"


def choose_progress(plan: Plan, *, wanted: bool) -> Progress:
    """The live table if it is wanted, there is a terminal that can show it, and no producer writes to that terminal itself."""
    console = Console(stderr=True, highlight=False)
    writes_itself = sys.stdout is not None and sys.stdout.isatty() and any(kind is ConsoleProducer for kind, _ in plan.producers.values())
    if wanted and console.is_terminal and not console.is_dumb_terminal and not writes_itself:
        return LiveProgress(console)
    return LoggedProgress(cast(TextIO, console.file))  # which also exists where there is no standard error
