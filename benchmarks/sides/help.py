"""A command from its start to its end, as a person at a terminal waits for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.case import Measurement, Params


def standpipe(params: Params) -> Measurement:
    """`standpipe --help`, the command that was installed beside this Python."""
    installed = Path(sys.executable).with_name("standpipe")
    command = [str(installed)] if installed.exists() else [sys.executable, "-m", "standpipe"]
    return _wall([*command, "--help"])


def python(params: Params) -> Measurement:
    """`python -c pass`: what no program in Python can be quicker than."""
    return _wall([sys.executable, "-c", "pass"])


def _wall(command: list[str]) -> Measurement:
    started = perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} {' '.join(command[1:])} ended with {done.returncode}: {done.stderr.strip()[-1000:]}")
    return {"ms": seconds * 1000}
