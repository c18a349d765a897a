"""Starting, stopping and killing the processes under test, always by the id of a process that we started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.integration.spool.child import Plan

ROOT = Path(__file__).parents[3]
CHILD = Path(__file__).with_name("child.py")

PATIENCE = 60.0
"""Seconds after which a process that should end, or a condition that should come true, fails a test; each takes a moment."""

SCALE = max(1, int(os.environ.get("STANDPIPE_TORTURE", "1")))
"""How many times as much is tried: 1 in `make test`, 10 in `make torture`."""


def environment() -> dict[str, str]:
    """For a process that imports our code and this package."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, `PATIENCE` at most."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        threading.Event().wait(0.002)


class Child:
    """One process under test."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self._nursery = nursery
        self._code: int | None = None

    def kill(self) -> int:
        """`kill -9`; returns the exit code, which tells whether it was quicker."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # not reaped by anybody but the nursery, which tells us
        return self.wait()

    def pause(self) -> None:
        """Stop it in its tracks; returns when it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_until(lambda: self._state() in "TZ", "the process stops")

    def _state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def wait(self) -> int:
        """The exit code; negative for a signal."""
        if self._code is None:
            self._code = self._nursery.exit_code()
        return self._code


class Nursery:
    """Makes children, one at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        self._child: Child | None = None

    def start(self, plan: Plan) -> Child:
        """A child that follows the plan."""
        assert self._process.stdin is not None
        self._process.stdin.write(plan.as_json() + "\n")
        self._process.stdin.flush()
        self._child = Child(self, int(self._answer()))
        return self._child

    def exit_code(self) -> int:
        """Of the child that was started last; waits for it."""
        code = int(self._answer())
        self._child = None
        return code

    def run(self, plan: Plan) -> int:
        """Let a child follow the plan to its end."""
        return self.start(plan).wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        assert answer, f"the nursery has died ({self._process.poll()})"
        return answer

    def clear(self) -> None:
        """Kill the child, if there is one."""
        if self._child is not None:
            self._child.kill()

    def close(self) -> None:
        """End it, and the child if there is one."""
        self.clear()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(PATIENCE)


def traced(nursery: Nursery, plan: Plan, folder: Path, *options: str) -> tuple[int, str]:
    """Let a child follow `plan` under strace with `options`; returns its exit code and what strace wrote."""
    gate, trace = folder / "gate", folder / "trace"
    if not gate.exists():
        os.mkfifo(gate)
    trace.write_text("")
    plan.gate = str(gate)
    child = nursery.start(plan)
    command = ["strace", "-f", "-qq", "-o", str(trace), *options, "-p", str(child.pid)]
    with attached(command, child.pid):
        with gate.open("wb") as opened:
            opened.write(b"!")
        code = child.wait()
    return code, trace.read_text()


@contextlib.contextmanager
def attached(command: list[str], pid: int) -> Iterator[None]:
    """strace, attached to a process; it ends by itself when the process does, and is ended otherwise."""
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: _is_traced(pid) or tracer.poll() is not None, "strace attaches")
        assert tracer.poll() is None, f"strace has ended: {tracer.stderr.read() if tracer.stderr else ''}"
        yield
        tracer.wait(PATIENCE)
    finally:
        if tracer.poll() is None:
            tracer.terminate()
        tracer.wait(PATIENCE)
        if tracer.stderr is not None:
            tracer.stderr.close()


def _is_traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return "TracerPid:\t0\n" not in status
