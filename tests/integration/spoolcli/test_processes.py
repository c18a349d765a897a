"""`standpipe spool` and `standpipe audit` beside a running daemon, after `kill -9`, and killed themselves."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from standpipe.spool.files import RealFileSystem
from tests.unit.spool.spools import damaged, fill, inspected, opened, segments, settle, waiting

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0
"""Seconds after which a condition that should come true fails a test; it takes a moment."""

LINES = 3000

CONFIGURATION = """\
state_dir: state
producers:
  - type: file
    name: events
    path: {path}
    queue: {{type: spool, segment_bytes: 64KiB}}
agents:
  - {{type: tail, name: log, paths: [in.log]}}
pipelines:
  - {{name: lines, from: log, routes: [{{to: events}}]}}
"""

REPAIR = """\
import sys
from pathlib import Path
from standpipe.spool.files import RealFileSystem
from standpipe.spool.repair import repair
print("ready", flush=True)
sys.stdin.readline()
repair(RealFileSystem(Path(sys.argv[1])), "events")
print("done", flush=True)
"""


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        threading.Event().wait(0.02)


class Shell:
    """Runs `standpipe` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "standpipe", *arguments]
        process = subprocess.Popen(
            command, cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "standpipe", *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def configure(self, path: str) -> None:
        (self.folder / "standpipe.yaml").write_text(CONFIGURATION.format(path=path))


@pytest.fixture
def shell(tmp_path: Path, empty_home: None) -> Iterator[Shell]:
    del empty_home
    shell = Shell(tmp_path)
    yield shell
    shell.end()


def test_beside_a_daemon_and_after_its_death_everything_is_seen_and_nothing_disturbed(shell: Shell) -> None:
    """The destination is down; the daemon is looked at, killed, audited, and its backlog drained to a destination that works."""
    (shell.folder / "in.log").write_text("".join(f"line {number}\n" for number in range(LINES)))
    shell.configure("/proc/nowhere/out.jsonl")
    daemon = shell.start("run", "-q")
    wait_until(lambda: messages_in(shell) == LINES, "all lines are in the spool")

    (spool,) = shell.json("spool", "list")["spools"]
    assert (spool["owner"], spool["messages"], spool["sound"]) == (daemon.pid, LINES, True)
    shown = shell.run("spool", "show", "events", "--json", "--limit", "0").stdout.splitlines()
    assert [json.loads(line)["message"]["message"] for line in shown] == [f"line {number}" for number in range(LINES)]
    assert shell.run("spool", "verify").returncode == 0
    audit = shell.run("audit")
    assert audit.returncode == 0, audit.stderr
    assert f"A daemon is at work (process {daemon.pid})" in audit.stdout
    for verb in ("repair", "drain"):
        refused = shell.run("spool", verb, "events")
        assert refused.returncode == 78
        assert f"used by process {daemon.pid}" in refused.stderr
    assert daemon.poll() is None

    daemon.kill()
    daemon.wait()
    audit = shell.run("audit")
    assert audit.returncode == 0, audit.stderr
    assert "A daemon" not in audit.stdout
    assert messages_in(shell) == LINES

    shell.configure("out.jsonl")
    assert shell.run("spool", "drain", "events").returncode == 0
    out = [json.loads(line)["message"] for line in (shell.folder / "out.jsonl").read_text().splitlines()]
    assert out == [f"line {number}" for number in range(LINES)]
    (row,) = shell.json("audit")["producers"]
    assert (row["given_out"], row["settled"], row["waiting"], row["missing"]) == (LINES, LINES, 0, 0)


def messages_in(shell: Shell) -> int:
    return sum(spool["messages"] for spool in shell.json("spool", "list")["spools"])


def test_a_drain_that_is_interrupted_keeps_the_rest(shell: Shell) -> None:
    files = RealFileSystem(shell.folder / "state" / "spool" / "events")
    spool = opened(files)
    fill(spool, 500)
    spool.close()
    shell.configure("/proc/nowhere/out.jsonl")
    draining = shell.start("spool", "drain", "events")
    wait_until(lambda: shell.json("spool", "list")["spools"][0]["owner"] == draining.pid, "the drain has begun")
    draining.send_signal(signal.SIGINT)
    out, _ = draining.communicate(timeout=PATIENCE)
    assert draining.returncode == 1
    assert out.decode() == "events: 0 delivered, 500 left\n"
    assert messages_in(shell) == 500


@pytest.mark.parametrize("seed", range(3))
def test_a_repair_killed_again_and_again_loses_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    folder = tmp_path / "events"
    files = RealFileSystem(folder)
    spool = opened(files)
    fill(spool, 800)
    settle(spool, *chance.sample(range(800), 100))
    spool.close()
    for name in segments(files):
        (folder / name).write_bytes(damaged(files.read(name), chance))
    readable = waiting(files)
    killed = 0
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", REPAIR, str(folder)], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == b"ready\n"
            process.stdin.write(b"\n")
            process.stdin.flush()
            threading.Event().wait(chance.random() * 0.02)
            process.kill()
            killed += process.stdout.read() != b"done\n"
        assert waiting(files) == readable
    assert killed > 0
    subprocess.run([sys.executable, "-c", REPAIR, str(folder)], env=environment(), input=b"\n", check=True, stdout=subprocess.DEVNULL)
    assert waiting(files) == readable
    assert inspected(files).sound
