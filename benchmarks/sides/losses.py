"""Kills processes that use a queue on disk, and counts what became of the messages that they had accepted.

The accounts are kept outside: numbers that were accepted and numbers that were delivered, a line each, in two files that the
operating system has before the next message is put.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.case import Measurement, Missing, Params

ROOT = Path(__file__).resolve().parents[2]

SEED = 20_261_123
KILLED_AFTER = (0.05, 0.4)
"""Seconds between the first accepted message and the kill."""

START_WITHIN = 60.0
DRAIN_WITHIN = 120.0

MISSING_CODE = 3
"""Exit code of the child if the queue is not installed."""


def written(params: Params) -> Measurement:
    """A spool that the operating system has."""
    return _killed(params, "written")


def synced(params: Params) -> Measurement:
    """A spool that the disk has."""
    return _killed(params, "synced")


def memory(params: Params) -> Measurement:
    """No spool: what is at stake."""
    return _killed(params, "memory")


def persist_queue(params: Params) -> Measurement:
    """`SQLiteAckQueue`."""
    return _killed(params, "persist_queue")


def litequeue(params: Params) -> Measurement:
    """`LiteQueue`."""
    return _killed(params, "litequeue")


def logstash_async(params: Params) -> Measurement:
    """The handler, with a database, and a transport that delivers at once."""
    return _killed(params, "logstash_async")


def _killed(params: Params, queue: str) -> Measurement:
    random_number = random.Random(SEED)
    accepted = lost = twice = most_twice = 0
    for number in range(params["kills"]):
        folder = Path(params["folder"], f"{queue}-{number}")
        folder.mkdir()
        _run_and_kill(queue, folder, random_number.uniform(*KILLED_AFTER))
        _drain(queue, folder)
        taken, delivered = _numbers(folder / "accepted"), Counter(_numbers(folder / "delivered"))
        again = sum(count - 1 for count in delivered.values())
        accepted += len(taken)
        lost += sum(1 for each in taken if each not in delivered)
        twice += again
        most_twice = max(most_twice, again)
        shutil.rmtree(folder)
    return {"kills": params["kills"], "accepted": accepted, "lost": lost, "twice": twice, "most_twice": most_twice}


def _child(queue: str, folder: Path, job: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.sides.losses_child", queue, str(folder), job]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _run_and_kill(queue: str, folder: Path, after: float) -> None:
    child = _child(queue, folder, "produce")
    with child:
        until = time.monotonic() + START_WITHIN
        while not _size(folder / "accepted"):
            if child.poll() is not None:
                _explain(queue, child)
            if time.monotonic() > until:
                child.kill()
                raise RuntimeError(f"{queue} accepted nothing within {START_WITHIN:g} s")
            time.sleep(0.005)
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        if child.wait() != -signal.SIGKILL:
            _explain(queue, child)


def _drain(queue: str, folder: Path) -> None:
    with _child(queue, folder, "drain") as child:
        try:
            if child.wait(DRAIN_WITHIN):
                _explain(queue, child)
        except subprocess.TimeoutExpired:
            child.kill()
            raise RuntimeError(f"{queue} did not deliver the rest within {DRAIN_WITHIN:g} s") from None


def _explain(queue: str, child: subprocess.Popen[str]) -> None:
    said = child.stderr.read().strip() if child.stderr is not None else ""
    if child.returncode == MISSING_CODE:
        raise Missing(json.loads(said.rpartition("\n")[2]))
    raise RuntimeError(f"{queue} ended with {child.returncode}: {said[-1000:]}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _numbers(path: Path) -> list[int]:
    """A line that was cut off by the kill does not count."""
    if not path.exists():
        return []
    return [int(line) for line in path.read_bytes().rpartition(b"\n")[0].split()]
