"""The demo as a newcomer sees it: in a pipe and on a terminal, twice at the same time, and what it says to try next."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.cli.process import PATIENCE, STANDPIPE, Process, environment, lines_in

SECONDS = "8"


def _in_a_pipe(folder: Path) -> tuple[int, str]:
    result = subprocess.run(
        [*STANDPIPE, "demo", "--seconds", SECONDS],
        cwd=folder,
        env=environment(TMPDIR=str(folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return result.returncode, result.stdout


def _on_a_terminal(folder: Path) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*STANDPIPE, "demo", "--seconds", SECONDS, "--keep", "kept"],
        cwd=folder,
        env=environment(COLUMNS="80"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = b""
    try:
        while chunk := os.read(ours, 65536):
            screen += chunk
    except OSError:  # the last writer has closed its end
        pass
    finally:
        os.close(ours)
    return process.wait(30), screen.decode()


@pytest.fixture(scope="module")
def performances(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int, str]]:
    """Both performances at the same time: they must not disturb each other."""
    found: dict[str, tuple[Path, int, str]] = {}

    def perform(name: str, folder: Path) -> None:
        found[name] = (folder, *(_in_a_pipe if name == "pipe" else _on_a_terminal)(folder))

    threads = [threading.Thread(target=perform, args=(name, tmp_path_factory.mktemp(name))) for name in ("pipe", "terminal")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_it_tells_of_the_outage_the_recovery_and_counts_that_agree(where: str, performances: dict[str, tuple[Path, int, str]]) -> None:
    _, code, text = performances[where]
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert code == 0, text
    story = [
        "Standpipe demo",
        "standpipe run is started: process",
        "alerts is down: ConnectionRefusedError: connection refused",
        "archive goes on",
        "kill -9",
        "lines on their way",
        "standpipe run is started: process",
        "for alerts on the disk",
        "alerts is back after",
        "archive was not disturbed",
        "every line has arrived",
        "It adds up: every accepted message is accounted for, and all were delivered.",
        "in the files themselves: nothing is missing",
        "Look at it",
        "Try next",
    ]
    at = 0
    for part in story:
        assert part in text[at:], f"{part!r} is missing, or comes too early, in\n{text}"
        at = text.index(part, at) + len(part)


def test_the_second_process_found_what_the_first_one_left(performances: dict[str, tuple[Path, int, str]]) -> None:
    for _, _, text in performances.values():
        found = re.search(r"it found ([0-9,]+) messages? for alerts", text)
        assert found is not None
        assert int(found[1].replace(",", "")) > 0
        first, second = re.findall(r"standpipe run.{0,8} is started: process ([0-9]+)", text)
        assert first != second


def test_in_a_pipe_there_are_no_colours_and_on_a_terminal_no_line_is_too_wide(
    performances: dict[str, tuple[Path, int, str]],
) -> None:
    assert "\x1b" not in performances["pipe"][2]
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", performances["terminal"][2]).replace("\r", "\n").split("\n")
    assert [line for line in told if len(line) > 80 and str(performances["terminal"][0]) not in line and "standpipe" not in line] == []


def _folder(where: str, performances: dict[str, tuple[Path, int, str]]) -> Path:
    home = performances[where][0]
    return home / "kept" if where == "terminal" else next(home.glob("standpipe-demo-*"))


@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_every_visit_has_arrived_and_the_package_log_once(where: str, performances: dict[str, tuple[Path, int, str]]) -> None:
    folder = _folder(where, performances)
    alerts = [json.loads(line) for line in (folder / "alerts.jsonl").read_text().split("\n") if line]
    with closing(sqlite3.connect(folder / "archive.db")) as database:
        rows, ids, errors = database.execute("select count(*), count(distinct id), sum(is_error) from messages").fetchone()
        users = [user for (user,) in database.execute("select user from messages")]
    assert (rows, errors) == (ids, 0)
    assert all(alert["is_error"] for alert in alerts)
    named = "\n".join([*filter(None, users), *(f"{alert.get('user')} {alert.get('message')}" for alert in alerts)])
    arrived = {int(number) for number in re.findall(r"visit-([0-9]+)", named)}
    assert arrived == set(range(1, 300 * int(SECONDS) + 1))
    assert users.count(None) > 300, "the package log is in it"


@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_nothing_is_left_running_and_the_outage_is_over(where: str, performances: dict[str, tuple[Path, int, str]]) -> None:
    _, _, text = performances[where]
    for process in re.findall(r"standpipe run.{0,8} is started: process ([0-9]+)", text):
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)
    assert not (_folder(where, performances) / "alerts.down").exists()


def test_what_it_suggests_to_look_at_works(performances: dict[str, tuple[Path, int, str]]) -> None:
    text = performances["pipe"][2]
    commands = [line.strip() for line in text[text.index("Look at it") : text.index("Try next")].split("\n")[1:] if line.strip()]
    assert len(commands) == 5
    result = subprocess.run(["bash", "-ec", "\n".join(commands)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "200" in result.stdout
    assert "alerts: the breaker is open" in result.stdout
    assert "alerts: the breaker is closed" in result.stdout
    assert "It adds up: every message is accounted for." in result.stdout


def test_what_it_left_behind_can_be_run_and_nothing_is_read_twice(performances: dict[str, tuple[Path, int, str]], tmp_path: Path) -> None:
    folder = _folder("pipe", performances)
    with Process("run", str(folder / "standpipe.yaml"), "--json", "--log-level", "info", folder=tmp_path) as process:
        process.wait_until(lambda: "archive: connected" in process.err and "alerts: connected" in process.err)
        process.send(signal.SIGTERM)
        assert process.end() == 0, process.err
        ledger = json.loads(process.out)
    read = {lane["agent"]: lane["read"] for lane in ledger["pipelines"]}
    assert ledger["all_delivered"] is True
    assert read["visits"] == 0
    assert read["dpkg"] < 300, "the package log is not read twice"


def test_it_can_be_stopped_and_claims_nothing_then(tmp_path: Path) -> None:
    with Process("demo", "--keep", "kept", folder=tmp_path) as process:
        process.wait_until(lambda: lines_in(tmp_path / "kept" / "alerts.jsonl") > 0)
        process.send(signal.SIGINT)
        assert process.end(within=20) == 0, process.err
        assert "Stopped before its end" in process.out
        assert "every line has arrived" not in process.out
        assert "nothing is missing" not in process.out.partition("It adds up")[2].partition("Look at it")[0]
        started = re.findall(r"is started: process ([0-9]+)", process.out)
    assert len(started) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(started[0]), 0)


def test_the_process_ends_when_the_demo_is_killed(tmp_path: Path) -> None:
    with Process("demo", "--keep", "kept", folder=tmp_path) as process:
        process.wait_until(lambda: lines_in(tmp_path / "kept" / "alerts.jsonl") > 0)
        process.send(signal.SIGKILL)
        assert process.end() == -signal.SIGKILL
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not (tmp_path / "kept" / "ledger.json").read_text():
        assert time.monotonic() < deadline, "it goes on for ever"
        pause.wait(0.05)
