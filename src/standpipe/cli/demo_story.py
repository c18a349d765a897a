"""The demo told while it happens: only what was seen in the statistics, with the seconds since the start."""

from __future__ import annotations

import shlex
import shutil
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape

from standpipe.app.application import Application
from standpipe.app.ledger import Ledger
from standpipe.cli.demo_count import Count
from standpipe.cli.demo_setup import LINES_PER_SECOND, Scene
from standpipe.cli.ledger_text import ledger_lines
from standpipe.cli.output import printable, program
from standpipe.cli.progress import LiveProgress
from standpipe.cli.stop_signals import StopSignals
from standpipe.delivery.breaker import BreakerState

TELL_EVERY = 2.0
"""Seconds between two lines about the progress where no live table can be shown."""


class Story:
    """Watches the two destinations and says what happens to them. A context manager around the run."""

    def __init__(self, console: Console, scene: Scene, signals: StopSignals) -> None:
        self._console = console
        self._scene = scene
        self._signals = signals
        self._live = LiveProgress(console) if console.is_terminal and not console.is_dumb_terminal else None
        self._started = time.monotonic()
        self._told = 0.0
        self._down_since: tuple[float, int] | None = None
        self._sources_ended = False

    def begin(self) -> None:
        """What is going to happen."""
        scene = self._scene
        third = f"{scene.seconds / 3:.3g}"
        whose = "this machine's own package log" if scene.log_is_the_machines else "a package log that comes with the demo"
        self._say(f"""\
[bold]Standpipe demo[/]: log lines reach two destinations, and one of those goes down.

  dpkg     {whose}: {scene.log_lines:,} lines
  visits   a made-up access log: {LINES_PER_SECOND} lines a second for {scene.seconds} seconds
     |     each line is parsed; an error is a status of 500 and above,
     |     and every line that does not parse
     +---> archive   what is no error, into an SQLite database
     +---> alerts    errors, through a producer written for this demo
                     (flaky_destination.py) that is down for a while:
                     after {third} seconds, for {third} seconds
""")

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._told = self._started
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def watch(self, application: Application) -> None:
        """Look at the application and tell what has changed; called often."""
        self._watch_the_outage(application)
        self._watch_the_sources(application)
        if self._live is not None:
            self._live.watch(application)
        elif time.monotonic() - self._told >= TELL_EVERY:
            self._tell_progress(application)

    def _watch_the_outage(self, application: Application) -> None:
        alerts = application["alerts"].statistics()
        archived = application["archive"].statistics().delivered
        down = alerts.breaker is not BreakerState.CLOSED
        if down and self._down_since is None:
            self._down_since = time.monotonic(), archived
            why = escape(printable(alerts.last_error or "no answer"))
            self._tell(f"[bold red]alerts is down[/]: {why}")
            self._tell("its breaker is open, its messages wait; archive goes on")
        elif not down and self._down_since is not None:
            since, before = self._down_since
            self._down_since = None
            self._tell(f"[bold green]alerts is back[/] after {time.monotonic() - since:.1f} s: what waited is being delivered")
            self._tell(f"archive was not disturbed: {archived - before:,} more were delivered meanwhile")

    def _watch_the_sources(self, application: Application) -> None:
        if application.finished and not self._sources_ended and not self._signals.received:
            self._sources_ended = True
            self._tell("both logs are read to their end, and every message has arrived")

    def _tell_progress(self, application: Application) -> None:
        self._told = time.monotonic()
        found = {name: producer.statistics() for name, producer in application.producers.items()}
        parts = [f"{name} {now.delivered:6,} delivered {now.pending:4,} waiting" for name, now in found.items()]
        self._tell("  ".join(parts))

    def _tell(self, text: str) -> None:
        self._say(f"[dim]{time.monotonic() - self._started:5.1f} s[/]  {text}")

    def _say(self, text: str) -> None:
        self._console.print(text)

    # --- the end ------------------------------------------------------------------------------------------------------

    def end(self, ledger: Ledger, count: Count | None) -> None:
        """What became of every message, by Standpipe's own count and by counting the files; and what to look at now."""
        self._say("\n" + "\n".join(ledger_lines(ledger)) + "\n")
        self._say("Stopped before its end: what had been read until then is above.\n" if count is None else self._counted(count))
        self._say(self._next())

    def _counted(self, count: Count) -> str:
        verdict = "[bold green]the same[/]" if count.agrees else "[bold red]NOT the same[/]"
        return f"""\
Counted again without Standpipe, in the files themselves: {verdict}
  {count.log_lines:8,} lines in {escape(printable(str(self._scene.log)))}
  {count.made_up_lines:8,} lines made up
  {count.archived:8,} rows in archive.db
  {count.alerts:8,} lines in alerts.jsonl
"""

    def _next(self) -> str:
        query = "select code, count(*) from messages group by code"
        if shutil.which("sqlite3"):
            look = f"sqlite3 archive.db '{query}'"
        else:
            look = f"python3 -c \"import sqlite3; print(*sqlite3.connect('archive.db').execute('{query}'), sep='\\n')\""
        standpipe = escape(shlex.quote(program()))
        return f"""\
[bold]Look at it[/]
  cd {escape(shlex.quote(printable(str(self._scene.folder))))}
  {escape(look)}
  tail -n 3 alerts.jsonl
  grep alerts standpipe.log

[bold]Try next[/]
  [dim]# the same as a service would run it; the package log is not read twice[/]
  {standpipe} run standpipe.yaml
  [dim]# a configuration of your own to start from[/]
  {standpipe} init my.yaml
  [dim]# a producer of your own, with its test[/]
  {standpipe} new producer my-service"""
