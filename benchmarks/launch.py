"""Runs one side once, in a fresh process that prints what it found out as one line of JSON."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import rivals
from benchmarks.case import Case, CaseFailed, Measurement, Missing, Params

ROOT = Path(__file__).resolve().parents[1]

TIMEOUT = 180.0
"""Seconds that one side may take: some ten times what the longest takes on a slow machine."""

MISSING = "missing"
"""What a side prints instead of a measurement if it cannot be run, with the reason."""

SHOWN = 2000
"""Characters of a failed side's last words: the end of a traceback."""


def in_fresh_process(case: Case, side: str, params: Params) -> Measurement:
    """Run `side` and return what it measured. Raises CaseFailed, Missing."""
    python, sides = (rivals.python(), f"{case.name}_rivals") if side in case.rivals else (sys.executable, case.name)
    command = [python, "-m", "benchmarks.launch", sides, side, json.dumps(dict(params))]
    command += ["--one-core"] if case.one_core else []
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise CaseFailed(f"{case.name}: {side} took longer than {TIMEOUT:g} s") from None
    if done.returncode:
        raise CaseFailed(f"{case.name}: {side} ended with {done.returncode}:\n{done.stderr[-SHOWN:]}")
    return _read(case, side, done.stdout)


def _read(case: Case, side: str, output: str) -> Measurement:
    try:
        found = json.loads(output.rstrip("\n").rpartition("\n")[2])
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CaseFailed(f"{case.name}: {side} printed {output[-SHOWN:]!r} instead of a measurement")
    if MISSING in found:
        raise Missing(found[MISSING])
    return found


def environment() -> dict[str, str]:
    """The environment without what changes how Python and the rivals run, such as PYTHONDEVMODE or OTEL_BLRP_SCHEDULE_DELAY."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OTEL_"))}


def call(case: str, side: str, params: Params) -> Measurement:
    """Run a side in this process."""
    found: Measurement = getattr(importlib.import_module(f"benchmarks.sides.{case}"), side)(params)
    return found


def _bind_to_one_core() -> None:
    """The last core that we may use: the first one has most of the system's own work."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main(arguments: list[str]) -> None:
    """`python -m benchmarks.launch CASE SIDE PARAMS [--one-core]`: what `in_fresh_process` starts."""
    case, side, params, *options = arguments
    if "--one-core" in options:
        _bind_to_one_core()
    try:
        found = dict(call(case, side, json.loads(params)))
    except Missing as missing:
        found = {MISSING: str(missing)}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
