"""The demo told while it happens: only what was seen, with the seconds since the start."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from standpipe.app.ledger import Ledger
from standpipe.cli.demo_count import Arrivals, Count
from standpipe.cli.demo_setup import LINES_PER_SECOND, Scene
from standpipe.cli.ledger_text import ledger_lines
from standpipe.cli.output import number_of, printable, program

TELL_EVERY = 2.0
"""Seconds between two lines about the progress where no live picture can be shown."""

REDRAW = 0.2
"""Seconds between two live pictures."""


class Story:
    """Says what happens. A context manager around the play, for the live picture at the bottom of a terminal."""

    def __init__(self, console: Console, scene: Scene) -> None:
        self._console = console
        self._scene = scene
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._started = time.monotonic()
        self._drawn = 0.0
        self._down_at = 0.0
        self._archived_then = 0
        self._archived = 0

    def __enter__(self) -> Self:
        self._started = self._drawn = time.monotonic()
        if self._live is not None:
            with contextlib.suppress(OSError, ValueError):
                self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError, ValueError):
                self._live.stop()

    # --- what happens -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """What is going to happen."""
        scene = self._scene
        quarter = scene.seconds / 4
        whose = "this machine's own package log" if scene.log_is_the_machines else "a package log that comes with the demo"
        self._say(f"""\
[bold]Standpipe demo[/]: log lines reach two destinations. One of those goes down,
and while it is down Standpipe itself is killed. Nothing may be missing.

  dpkg     {whose}: {scene.log_lines:,} lines
  visits   a made-up access log: {LINES_PER_SECOND} numbered lines a second for {scene.seconds} seconds
     |     each line is parsed; an error is a status of 500 and above,
     |     and every line that does not parse
     +---> archive   what is no error, into an SQLite database
     +---> alerts    errors, through a producer written for this demo
                     (flaky_destination.py); down after {quarter:.3g} s, for {2 * quarter:.3g} s

  What waits, waits on the disk (`queue: {{type: spool}}`), not in memory.
""")

    def started(self, process: int) -> None:
        """The process runs; for the first time or again."""
        self._tell(f"[bold]standpipe run[/] is started: process {process}")

    def down(self, why: str) -> None:
        """The destination does not answer."""
        self._down_at, self._archived_then = time.monotonic(), self._archived
        self._tell(f"[bold red]alerts is down[/]: {escape(printable(why))}")
        self._tell("its breaker is open, its messages wait on the disk; archive goes on")

    def killed(self, process: int, on_their_way: int) -> None:
        """The process is gone."""
        self._tell(f"[bold red]kill -9 {process}[/]: Standpipe is gone, with {number_of(on_their_way, 'line')} on their way")
        self._tell("the access log grows all the same")

    def found(self, waiting: int) -> None:
        """The new process has found what the old one left."""
        self._tell(f"it found {number_of(waiting, 'message')} for alerts on the disk, and reads on where")
        self._tell("the process that was killed had stopped")

    def back(self) -> None:
        """The destination answers again."""
        lasted = time.monotonic() - self._down_at
        self._tell(f"[bold green]alerts is back[/] after {lasted:.1f} s: what waited is being delivered")
        self._tell(f"archive was not disturbed: {self._archived - self._archived_then:,} more arrived meanwhile")

    def everything_arrived(self) -> None:
        """Nothing is on its way any more."""
        self._tell("both logs are read to their end, and [bold]every line has arrived[/]")

    def watch(self, arrivals: Arrivals, on_their_way: int, runs: bool) -> None:
        """How it stands; called often."""
        self._archived = arrivals.archived
        now = time.monotonic()
        if now - self._drawn < (TELL_EVERY if self._live is None else REDRAW):
            return
        self._drawn = now
        text = f"arrived: archive {arrivals.archived:6,}  alerts {arrivals.alerts:4,}   on their way {on_their_way:5,}"
        if self._live is None:
            self._tell(text)
            return
        state = "" if runs else "   (Standpipe is not running)"
        with contextlib.suppress(OSError, ValueError):
            self._live.update(Text(f"{now - self._started:5.1f} s  {text}{state}", style="cyan"), refresh=True)

    def _tell(self, text: str) -> None:
        self._say(f"[dim]{time.monotonic() - self._started:5.1f} s[/]  {text}")

    def _say(self, text: str) -> None:
        self._console.print(text)

    # --- the end ------------------------------------------------------------------------------------------------------

    def end(self, ledger: Ledger | None, count: Count | None) -> None:
        """What became of every message, by Standpipe's own count and by counting the files (None: it was stopped before its
        end); and what to look at now."""
        if ledger is not None:
            whose = "What the last process says; what the first one left is in it:\n\n" if count is not None else ""
            self._say("\n" + whose + "\n".join(ledger_lines(ledger)))
        self._say("\nStopped before its end: what had been read until then is above.\n" if count is None else self._counted(count))
        self._say(self._next())

    def _counted(self, count: Count) -> str:
        verdict = "[bold green]nothing is missing[/]" if count.nothing_is_missing else "[bold red]something is MISSING[/]"
        twice = "none of them twice" if not count.repeated else f"{count.repeated:,} of them twice: sent again after the kill"
        return f"""
Counted again without Standpipe, in the files themselves: {verdict}
  {count.package_lines:8,} lines in {escape(printable(str(self._scene.log)))}; {count.packages_arrived:,} arrived
  {count.visits:8,} visits in visits.log; {count.visits_arrived:,} arrived, {twice}
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
  {standpipe} audit

[bold]Try next[/]
  [dim]# the same as a service would run it: nothing is read twice; Ctrl-C ends it[/]
  {standpipe} run standpipe.yaml
  [dim]# a configuration of your own to start from[/]
  {standpipe} init my.yaml
  [dim]# a producer of your own, with its test[/]
  {standpipe} new producer my-service"""
