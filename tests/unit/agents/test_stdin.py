"""The `stdin` agent, on real pipes and files."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standpipe.agents.stdin import StdinAgent, StdinConfig
from standpipe.core.errors import ConfigurationError


class Pipe:
    """A pipe and an agent at its end."""

    def __init__(self, **fields: Any) -> None:
        reader, self.writer = os.pipe()
        self.reader = reader
        self.agent = StdinAgent(StdinConfig(name="in", **fields), descriptor=reader)
        self.agent.open()

    def write(self, data: bytes) -> None:
        os.write(self.writer, data)

    def end(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def lines(self) -> list[str]:
        lines: list[str] = []
        while (batch := self.agent.read(0)) is not None:
            lines += batch.lines or []
        return lines

    def close(self) -> None:
        self.end()
        self.agent.close()
        os.close(self.reader)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_are_read_as_they_come_and_the_end_finishes(pipe: Pipe) -> None:
    pipe.write(b"one\r\ntwo\nthr")
    assert pipe.lines() == ["one", "two"]
    assert not pipe.agent.finished
    pipe.write(b"ee")
    assert pipe.lines() == []
    pipe.end()
    assert pipe.lines() == ["three"]
    assert pipe.agent.finished
    assert pipe.agent.read(60) is None


@given(st.binary(max_size=200), st.integers(1, 7))
def test_any_bytes_in_any_portions_are_lines_split_at_newlines(data: bytes, portion: int) -> None:
    pipe = Pipe(encoding="latin-1")
    lines: list[str] = []
    for start in range(0, len(data), portion):
        pipe.write(data[start : start + portion])
        lines += pipe.lines()
    pipe.end()
    lines += pipe.lines()
    pipe.close()
    expected = data.decode("latin-1").split("\n")
    if expected[-1] == "":
        expected.pop()
    assert lines == [line.removesuffix("\r") for line in expected]


def test_a_batch_says_where_it_is_from_and_is_counted(pipe: Pipe) -> None:
    pipe.write(b"one\nb\xffd\n")
    batch = pipe.agent.read(1)
    assert batch is not None
    pipe.agent.acknowledge(batch)
    assert (batch.lines, batch.source, batch.size) == (["one", "b\ufffdd"], {"agent": "in"}, 8)
    statistics = pipe.agent.statistics()
    assert (statistics.messages, statistics.bytes_read, statistics.batches_acknowledged, statistics.invalid_lines) == (2, 8, 1, 1)


def test_a_long_line_is_cut_and_marked() -> None:
    pipe = Pipe(max_line_bytes=10)
    pipe.write(b"x" * 5000 + b"\nnext\n")
    batch = pipe.agent.read(1)
    assert batch is not None
    assert (batch.lines, batch.extras) == (["x" * 10, "next"], {0: {"truncated": True}})
    assert pipe.agent.statistics().truncated_bytes == 4990
    pipe.close()


def test_a_waiting_read_returns_at_once_when_interrupted(pipe: Pipe) -> None:
    timer = threading.Timer(0.05, pipe.agent.interrupt)
    timer.start()
    assert pipe.agent.read(3600) is None
    assert not pipe.agent.finished
    pipe.agent.interrupt()
    assert pipe.agent.read(3600) is None
    timer.join()
    pipe.write(b"still there\n")
    assert pipe.lines() == ["still there"]


def test_a_thousand_interrupts_do_not_block(pipe: Pipe) -> None:
    for _ in range(100_000):
        pipe.agent.interrupt()
    assert pipe.agent.read(3600) is None


def test_a_regular_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("one\ntwo")
    with (tmp_path / "in").open("rb") as file:
        agent = StdinAgent(StdinConfig(name="in"), descriptor=file.fileno())
        agent.open()
        batches = [agent.read(1), agent.read(1), agent.read(1)]
        agent.close()
    assert [batch and batch.lines for batch in batches] == [["one"], ["two"], None]
    assert agent.finished


def test_closed_standard_input_is_a_configuration_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(ConfigurationError, match="agent 'in': standard input is closed; connect it to a pipe or a file"):
        StdinAgent(StdinConfig(name="in"), descriptor=reader).open()


def test_input_that_cannot_be_read_counts_as_ended_with_its_last_line(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    agent = StdinAgent(StdinConfig(name="in"), descriptor=folder)
    agent.open()
    assert agent.read(1) is None
    assert agent.finished
    assert agent.statistics().last_error == "standard input: cannot be read (Is a directory); taken as its end"
    agent.close()
    os.close(folder)


def test_a_closed_agent_reads_nothing_and_leaves_the_input_open(pipe: Pipe) -> None:
    pipe.agent.close()
    pipe.agent.close()
    pipe.agent.interrupt()
    assert pipe.agent.read(1) is None
    os.fstat(pipe.reader)
