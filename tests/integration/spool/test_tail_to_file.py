"""The whole way, by the command line: `tail` -> spool -> `file`, killed in mid-run again and again.

What others do with 300,000 lines and the same kills: Fluent Bit with its file system storage repeats 9,000 to 21,000 lines and
tears one; rsyslog's disk queue repeats up to 21,000.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.spool.processes import PATIENCE, SCALE, environment, wait_until

LINES = 300_000
KILLS = 6 * SCALE
BATCH = 1000
CHUNK = 2**16

CONFIGURATION = """
agents:
  - {{type: tail, name: log, paths: [{folder}/app.log], follow: false, start_at: beginning}}
producers:
  - type: file
    name: out
    path: {folder}/out.jsonl
    fields: []
    shutdown_timeout: 60s
    batch: {{max_messages: {batch}}}
    queue: {{type: spool, durability: {durability}, segment_bytes: 1MiB}}
pipelines:
  - {{name: main, from: log, routes: [{{to: out}}]}}
"""

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from standpipe.cli.main import main; sys.exit(main())",
    "run",
    "--json",
    "--log-level",
    "error",
]


class Job:
    """The job, run by one process after the other."""

    def __init__(self, folder: Path, durability: str) -> None:
        self.folder = folder
        self.output = folder / "out.jsonl"
        self.output.touch()
        configuration = folder / "standpipe.yaml"
        configuration.write_text(CONFIGURATION.format(folder=folder, batch=BATCH, durability=durability))
        self._command = [*COMMAND, "--state-dir", str(folder / "state"), str(configuration)]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def kill_after(self, more: int) -> bool:
        """Kill it when the output has grown by so many bytes; False if it came to its end before."""
        assert self.process is not None
        process, size = self.process, self.output.stat().st_size
        wait_until(lambda: self.output.stat().st_size > size + more or process.poll() is not None, "the output grows")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
        return process.returncode == -signal.SIGKILL

    def end(self) -> dict[str, object]:
        """Wait for its end; returns the ledger."""
        assert self.process is not None
        out, said = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, said
        ledger: dict[str, object] = json.loads(out)
        return ledger

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate(timeout=PATIENCE)


@pytest.fixture(params=["written", "synced"])
def job(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Job]:
    """The job with each durability."""
    job = Job(tmp_path, request.param)
    yield job
    job.close()


def line_of(number: int) -> str:
    """A line of the log, from its number alone."""
    return f"{number:07d} {'abcdefghij' * (number % 17)} end"


@pytest.mark.timeout(120 * SCALE)
def test_a_log_whose_way_is_killed_in_mid_run_arrives_whole_and_little_of_it_twice(tmp_path: Path, job: Job) -> None:
    with (tmp_path / "app.log").open("w") as log:
        log.writelines(f"{line_of(number)}\n" for number in range(LINES))
    size = (tmp_path / "app.log").stat().st_size
    kills = 0
    while kills < KILLS:
        job.start()
        if not job.kill_after(size // (2 * KILLS)):
            break
        kills += 1
    job.start()
    job.end()
    times, torn = count_lines(job.output)
    repeated = sum(times) - LINES
    print(f"{kills} kills: {times.count(0)} of {LINES} lost, {torn} torn, {repeated} repeated")
    assert torn == 0
    assert times.count(0) == 0
    assert kills == KILLS, "the job was over too soon to be killed"
    # What was in flight: a batch at the destination, and a chunk between the spool and the checkpoint.
    assert repeated <= kills * (BATCH + CHUNK // (len(line_of(0)) + 80))
    assert not list((tmp_path / "state" / "spool" / "out").glob("*.seg"))


def count_lines(output: Path) -> tuple[list[int], int]:
    """How often each line is there, and how many are not whole."""
    times, torn = [0] * LINES, 0
    with output.open() as lines:
        for line in lines:
            try:
                text = json.loads(line)["message"]
                number = int(text[:7])
            except (ValueError, KeyError, TypeError):
                torn += 1
                continue
            times[number] += 1
            torn += text != line_of(number)
    return times, torn


def test_the_job_is_done_in_another_process(job: Job) -> None:
    """Against a test that tests nothing."""
    (job.folder / "app.log").write_text("a line\n")
    job.start()
    ledger = job.end()
    assert job.process is not None
    assert job.process.pid != os.getpid()
    assert json.loads(job.output.read_text())["message"] == "a line"
    assert ledger
