"""Producers that reject, and other processes that use them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import standpipe
from standpipe.core.errors import Reject
from standpipe.producers.base import BaseProducer, BaseProducerConfig

ROOT = Path(__file__).parents[3]
SOURCE = Path(str(standpipe.__file__)).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(ROOT)])}


class Rejecting(BaseProducer):
    """Rejects every message."""

    def _connect(self) -> None: ...

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        raise Reject("not today", response=b"<h1>400 \xff</h1>")

    def _close(self) -> None: ...


class OnceDead(BaseProducer):
    """Appends each message to `arrived`, and dies with the process (kill -9) right after the first, unless `survive` exists."""

    def _connect(self) -> None: ...

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        with open("arrived", "a") as file:
            file.write(f"{message['n']}\n")
        if not os.path.exists("survive"):
            os.kill(os.getpid(), 9)

    def _close(self) -> None: ...


def rejecting(**settings: Any) -> Rejecting:
    """A producer that rejects, with no delays."""
    return Rejecting(BaseProducerConfig(type="rejecting", name="orders", **settings))


def python(script: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Another process that runs `script` in `folder`."""
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def call(folder: Path, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """`standpipe` as a process of its own."""
    script = "import sys; from standpipe.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout)


def ended(process: subprocess.Popen[str], timeout: float = 60) -> tuple[int, Sequence[str]]:
    """Wait for the end of a process: its exit status (negative: the signal) and the lines it wrote."""
    out, _ = process.communicate(timeout=timeout)
    return process.returncode, out.splitlines()


def eventually(condition: Any, seconds: float = 10.0) -> bool:
    """Whether `condition()` becomes true in time."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        pause.wait(0.02)
    return bool(condition())
