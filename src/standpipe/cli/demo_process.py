"""Standpipe as the demo runs it: `standpipe run` in a process of its own, to be killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

from standpipe.app.ledger import Ledger, LedgerRow
from standpipe.cli.demo_setup import Scene

_PROGRAM = "from standpipe.cli.demo_process import serve; serve()"


class Service:
    """One process at a time. What it logs goes to the scene's log file, its ledger to the ledger file."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0  # bytes of the log that were looked at

    @property
    def pid(self) -> int:
        """The process that runs, or ran last."""
        return self._process.pid if self._process is not None else 0

    @property
    def status(self) -> int | None:
        """How the process ended, negative for a signal; None while it runs."""
        return self._process.poll() if self._process is not None else 0

    def start(self) -> None:
        """Start the process. It is asked to stop when we are gone, and gets no Ctrl-C that is meant for us."""
        command = [sys.executable, "-P", "-c", _PROGRAM, "run", str(self._scene.configuration), "--json"]
        with self._scene.log_file.open("ab") as log, self._scene.ledger_file.open("wb") as ledger:
            self._process = subprocess.Popen(
                command, cwd=self._scene.folder, stdin=subprocess.PIPE, stdout=ledger, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()

    def stop(self) -> None:
        """SIGTERM: deliver what there is, then end."""
        if self._process is not None:
            self._process.terminate()

    def new_log_lines(self) -> Iterator[str]:
        """The whole lines that were logged since the last look."""
        with suppress(OSError), self._scene.log_file.open("rb") as log:
            log.seek(self._read)
            whole = log.read().rpartition(b"\n")[0]
            if whole:
                self._read += len(whole) + 1
                yield from whole.decode("utf-8", "replace").split("\n")

    def ledger(self) -> Ledger | None:
        """What the process said of its producers when it ended; None if it was killed before."""
        try:
            said = json.loads(self._scene.ledger_file.read_bytes())
        except (OSError, ValueError):
            return None
        return Ledger(tuple(LedgerRow(**row) for row in said["producers"]))


def serve() -> None:
    """The body of the process: the command line, and an end when whoever started it is gone."""
    from standpipe.cli.main import main

    threading.Thread(target=_stop_when_alone, name="standpipe-demo-alone", daemon=True).start()
    sys.exit(main())


def _stop_when_alone() -> None:
    with suppress(OSError):
        os.read(sys.__stdin__.fileno() if sys.__stdin__ is not None else 0, 1)  # nothing is ever written: it returns at the end
        os.kill(os.getpid(), signal.SIGTERM)
