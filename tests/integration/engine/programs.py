"""Runs a small program in a process of its own, with a producer that writes what it is sent to a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PREAMBLE = '''
import asyncio, atexit, json, logging, multiprocessing, os, random, signal, sys, threading, time
from standpipe.core.errors import *
from standpipe.delivery.receipt import State
from standpipe.producers.base import BaseProducer, BaseProducerConfig

OUT = sys.argv[1]

class Lines(BaseProducer):
    """Writes each message as a line, with the process that sent it; `delay` seconds per message."""
    delay = 0.0
    def _connect(self):
        self.fd = os.open(OUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    def _send(self, is_error, message):
        if self.delay:
            time.sleep(self.delay)
        os.write(self.fd, json.dumps([os.getpid(), message["n"]]).encode() + b"\\n")
    def _close(self):
        os.close(self.fd)

def make(kind=Lines, **settings):
    return kind(BaseProducerConfig.model_validate({"type": "lines", "name": "lines", **settings}))

def say(**words):
    os.write(1, json.dumps(words).encode() + b"\\n")
'''


@dataclass
class Result:
    """What became of the program."""

    code: int
    said: list[dict[str, object]]
    errors: str
    lines: list[tuple[int, int]]

    def numbers(self) -> list[int]:
        """The messages that arrived, in order."""
        return [number for _, number in self.lines]


def run(
    tmp_path: Path, program: str, *, options: tuple[str, ...] = (), meanwhile: Callable[[subprocess.Popen[str]], object] | None = None
) -> Result:
    """Run `program` after the preamble; it says things as JSON lines, and has 30 seconds."""
    script, out = tmp_path / "program.py", tmp_path / "out"
    script.write_text(PREAMBLE + textwrap.dedent(program))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", *options, str(script), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        if meanwhile is not None:
            meanwhile(process)
        said, errors = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler prints where every thread is
        _, errors = process.communicate(timeout=10)
        raise AssertionError(f"the program hangs:\n{errors}") from None
    finally:
        if process.poll() is None:
            process.kill()
    lines = [tuple(json.loads(line)) for line in out.read_text().splitlines()] if out.exists() else []
    return Result(process.returncode, [json.loads(line) for line in said.splitlines()], errors, lines)
