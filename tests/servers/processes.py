"""Processes that a test starts: their descendants, signals to all of them, and an end even if the test process is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import IO

from tests.servers.waiting import until

GUARD = """
import os, signal, sys
alive = set()
for line in sys.stdin:
    (alive.add if line[0] == "+" else alive.discard)(int(line[1:]))
for pid in alive:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
"""


class Guard:
    """A process that outlives this one for a moment: when our end of the pipe closes, it kills what is still running."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: IO[str] | None = None
        self._owner = 0

    def watch(self, pid: int) -> None:
        """From now on `pid` is killed when this process ends, however it ends."""
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """`pid` has ended; the number may soon be somebody else's."""
        self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._pipe is None or self._owner != os.getpid():
                self._start()
            assert self._pipe is not None
            self._pipe.write(line)
            self._pipe.flush()

    def _start(self) -> None:
        # A session of its own: Ctrl-C in the terminal must not end it before it has done its work.
        guard = subprocess.Popen([sys.executable, "-c", GUARD], stdin=subprocess.PIPE, text=True, start_new_session=True)
        guard.returncode = 0  # nobody waits for it: it ends after us
        self._pipe, self._owner = guard.stdin, os.getpid()


GUARD_OF_THIS_PROCESS = Guard()


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents first. PostgreSQL and Erlang give each child a group of its own, so groups do not help."""
    children = defaultdict(list)
    for child, parent in _parents():
        children[parent].append(child)
    found = [pid]
    for each in found:
        found.extend(children[each])
    return found[1:]


def _parents() -> list[tuple[int, int]]:
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        return [(int(pid), int(parent)) for pid, parent in (line.split() for line in listed.splitlines())]
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                # The name of the program stands in brackets and may hold anything; the parent is the second field behind it.
                found.append((int(name), int(Path(f"/proc/{name}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])))
    return found


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """To each of them; those that have ended are passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def freeze(pid: int) -> list[int]:
    """Stop `pid` and all below it, also those that are forked meanwhile; returns all of them, once they stand still."""
    stopped: list[int] = []
    while new := [each for each in (pid, *descendants(pid)) if each not in stopped]:
        signal_all(new, signal.SIGSTOP)
        until(lambda new=new: all(map(_stands_still, new)))  # type: ignore[misc]
        stopped += new
    return stopped


def _stands_still(pid: int) -> bool:
    """Whether every thread of it has met the signal: one that runs on another processor may still answer when `kill` returns."""
    threads = Path(f"/proc/{pid}/task")
    with contextlib.suppress(OSError):  # it ended meanwhile, or there is no such folder here
        for thread in threads.iterdir():
            if (thread / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] not in "TtZX":
                return False
    return True
