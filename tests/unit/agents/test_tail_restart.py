"""The `tail` agent stopped, crashed and started again: no line lost, none repeated that was settled."""

from __future__ import annotations

import json
import os

import pytest

from standpipe.agents.base import AgentBatch
from standpipe.agents.checkpoint import CheckpointFile
from standpipe.agents.positions import MAX_GONE
from standpipe.core.errors import ConfigurationError
from tests.unit.agents.tailing import Tailing


def saved(tailing: Tailing) -> dict[str, int]:
    """The offsets in the checkpoint, by file name."""
    state = json.loads((tailing.state / "logs.json").read_text())["state"]
    return {os.path.basename(entry["path"]): entry["offset"] for entry in state["files"]}


def test_a_restart_continues_where_everything_was_settled(tailing: Tailing) -> None:
    tailing.write("one\ntwo\nhalf")
    tailing.start()
    assert tailing.lines() == ["one", "two"]
    tailing.stop()
    tailing.write(" three\n")
    tailing.start()
    assert tailing.lines() == ["half three"]


def test_what_was_not_acknowledged_is_read_again(tailing: Tailing) -> None:
    tailing.write("".join(f"{number:07}\n" for number in range(512)))
    agent = tailing.start(chunk_bytes=1024)
    batches = tailing.batches()
    assert len(batches) == 4
    agent.acknowledge(batches[0])
    tailing.stop()
    tailing.start()
    assert tailing.lines()[0] == "0000128"


def test_the_checkpoint_lags_and_never_leads(tailing: Tailing) -> None:
    tailing.write("one\n")
    agent = tailing.start(checkpoint_interval=1)
    (first,) = tailing.batches()
    assert saved(tailing) == {"app.log": 0}
    tailing.clock.advance(10)
    agent.read(0)
    assert saved(tailing) == {"app.log": 0}
    agent.acknowledge(first)
    assert saved(tailing) == {"app.log": 4}


def test_the_checkpoint_is_written_at_most_once_per_interval_and_on_close(tailing: Tailing) -> None:
    agent = tailing.start(checkpoint_interval=1, chunk_bytes=1024)
    tailing.clock.advance(10)
    writes = agent.statistics().checkpoint_writes
    tailing.write("x" * 99 + "\n")
    for _ in range(49):
        tailing.write("x" * 99 + "\n")
    for batch in tailing.batches(looks=2):
        agent.acknowledge(batch)
    assert agent.statistics().checkpoint_writes == writes + 1
    assert saved(tailing)["app.log"] < 5000
    agent.close()
    assert saved(tailing)["app.log"] == 5000


def test_the_last_acknowledgement_is_written_without_another_one(tailing: Tailing) -> None:
    agent = tailing.start(checkpoint_interval=1)
    tailing.write("one\n")
    assert tailing.lines() == ["one"]
    tailing.write("two\n")
    assert tailing.lines() == ["two"]
    tailing.clock.advance(1)
    agent.read(0)
    assert saved(tailing) == {"app.log": 8}


def test_lines_written_while_stopped_are_read_although_the_agent_started_at_the_end(tailing: Tailing) -> None:
    tailing.write("old\n")
    tailing.start(start_at="end")
    tailing.crash()
    tailing.write("new\n")
    tailing.write("other\n", "b.log")
    tailing.start(start_at="end")
    assert tailing.lines() == ["new"]


def test_start_at_end_applies_to_a_path_that_is_configured_later_but_not_to_files_that_appeared_meanwhile(tailing: Tailing) -> None:
    tailing.start(paths=[str(tailing.logs / "*.log")], start_at="end")
    tailing.stop()
    tailing.write("appeared\n", "a.log")
    tailing.write("old\n", "b.txt")
    tailing.start(paths=[str(tailing.logs / "*.log"), str(tailing.logs / "*.txt")], start_at="end")
    tailing.write("new\n", "b.txt")
    assert sorted(tailing.lines()) == ["appeared", "new"]


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_a_file_rotated_while_stopped_is_finished_first(tailing: Tailing, pattern: str) -> None:
    tailing.write("one\n")
    tailing.start(paths=[str(tailing.logs / pattern)])
    assert tailing.lines() == ["one"]
    tailing.stop()
    tailing.write("two\n")
    tailing.path().rename(tailing.path("app.log.1"))
    tailing.write("three\n")
    tailing.start(paths=[str(tailing.logs / pattern)])
    batches = tailing.batches()
    assert sorted(line for batch in batches for line in batch.lines or []) == ["three", "two"]
    if pattern == "app.log":
        assert [batch.lines for batch in batches] == [["two"], ["three"]]
        assert {batch.source["path"] for batch in batches} == {str(tailing.path())}


def test_a_file_truncated_while_stopped_is_read_from_its_beginning(tailing: Tailing) -> None:
    tailing.write("one\ntwo\n")
    tailing.start()
    tailing.lines()
    tailing.stop()
    tailing.path().write_text("2\nthree\nfour\n")
    tailing.start()
    assert tailing.lines() == ["2", "three", "four"]


def test_a_file_that_got_the_inode_of_another_one_while_stopped_is_read_from_its_beginning(tailing: Tailing) -> None:
    tailing.write("one\n")
    tailing.start()
    tailing.lines()
    tailing.stop()
    tailing.path().unlink()
    tailing.write("two\n", "filler")
    tailing.write("three\n")
    tailing.start()
    assert tailing.lines() == ["three"]


def test_a_file_that_was_out_of_sight_for_a_run_keeps_its_position(tailing: Tailing) -> None:
    tailing.write("one\n")
    tailing.start()
    assert tailing.lines() == ["one"]
    tailing.stop()
    tailing.logs.rename(tailing.logs.with_name("unmounted"))
    tailing.start()
    assert tailing.lines(looks=200) == []
    tailing.stop()
    tailing.logs.with_name("unmounted").rename(tailing.logs)
    tailing.write("two\n")
    tailing.start()
    assert tailing.lines() == ["two"]


def test_positions_of_files_gone_for_long_are_forgotten_beyond_a_bound(tailing: Tailing) -> None:
    tailing.start(paths=[str(tailing.logs / "*.log")])
    tailing.stop()
    content = json.loads((tailing.state / "logs.json").read_text())["state"]
    gone = [
        {"path": f"/gone/{number}", "device": 1, "inode": number, "offset": 1, "head_bytes": 0, "head": ""}
        for number in range(MAX_GONE + 50)
    ]

    checkpoint = CheckpointFile(tailing.state, "logs")
    checkpoint.open()
    checkpoint.write({**content, "files": gone})
    checkpoint.close()
    tailing.write("one\n", "a.log")
    tailing.start(paths=[str(tailing.logs / "*.log")])
    tailing.lines()
    tailing.stop()
    offsets = saved(tailing)
    assert len(offsets) == MAX_GONE + 1
    assert "49" not in offsets
    assert {"50", f"{MAX_GONE + 49}", "a.log"} <= set(offsets)


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\0", b"garbage", b'{"format": "standpipe-checkpoint", "version": 1, "state": {"files": 1}}']
)
def test_a_damaged_checkpoint_repeats_lines_and_loses_none(tailing: Tailing, content: bytes) -> None:
    tailing.write("one\n")
    tailing.start(start_at="end")
    tailing.write("two\n")
    assert tailing.lines() == ["two"]
    tailing.stop()
    (tailing.state / "logs.json").write_bytes(content)
    tailing.write("three\n")
    agent = tailing.start(start_at="end")
    assert tailing.lines() == ["one", "two", "three"]
    assert "was damaged and set aside" in str(agent.statistics().last_error)
    assert (tailing.state / "logs.json.corrupt").read_bytes() == content


def test_a_checkpoint_with_a_good_checksum_and_strange_content_is_set_aside(tailing: Tailing) -> None:

    checkpoint = CheckpointFile(tailing.state, "logs")
    checkpoint.open()
    checkpoint.write({"files": [{"path": "/a"}], "paths": []})
    checkpoint.close()
    tailing.write("one\n")
    tailing.start()
    assert tailing.lines() == ["one"]
    assert (tailing.state / "logs.json.corrupt").exists()


def test_two_agents_cannot_share_a_checkpoint(tailing: Tailing) -> None:
    tailing.start()
    first = tailing.agent
    with pytest.raises(ConfigurationError, match="is in use by process"):
        tailing.start()
    tailing.agent = first


def test_a_checkpoint_that_cannot_be_written_is_reported_and_written_later(tailing: Tailing) -> None:
    agent = tailing.start(checkpoint_interval=0)
    tailing.write("one\n")
    hidden = tailing.state.with_name("hidden")
    tailing.state.rename(hidden)
    assert tailing.lines() == ["one"]
    assert "cannot be written (No such file or directory); reading on, trying again" in str(agent.statistics().last_error)
    hidden.rename(tailing.state)
    tailing.lines()
    assert saved(tailing) == {"app.log": 4}


def test_without_a_state_folder_nothing_is_kept(tailing: Tailing) -> None:
    tailing.write("one\n")
    for _ in range(2):
        tailing.start(keep=False)
        assert tailing.lines() == ["one"]
        tailing.stop()
    assert not tailing.state.exists()


def test_a_batch_of_another_agent_is_refused(tailing: Tailing) -> None:
    agent = tailing.start()
    with pytest.raises(ValueError, match="agent 'logs' did not make this batch"):
        agent.acknowledge(AgentBatch(lines=["x"], source={}))


def test_acknowledging_after_close_changes_nothing_on_disk(tailing: Tailing) -> None:
    tailing.write("one\n")
    agent = tailing.start(checkpoint_interval=0)
    (batch,) = tailing.batches()
    agent.close()
    agent.acknowledge(batch)
    assert saved(tailing) == {"app.log": 0}


def test_a_finite_agent_continues_with_what_was_added_since(tailing: Tailing) -> None:
    for text in ("one\n", "two\n", ""):
        tailing.write(text)
        tailing.start(follow=False)
        assert tailing.lines() == text.split()
        tailing.stop()
