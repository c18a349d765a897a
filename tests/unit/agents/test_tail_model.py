"""Random histories of a log directory against a model: whatever happens, every line arrives, and none again that was settled."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from standpipe.agents.base import AgentBatch
from tests.unit.agents.tailing import Tailing

ROTATE_WAIT = 5.0
FILLING = ["", "x" * 40, "größer \u2028 日本語 \x00", "y" * 1500]


class LogDirectory(RuleBasedStateMachine):
    """Appends (also of half lines), rotations, truncations, deletions, crashes and restarts, in any order.

    Excluded is only what no reader of files can survive: a truncation or deletion of what was not read yet, and, when the
    pattern does not match rotated files, two rotations between two looks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="standpipe-model-"))
        self.tailing = Tailing(self.folder)
        self.file_of: dict[str, int] = {}  # every complete line, and in which file it is
        self.delivered: set[str] = set()
        self.settled: set[str] = set()
        self.this_run: list[str] = []
        self.outstanding: list[AgentBatch] = []
        self.half: tuple[str, bytes] | None = None  # the unfinished last line of app.log, and what of it is not written yet
        self.rotated: Path | None = None
        self.rotated_at = 0.0
        self.number = 0
        self.file = 0
        self.all_read = True
        self.seen = False  # the agent has met the file that app.log is now

    @initialize(wide=st.booleans(), open_files=st.sampled_from([1, 2, 256]), chunk=st.sampled_from([1024, 65536]))
    def begin(self, wide: bool, open_files: int, chunk: int) -> None:
        self.wide = wide
        self.fields: dict[str, Any] = {
            "paths": [str(self.tailing.logs / ("app.log*" if wide else "app.log"))],
            "max_open_files": open_files,
            "chunk_bytes": chunk,
            "checkpoint_interval": 0,
            "rotate_wait": ROTATE_WAIT,
        }
        self.start()

    def start(self) -> None:
        self.this_run = []
        self.outstanding = []
        self.tailing.start(**self.fields)

    def next_line(self, filling: str) -> str:
        self.number += 1
        return f"{self.number} {filling}"

    def write(self, lines: list[str], file: int, name: str = "app.log") -> None:
        self.tailing.write("".join(f"{line}\n" for line in lines), name)
        self.file_of.update(dict.fromkeys(lines, file))
        self.all_read = False

    @rule(fillings=st.lists(st.sampled_from(FILLING), min_size=1, max_size=5))
    def append(self, fillings: list[str]) -> None:
        self.finish_the_line()
        self.write([self.next_line(filling) for filling in fillings], self.file)

    @precondition(lambda self: self.half is None)
    @rule(filling=st.sampled_from(FILLING[1:]), place=st.integers(1, 1500))
    def append_half_a_line(self, filling: str, place: int) -> None:
        line = self.next_line(filling)
        self.tailing.write(line.encode()[:place])
        self.half = (line, line.encode()[place:])
        self.all_read = False

    @precondition(lambda self: self.half is not None)
    @rule()
    def finish_the_line(self) -> None:
        if self.half is not None:
            (line, rest), self.half = self.half, None
            self.tailing.write(rest)
            self.tailing.write("\n")
            self.file_of[line] = self.file
            self.all_read = False

    @precondition(lambda self: self.tailing.path().exists() and (self.wide or self.seen))
    @rule()
    def rotate_by_rename(self) -> None:
        self.rotated = self.tailing.path(f"app.log.{self.file}")
        self.rotated_at = self.tailing.clock.now
        self.finish_the_line()
        self.tailing.path().rename(self.rotated)
        self.new_file()

    def new_file(self) -> None:
        self.file += 1
        self.seen = False

    def is_watched(self) -> bool:
        return self.rotated is not None and (self.wide or self.tailing.clock.now - self.rotated_at < ROTATE_WAIT)

    @precondition(lambda self: self.is_watched())
    @rule()
    def append_to_the_rotated_file(self) -> None:
        assert self.rotated is not None
        self.write([self.next_line("late")], int(self.rotated.suffix[1:]), self.rotated.name)

    @precondition(lambda self: self.all_read and self.seen and self.half is None and self.tailing.path().exists())
    @rule(kind=st.sampled_from(["truncate", "rewrite", "delete"]))
    def lose_the_content(self, kind: str) -> None:
        self.new_file()
        if kind == "delete":
            self.tailing.path().unlink()
        else:
            os.truncate(self.tailing.path(), 0)
        if kind == "rewrite":
            self.write([self.next_line("rewritten"), self.next_line(FILLING[1])], self.file)

    @precondition(lambda self: self.tailing.agent is not None)
    @rule(seconds=st.sampled_from([0.0, 0.3, 2.0, 6.0]))
    def read(self, seconds: float) -> None:
        self.tailing.clock.advance(seconds)
        for batch in self.tailing.batches(looks=2):
            self.outstanding.append(batch)
            for line in batch.lines or []:
                assert line in self.file_of, f"never written: {line!r}"
                assert line not in self.settled, f"settled before: {line!r}"
                self.this_run.append(line)
                self.delivered.add(line)
        self.seen = self.tailing.path().exists()
        self.all_read = True
        assert set(self.file_of) <= self.delivered, f"lost: {set(self.file_of) - self.delivered}"

    @precondition(lambda self: self.outstanding and self.tailing.agent is not None)
    @rule(count=st.integers(1, 5))
    def acknowledge(self, count: int) -> None:
        assert self.tailing.agent is not None
        for _ in range(min(count, len(self.outstanding))):
            batch = self.outstanding.pop(0)
            self.tailing.agent.acknowledge(batch)
            self.settled.update(batch.lines or [])

    @precondition(lambda self: self.tailing.agent is not None)
    @rule(crash=st.booleans())
    def end(self, crash: bool) -> None:
        if crash:
            self.tailing.crash()
        else:
            self.tailing.stop()

    @precondition(lambda self: self.tailing.agent is None)
    @rule()
    def start_again(self) -> None:
        self.start()

    @invariant()
    def one_run_gives_each_line_once_and_those_of_a_file_in_order(self) -> None:
        assert len(self.this_run) == len(set(self.this_run))
        for file in {self.file_of[line] for line in self.this_run}:
            numbers = [int(line.split(" ")[0]) for line in self.this_run if self.file_of[line] == file]
            assert numbers == sorted(numbers)

    def teardown(self) -> None:
        if hasattr(self, "fields"):
            if self.tailing.agent is None:
                self.start()
            self.finish_the_line()
            self.read(6.0)
            self.tailing.stop()
        shutil.rmtree(self.folder)


TestLogDirectory = LogDirectory.TestCase
TestLogDirectory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
