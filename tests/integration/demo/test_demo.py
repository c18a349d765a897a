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
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.cli.process import STANDPIPE, Process, environment

SECONDS = "6"


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
        "alerts is down: ConnectionRefusedError: connection refused",
        "archive goes on",
        "alerts is back after",
        "archive was not disturbed",
        "every message has arrived",
        "It adds up: every accepted message is accounted for, and all were delivered.",
        "in the files themselves: the same",
        "Look at it",
        "Try next",
    ]
    places = [text.find(part) for part in story]
    assert -1 not in places, f"{story[places.index(-1)]!r} is missing in\n{text}"
    assert places == sorted(places)


def test_in_a_pipe_there_are_no_colours_and_on_a_terminal_no_line_is_too_wide(
    performances: dict[str, tuple[Path, int, str]],
) -> None:
    assert "\x1b" not in performances["pipe"][2]
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", performances["terminal"][2]).replace("\r", "\n").split("\n")
    assert [line for line in told if len(line) > 80 and str(performances["terminal"][0]) not in line and "standpipe" not in line] == []


def test_it_can_be_stopped_and_claims_nothing_then(tmp_path: Path) -> None:
    with Process("demo", "--keep", "kept", folder=tmp_path) as process:
        process.wait_until(lambda: " delivered " in process.out)
        process.send(signal.SIGINT)
        assert process.end(within=20) == 0
        assert "Stopped before its end" in process.out
        assert "every message has arrived" not in process.out
        assert "the same" not in process.out.partition("It adds up")[2].partition("Look at it")[0]


@pytest.mark.parametrize("where", ["pipe", "terminal"])
def test_every_line_is_in_one_of_the_two_places_once(where: str, performances: dict[str, tuple[Path, int, str]]) -> None:
    home = performances[where][0]
    folder = home / "kept" if where == "terminal" else next(home.glob("standpipe-demo-*"))
    alerts = [json.loads(line) for line in (folder / "alerts.jsonl").read_text().split("\n") if line]
    with closing(sqlite3.connect(folder / "archive.db")) as database:
        archived = database.execute("select count(*), count(distinct id), sum(is_error), count(code) from messages").fetchone()
    visits = 300 * int(SECONDS)
    assert archived[0] == archived[1]
    assert archived[2] == 0
    assert all(alert["is_error"] for alert in alerts)
    assert archived[3] + len(alerts) == visits
    assert archived[0] > archived[3] + 300, "the package log is in it"


def test_what_it_suggests_to_look_at_works(performances: dict[str, tuple[Path, int, str]]) -> None:
    text = performances["pipe"][2]
    commands = [line.strip() for line in text[text.index("Look at it") : text.index("Try next")].split("\n")[1:] if line.strip()]
    assert len(commands) == 4
    result = subprocess.run(["bash", "-ec", "\n".join(commands)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "200" in result.stdout
    assert "alerts: the breaker is open" in result.stdout
    assert "alerts: the breaker is closed" in result.stdout


def test_what_it_left_behind_can_be_checked_and_run(performances: dict[str, tuple[Path, int, str]]) -> None:
    folder = next(performances["pipe"][0].glob("standpipe-demo-*"))
    result = subprocess.run(
        [*STANDPIPE, "run", "standpipe.yaml", "--json", "--quiet"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    ledger = json.loads(result.stdout)
    read = {lane["agent"]: lane["read"] for lane in ledger["pipelines"]}
    assert ledger["all_delivered"] is True
    assert read["visits"] == 300 * int(SECONDS)
    assert read["dpkg"] < 300, "the package log is not read twice"
