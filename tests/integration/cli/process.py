"""`standpipe` as a process of its own, with everything it writes, and conditions to wait for instead of time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

STANDPIPE = [str(Path(sys.executable).parent / "standpipe")]
ROOT = Path(__file__).parents[3]
PATIENCE = 30.0
"""Seconds until a test gives up: only a fault lasts that long."""


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process that can import the producers of the tests; no terminal's width or colours."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "TERM", "PYTHONPATH")}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", **changes}


class Process:
    """A running `standpipe`; its output goes to files in `folder`. A context manager that leaves nothing running."""

    def __init__(self, *arguments: str, folder: Path, **changes: str) -> None:
        self.out_file, self.err_file = folder / "stdout", folder / "stderr"
        with self.out_file.open("wb") as out, self.err_file.open("wb") as err:
            self._process = subprocess.Popen(
                [*STANDPIPE, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment(**changes)
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    @property
    def out(self) -> str:
        """What it wrote to standard output so far."""
        return self.out_file.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        """What it wrote to standard error so far."""
        return self.err_file.read_text(encoding="utf-8")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition` while the process runs."""
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while not condition():
            assert self._process.poll() is None, f"it ended with {self._process.returncode}: {self.err}"
            assert time.monotonic() < deadline, f"it never happened; standard error: {self.err}"
            pause.wait(0.02)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, within: float = PATIENCE) -> int:
        """Wait for the end; the exit status, negative for a signal."""
        return self._process.wait(within)


def lines_in(path: Path) -> int:
    """Lines in a file; none if there is no file yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
