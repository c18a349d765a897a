"""What survives what when `standpipe run` reads a file, with the queue in memory: the file is what survives."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from standpipe.app.application import Application
from standpipe.app.configuration import read_plan
from standpipe.spool.dead_letters import SqliteDeadLetters
from tests.integration.cli.process import Process, lines_in
from tests.integration.spool.disks import loop_disk
from tests.integration.survives.destinations import arrived, down_file

LINES = 2000
QUEUE_MAX, HELD_MAX, CHUNK = 100, 4096, 1024

CONFIGURATION = """\
state_dir: {folder}/state
agents:
  - {{type: tail, name: log, paths: "{folder}/app.log", follow: {follow}, poll_interval: 20ms, chunk_bytes: {chunk}}}
producers:
  - type: tests.integration.survives.destinations:Lines
    name: out
    path: {folder}/out
    delay: {delay}
    max_retries: 1
    retry: {{initial: 10ms, max: 50ms}}
    reconnect_wait: 50ms
    queue: {{max_messages: {queue}}}
pipelines:
  - {{name: main, from: log, held_max: {held}, routes: [{{to: out}}]}}
"""


def _line(number: int) -> str:
    return f"line {number:06d}"


def _write(folder: Path, *, delay: str = "0s", follow: str = "false", lines: int = LINES) -> Path:
    """A log and a configuration."""
    (folder / "app.log").write_text("".join(f"{_line(number)}\n" for number in range(lines)))
    path = folder / "standpipe.yaml"
    path.write_text(CONFIGURATION.format(folder=folder, delay=delay, follow=follow, chunk=CHUNK, queue=QUEUE_MAX, held=HELD_MAX))
    return path


def _application(path: Path) -> Application:
    return Application(read_plan(path))


def _read(application: Application) -> int:
    return application.ledger().lanes[0].read


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


AHEAD_MAX = QUEUE_MAX + (HELD_MAX + 2 * CHUNK) // len(_line(0)) + 10
"""How many lines may have been read and not delivered: what the queue takes, what is held for it, and what is in hand."""


def test_while_the_destination_is_down_reading_stops_and_the_file_is_the_buffer(tmp_path: Path) -> None:
    down_file(tmp_path / "out").touch()
    with _application(_write(tmp_path)) as application:
        application.start()
        _until(lambda: application["out"].statistics().connect_failures > 5 and _read(application) >= QUEUE_MAX)
        seen = -1
        while seen != (seen := _read(application)):
            time.sleep(0.2)
        assert seen <= AHEAD_MAX
        assert application["out"].statistics().dropped == 0
        down_file(tmp_path / "out").unlink()
        assert application.wait(20)
        assert application.shutdown().all_delivered
    assert arrived(tmp_path / "out") == [_line(number) for number in range(LINES)]


def test_reading_keeps_the_pace_of_a_slow_destination(tmp_path: Path) -> None:
    ahead = []
    with _application(_write(tmp_path, delay="1ms", lines=1000)) as application:
        application.start()
        while not application.finished:
            delivered = application["out"].statistics().delivered
            ahead.append(_read(application) - delivered)
            time.sleep(0.01)
        ledger = application.shutdown()
    assert ledger.all_delivered
    assert ledger.rows[0].delivered == 1000
    # Between the two looks a few more may have been delivered.
    assert 0 < max(ahead) <= AHEAD_MAX + 50


def test_a_poison_line_is_put_aside_and_not_read_again(tmp_path: Path) -> None:
    path = _write(tmp_path, lines=2)
    with (tmp_path / "app.log").open("a") as log:
        log.write("poison\nthe last\n")
    for read, rejected in ((4, 1), (0, 0)):
        with _application(path) as application:
            application.start()
            assert application.wait(20)
            ledger = application.shutdown()
        assert (ledger.lanes[0].read, ledger.rows[0].dead_lettered, ledger.rows[0].pending) == (read, rejected, 0)
        store = application["out"].dead_letters
        assert isinstance(store, SqliteDeadLetters)
        assert [letter.content() for letter in store] == [{"message": "poison"}]
    assert arrived(tmp_path / "out") == [_line(0), _line(1), "the last"]


def _times(folder: Path) -> Counter[str]:
    """How often each line has arrived; half a line, which a power cut may leave, is none."""
    found: Counter[str] = Counter()
    for line in (folder / "out").read_bytes().split(b"\n"):
        try:
            found[json.loads(line)] += 1
        except (ValueError, TypeError):
            continue
    return found


def _run_to_the_end(path: Path, folder: Path) -> dict[str, Any]:
    with Process("run", str(path), "--json", folder=folder) as process:
        assert process.end() == 0, process.err
        ledger: dict[str, Any] = json.loads(process.out)
        return ledger


def test_after_kill_9_the_log_is_read_on_from_the_checkpoint(tmp_path: Path) -> None:
    path = _write(tmp_path, delay="1ms")
    for kills in (1, 2):
        with Process("run", str(path), folder=tmp_path) as process:
            process.wait_until(lambda kills=kills: lines_in(tmp_path / "out") >= 500 * kills)  # type: ignore[misc]
            process.send(signal.SIGKILL)
            assert process.end() == -signal.SIGKILL
    ledger = _run_to_the_end(path, tmp_path)
    times = _times(tmp_path)
    assert set(times) == {_line(number) for number in range(LINES)}
    assert ledger["pipelines"][0]["read"] < LINES - 500, "it began at the beginning again"
    assert times.total() - LINES <= 2 * AHEAD_MAX


def test_after_a_power_cut_the_log_is_read_on_from_a_checkpoint_on_the_disk(tmp_path: Path) -> None:
    with loop_disk(tmp_path) as disk:
        path = _write(disk.path, delay="1ms", lines=800)
        path.write_text(path.read_text().replace("Lines\n", "SyncedLines\n"))
        _sync(disk.path)
        for cuts in (1, 2):
            with Process("run", str(path), folder=tmp_path) as process:
                process.wait_until(lambda cuts=cuts: lines_in(disk.path / "out") >= 200 * cuts)  # type: ignore[misc]
                disk.cut_power()
                process.send(signal.SIGKILL)
                process.end()
            disk.reboot()
        _run_to_the_end(path, tmp_path)
        times = _times(disk.path)
    assert set(times) == {_line(number) for number in range(800)}


def _sync(folder: Path) -> None:
    """What is there before the power goes is on the disk."""
    for path in (*folder.iterdir(), folder):
        if path.is_file() or path == folder:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def test_what_was_not_delivered_when_the_run_ended_is_read_again(tmp_path: Path) -> None:
    path = _write(tmp_path, delay="1ms")
    with Process("run", str(path), "--timeout", "100ms", "--json", folder=tmp_path) as process:
        process.wait_until(lambda: lines_in(tmp_path / "out") >= 200)
        process.send(signal.SIGTERM)
        assert process.end() in (0, 1)  # 0 if all that had been read could be delivered in time
        first = json.loads(process.out)["producers"][0]
    second = _run_to_the_end(path, tmp_path)["producers"][0]
    assert first["delivered"] + second["delivered"] >= LINES
    times = _times(tmp_path)
    assert set(times) == {_line(number) for number in range(LINES)}
    assert times.total() - LINES <= AHEAD_MAX
