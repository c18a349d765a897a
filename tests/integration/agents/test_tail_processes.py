"""The `tail` agent as a process of its own: killed in the middle of its work, under load, and next to a second one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from standpipe.agents.tail import TailAgent
from standpipe.agents.tail_config import TailConfig

DEADLINE = 60.0
"""Seconds after which a condition that has not come true fails a test; each takes a second or two."""

# Prints every line, then acknowledges the batch: what a delivery does. Ends when it has printed the line `end`.
READER = """
import os, sys
from pathlib import Path
from standpipe.agents.tail import TailAgent
from standpipe.agents.tail_config import TailConfig

pattern, state = sys.argv[1:]
config = TailConfig(name="logs", paths=[pattern], poll_interval="20ms", checkpoint_interval="10ms", chunk_bytes=4096)
with TailAgent(config, state=Path(state)) as agent:
    ended = False
    while not ended:
        batch = agent.read(0.05)
        if batch is not None:
            os.write(1, "".join(f"{line}\\n" for line in batch.lines).encode())
            agent.acknowledge(batch)
            ended = "end" in batch.lines
"""


class Reader:
    """Reader processes over the same logs and state, one after the other, printing into the same file."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self.output = folder / "output"
        self.output.touch()
        self.command = [sys.executable, "-c", READER, str(folder / pattern), str(folder / "state")]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(self.command, stdout=output)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(DEADLINE)
            # The kill may hit the printing too. A destination would not take the torn line for a line.
            os.truncate(self.output, self.output.read_bytes().rfind(b"\n") + 1)

    def end(self) -> None:
        assert self.process is not None
        assert self.process.wait(DEADLINE) == 0

    def lines(self) -> list[str]:
        return self.output.read_text().split("\n")[:-1]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        threading.Event().wait(0.005)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path, "app.log")
    yield reader
    reader.kill()


def test_kill_9_in_the_middle_of_the_work_and_a_restart_lose_no_line(tmp_path: Path, reader: Reader) -> None:
    log = tmp_path / "app.log"
    written = [f"line {number} {'x' * (number % 200)}" for number in range(60_000)]
    log.write_text("".join(f"{line}\n" for line in written[:30_000]))
    for kill in range(1, 6):
        size = reader.output.stat().st_size
        reader.start()
        wait_until(lambda size=size: reader.output.stat().st_size > size + 100_000)  # type: ignore[misc]
        reader.kill()
        with log.open("a") as more:
            more.write("".join(f"{line}\n" for line in written[30_000 + (kill - 1) * 6000 : 30_000 + kill * 6000]))
    with log.open("a") as more:
        more.write("end\n")
    reader.start()
    reader.end()
    seen = reader.lines()
    assert set(seen) == {*written, "end"}
    # At least once, with few repetitions: what was read in the ten milliseconds before each kill.
    assert len(seen) < 2 * len(written)


def test_a_process_killed_while_its_log_is_rotated_finishes_the_old_file_first(tmp_path: Path, reader: Reader) -> None:
    log = tmp_path / "app.log"
    old = [f"old {number}" for number in range(20_000)]
    log.write_text("".join(f"{line}\n" for line in old))
    reader.start()
    wait_until(lambda: reader.output.stat().st_size > 20_000)
    reader.kill()
    log.rename(tmp_path / "app.log.1")
    log.write_text("new\nend\n")
    reader.start()
    reader.end()
    seen = reader.lines()
    assert set(seen) == {*old, "new", "end"}
    assert seen[-2:] == ["new", "end"]


def test_a_second_process_is_refused_and_told_who_has_the_checkpoint(tmp_path: Path, reader: Reader) -> None:
    (tmp_path / "app.log").write_text("one\n")
    reader.start()
    wait_until(lambda: reader.lines() == ["one"])
    assert reader.process is not None
    second = subprocess.run(reader.command, capture_output=True, text=True, timeout=DEADLINE)
    assert second.returncode == 1
    assert f"agent 'logs': its checkpoint {tmp_path}/state/logs.json is in use by process {reader.process.pid}; stop that" in second.stderr


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_rotation_under_load_loses_and_repeats_no_line(tmp_path: Path, pattern: str) -> None:
    config = TailConfig(name="logs", paths=[str(tmp_path / pattern)], poll_interval="10ms", max_open_files=8)
    agent = TailAgent(config, state=tmp_path / "state")
    seen: list[str] = []
    with agent:
        writer = threading.Thread(target=write_and_rotate, args=(tmp_path, agent, seen), name="writer")
        writer.start()
        deadline = time.monotonic() + DEADLINE
        while "end" not in seen[-1:]:
            assert time.monotonic() < deadline, "the last line did not come"
            batch = agent.read(0.05)
            if batch is not None:
                seen += batch.lines or []
                agent.acknowledge(batch)
        writer.join()
        assert agent.statistics().rotations == 10
    assert len(seen) == 10 * 2000 + 1
    assert [line for line in seen if line.startswith("0 ")] == [f"0 {number}" for number in range(2000)]
    assert set(seen) == {f"{file} {number}" for file in range(10) for number in range(2000)} | {"end"}


def write_and_rotate(folder: Path, agent: TailAgent, seen: list[str]) -> None:
    """Ten files of 2,000 lines, written in pieces that end anywhere; the writer goes on in the renamed file for a while.

    A file is renamed once a line of it has been `seen`: what is created and renamed between two looks, no reader can know of.
    """
    log = folder / "app.log"
    for file in range(10):
        data = "".join(f"{file} {number}\n" for number in range(2000)).encode()
        rotations = agent.statistics().rotations
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for start in range(0, len(data), 997):
            os.write(descriptor, data[start : start + 997])
            if start < 5000 <= start + 997:
                wait_until(lambda line=f"{file} 0": line in seen)  # type: ignore[misc]
                os.rename(log, folder / f"app.log.{file}")
        os.close(descriptor)
        wait_until(lambda rotations=rotations: agent.statistics().rotations > rotations)  # type: ignore[misc]
    log.write_text("end\n")
