"""The examples for servers that fork: gunicorn and Celery themselves, and everything their workers emitted arrives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.docs import ROOT
from tests.servers.server import Address, free_port

EXAMPLES = ROOT / "examples" / "prefork"
PATIENCE = 30.0


@contextmanager
def running(*command: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A server, ended as its supervisor would."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=EXAMPLES,
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Waits for the condition; fails with the server's output if it ends before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(process.stdout.read() if process.stdout is not None else "")
        time.sleep(0.05)


def events_in(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def test_events_of_all_gunicorn_workers_arrive(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "events.jsonl"

    def get(name: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=5) as answer:
                return bool(answer.read())
        except OSError:
            return False

    command = ("gunicorn", "--preload", "--workers", "2", "--bind", f"127.0.0.1:{port}", "--worker-tmp-dir", str(tmp_path), "web:app")
    with running(*command, environment={"EVENTS": str(path)}) as server:
        until(lambda: get("first"), server)
        until(lambda: get("again") and len({event["worker"] for event in events_in(path)}) == 2, server)
        asked = [get(str(number)) for number in range(20)]
    assert all(asked)
    paths = [event["path"] for event in events_in(path)]
    assert sorted(str(name) for name in paths if name in {f"/{number}" for number in range(20)}) == sorted(f"/{n}" for n in range(20))


def test_events_of_all_celery_workers_arrive(tmp_path: Path, redis_server: Address, redis_name: str) -> None:
    path = tmp_path / "events.jsonl"
    environment = {"EVENTS": str(path), "BROKER": redis_server.url, "PYTHONPATH": str(EXAMPLES)}
    order = f"import tasks\nfor number in range(20): tasks.bill.apply_async((number,), queue={redis_name!r})"
    subprocess.run([sys.executable, "-c", order], env={**os.environ, **environment}, check=True, timeout=PATIENCE, cwd=tmp_path)
    command = ("celery", "--app", "tasks", "worker", "--concurrency", "2", "--queues", redis_name, "--without-gossip", "--without-mingle")
    with running(*command, environment=environment) as worker:
        until(lambda: len(events_in(path)) >= 20, worker)
    events = events_in(path)
    assert sorted(int(str(event["order"])) for event in events) == list(range(20))
    assert len({event["worker"] for event in events}) <= 2
    assert worker.returncode == 0
