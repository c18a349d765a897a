"""What happens in the demo, in order: an outage, in the middle of it `kill -9`, a new start, the end of the outage, the end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from standpipe.app.ledger import Ledger
from standpipe.cli.demo_count import Arrivals
from standpipe.cli.demo_process import Service
from standpipe.cli.demo_setup import LINES_PER_SECOND, Scene
from standpipe.cli.demo_story import Story
from standpipe.cli.demo_visits import VisitLog
from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.stop_signals import StopSignals

TICK = 0.1
"""Seconds between two looks."""

PATIENCE = 15.0
"""Seconds that anything may take which should happen at once: a machine that is very busy."""

_REFUSED = re.compile(r"alerts: .*\((\w+Error: [^)]*)\)")
_DOWN = "alerts: the breaker is open"
_BACK = "alerts: the breaker is closed"
_WAITED = re.compile(r"alerts: (\d+) message\(s\) from before the restart")
_CONNECTED = "archive: connected"


class Interrupted(Exception):
    """somebody asked the demo to stop"""


class Plot:
    """Makes it happen and tells the story what it sees: in the process's log and in the two destinations, nowhere else."""

    def __init__(self, scene: Scene, story: Story, signals: StopSignals) -> None:
        self._scene = scene
        self._story = story
        self._signals = signals
        self._service = Service(scene)
        self._visits = VisitLog(scene.visits, scene.made_up_lines, LINES_PER_SECOND)
        self._arrivals = Arrivals(scene)
        self._started = time.monotonic()
        self._runs = False
        self._why = "no answer"
        self._is_down = False
        self._found: int | None = None
        self._connected = False

    def play(self) -> Ledger | None:
        """Play it to its end; returns what the last process said of what it delivered. Raises CommandFailed when it does not end."""
        try:
            self._act()
        except Interrupted:
            self._stop()
        finally:
            self._visits.stop()
            self._scene.outage.unlink(missing_ok=True)
            if self._service.status is None:
                self._service.kill()
        return self._service.ledger()

    def _act(self) -> None:
        quarter = self._scene.seconds / 4
        self._start()
        self._visits.start()
        self._at(quarter)
        self._take_alerts_down()
        self._at(2 * quarter)
        self._until(lambda: self._arrivals.packages >= self._scene.log_lines, "the package log was not read to its end")
        self._kill()
        self._at(2.3 * quarter)
        self._start_again()
        self._at(3 * quarter)
        self._bring_alerts_back()
        self._until(lambda: not self._visits.is_alive(), "the access log did not end")
        self._until(lambda: self._arrivals.visits(self._visits.written), "not every line has arrived")
        self._story.everything_arrived()
        self._stop()

    # --- what happens -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._is_down = self._connected = False
        self._service.start()
        self._runs = True
        self._story.started(self._service.pid)

    def _take_alerts_down(self) -> None:
        self._scene.outage.touch()
        self._until(lambda: self._is_down, "the outage was not noticed")
        self._story.down(self._why)

    def _kill(self) -> None:
        self._look()
        self._runs = False
        self._service.kill()
        self._story.killed(self._service.pid, self._on_their_way())

    def _start_again(self) -> None:
        self._found = None
        self._start()
        self._until(lambda: self._found is not None and self._connected, "the new process did not find what the old one left")
        self._until(lambda: self._is_down, "the new process did not notice the outage")
        self._story.found(self._found or 0)

    def _bring_alerts_back(self) -> None:
        before = self._arrivals.alerts
        self._scene.outage.unlink()
        self._until(lambda: not self._is_down and self._arrivals.alerts > before, "the end of the outage was not noticed")
        self._story.back()

    def _stop(self) -> None:
        """SIGTERM, and wait for the end; a second signal does not wait."""
        self._visits.stop()
        self._scene.outage.unlink(missing_ok=True)
        if not self._runs:
            return
        self._service.stop()
        deadline = time.monotonic() + PATIENCE
        while self._service.status is None and time.monotonic() < deadline and not self._signals.wait(TICK):
            self._look()
        self._runs = False

    # --- what is seen -------------------------------------------------------------------------------------------------

    def _at(self, seconds: float) -> None:
        """Look on until so many seconds after the start."""
        while time.monotonic() - self._started < seconds:
            self._tick()

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Look on until `condition` holds. Raises CommandFailed if it never does."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() >= deadline:
                raise CommandFailed(f"{otherwise} within {PATIENCE:g} s; see {self._scene.log_file}", ExitCode.UNDELIVERED)
            self._tick()

    def _tick(self) -> None:
        if self._signals.wait(TICK):
            raise Interrupted
        if self._runs and self._service.status is not None:
            raise CommandFailed(f"standpipe ended with {self._service.status}; see {self._scene.log_file}", ExitCode.UNDELIVERED)
        self._look()

    def _look(self) -> None:
        for line in self._service.new_log_lines():
            self._note(line)
        self._arrivals.look()
        self._story.watch(self._arrivals, self._on_their_way(), self._runs)

    def _note(self, line: str) -> None:
        if refused := _REFUSED.search(line):
            self._why = refused[1]
        if _DOWN in line or _BACK in line:
            self._is_down = _DOWN in line
        elif waited := _WAITED.search(line):
            self._found = int(waited[1])
        elif _CONNECTED in line:
            self._connected = True

    def _on_their_way(self) -> int:
        """Lines that were written and have arrived nowhere yet."""
        return max(0, self._scene.log_lines + self._visits.written - self._arrivals.archived - self._arrivals.alerts)
