"""The `tail` agent while files are renamed, truncated, deleted and replaced under its hands."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.unit.agents.tailing import Tailing


def test_rotation_by_rename_loses_no_line(tailing: Tailing) -> None:
    tailing.write("one\n")
    agent = tailing.start()
    assert tailing.lines() == ["one"]
    tailing.write("two\n")
    tailing.path().rename(tailing.path("app.log.1"))
    tailing.write("three\n", "app.log.1")
    tailing.write("four\n")
    assert tailing.lines() == ["two", "three", "four"]
    assert agent.statistics().rotations == 1


def test_the_old_file_is_read_to_its_end_before_the_new_one(tailing: Tailing) -> None:
    tailing.start(chunk_bytes=1024)
    old = [f"old {number}" for number in range(1000)]
    tailing.write("old first\n")
    assert tailing.lines() == ["old first"]
    tailing.write("".join(f"{line}\n" for line in old))
    tailing.path().rename(tailing.path("app.log.1"))
    tailing.write("new\n")
    assert tailing.lines() == [*old, "new"]


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_late_lines_in_a_renamed_file_are_read(tailing: Tailing, pattern: str) -> None:
    tailing.write("one\n")
    tailing.start(paths=[str(tailing.logs / pattern)], rotate_wait=10)
    assert tailing.lines() == ["one"]
    tailing.path().rename(tailing.path("app.log.1"))
    tailing.write("new\n")
    assert tailing.lines() == ["new"]
    for number in range(5):
        tailing.clock.advance(9)
        tailing.write(f"late {number}\n", "app.log.1")
        assert tailing.lines() == [f"late {number}"]


def test_a_file_that_was_quiet_for_long_before_its_rename_is_still_watched_for_late_lines(tailing: Tailing) -> None:
    tailing.write("one\n")
    tailing.start(rotate_wait=10)
    assert tailing.lines() == ["one"]
    tailing.clock.advance(3600)
    tailing.path().rename(tailing.path("app.log.1"))
    assert tailing.lines() == []
    tailing.write("late\n", "app.log.1")
    assert tailing.lines() == ["late"]


def test_a_renamed_file_is_let_go_after_a_while_and_its_unfinished_line_handed_over(tailing: Tailing) -> None:
    tailing.write("one\nhalf")
    agent = tailing.start(rotate_wait=10)
    assert tailing.lines() == ["one"]
    tailing.path().rename(tailing.path("app.log.1"))
    tailing.write("new\n")
    assert tailing.lines() == ["new"]
    assert agent.statistics().open_files == 2
    tailing.clock.advance(10)
    assert tailing.lines() == ["half"]
    assert (agent.statistics().open_files, agent.statistics().files) == (1, 1)


def test_a_file_that_was_let_go_and_comes_back_is_not_read_twice(tailing: Tailing) -> None:
    tailing.write("one\n")
    tailing.start(rotate_wait=1)
    assert tailing.lines() == ["one"]
    tailing.path().rename(tailing.path("away"))
    tailing.lines(looks=20)
    tailing.write("two\n", "away")
    tailing.path("away").rename(tailing.path())
    assert tailing.lines() == ["two"]


def test_a_deleted_file_is_read_to_its_end(tailing: Tailing) -> None:
    tailing.write("one\n")
    tailing.start(rotate_wait=1)
    assert tailing.lines() == ["one"]
    with tailing.path().open("a") as log:
        tailing.path().unlink()
        log.write("two\n")
        log.flush()
        assert tailing.lines() == ["two"]
    tailing.lines(looks=10)
    tailing.write("three\n")
    assert tailing.lines() == ["three"]


def test_a_new_file_that_gets_the_inode_of_a_deleted_one_is_read_from_its_beginning(tailing: Tailing) -> None:
    reused = 0
    tailing.write("0\n")
    agent = tailing.start(rotate_wait=0.5)
    assert tailing.lines() == ["0"]
    for number in range(1, 20):
        inode = tailing.path().stat().st_ino
        tailing.path().unlink()
        assert tailing.lines(looks=6) == []
        tailing.write(f"{number}\nmore\n")
        reused += tailing.path().stat().st_ino == inode
        assert tailing.lines() == [f"{number}", "more"]
    assert agent.statistics().lost_bytes == 0


def test_a_truncated_file_is_read_from_its_beginning(tailing: Tailing) -> None:
    tailing.write("one\ntwo\n")
    agent = tailing.start()
    assert tailing.lines() == ["one", "two"]
    os.truncate(tailing.path(), 0)
    assert tailing.lines() == []
    tailing.write("three\n")
    assert tailing.lines() == ["three"]
    assert (agent.statistics().truncations, agent.statistics().lost_bytes) == (1, 0)


@pytest.mark.parametrize("new", ["3\n", "three\n4\n", "three\nfour\nfive\n"])
def test_a_file_truncated_and_written_again_between_two_looks_is_noticed(tailing: Tailing, new: str) -> None:
    tailing.write("one\ntwo\n2\n")
    agent = tailing.start()
    assert tailing.lines() == ["one", "two", "2"]
    shutil.copy(tailing.path(), tailing.path("app.log.1"))
    tailing.path().write_text(new)
    assert tailing.lines() == new.split()
    assert agent.statistics().truncations == 1


def test_a_file_of_which_only_the_end_was_cut_off_is_read_from_its_beginning_too(tailing: Tailing) -> None:
    tailing.write("12345678\n" * 500)
    agent = tailing.start()
    assert len(tailing.lines()) == 500
    os.truncate(tailing.path(), 2700)
    tailing.lines()
    tailing.write("new\n")
    assert tailing.lines() == ["new"]
    assert agent.statistics().messages == 500 + 300 + 1
    assert agent.statistics().truncations == 1


def test_what_was_truncated_before_it_was_read_is_counted(tailing: Tailing) -> None:
    tailing.write("12345678\n" * 1000)
    agent = tailing.start(chunk_bytes=1024)
    batch = agent.read(0)
    assert batch is not None
    tailing.path().write_text("new\n")
    rest = tailing.lines()
    assert rest[-1] == "new"
    assert agent.statistics().lost_bytes == 9000 - 1024
    assert "was truncated before it was read to its end; at least 7976 bytes of it are lost" in str(agent.statistics().last_error)


def test_an_unfinished_line_survives_the_truncation_of_its_file(tailing: Tailing) -> None:
    tailing.write("one\nhalf")
    tailing.start()
    assert tailing.lines() == ["one"]
    tailing.path().write_text("2\n")
    batches = tailing.batches()
    assert [(batch.lines, batch.extras) for batch in batches] == [(["half"], {0: {"partial": True}}), (["2"], None)]


def test_acknowledging_what_was_read_before_a_truncation_moves_no_position(tailing: Tailing) -> None:
    tailing.write("one\ntwo\n")
    agent = tailing.start(checkpoint_interval=0)
    (before,) = tailing.batches()
    tailing.path().write_text("a longer line than before\n")
    (after,) = tailing.batches()
    agent.acknowledge(before)
    tailing.crash()
    tailing.start()
    assert tailing.lines() == after.lines


def test_a_symlink_that_is_turned_to_another_file_is_followed(tailing: Tailing) -> None:
    tailing.write("monday 1\n", "monday")
    tailing.path().symlink_to(tailing.path("monday"))
    tailing.start()
    assert tailing.lines() == ["monday 1"]
    tailing.write("monday 2\n", "monday")
    tailing.write("tuesday\n", "tuesday")
    tailing.path().unlink()
    tailing.path().symlink_to(tailing.path("tuesday"))
    assert tailing.lines() == ["monday 2", "tuesday"]


def test_a_file_that_is_closed_to_save_descriptors_is_found_after_its_rotation(tailing: Tailing) -> None:
    for name in ("a.log", "b.log", "c.log"):
        tailing.write(f"{name} 1\n", name)
    tailing.start(paths=[str(tailing.logs / "?.log")], max_open_files=1)
    assert len(tailing.lines()) == 3
    for name in ("a.log", "b.log", "c.log"):
        tailing.write(f"{name} 2\n", name)
        tailing.path(name).rename(tailing.path(f"{name}.1"))
        tailing.write(f"{name} 3\n", name)
    assert sorted(tailing.lines()) == [f"{name}.log {number}" for name in "abc" for number in (2, 3)]


def test_what_vanished_while_it_was_closed_is_counted(tailing: Tailing) -> None:
    tailing.write("a\n", "a.log")
    tailing.write("b\n", "b.log")
    agent = tailing.start(paths=[str(tailing.logs / "?.log")], max_open_files=1, chunk_bytes=1024)
    assert sorted(tailing.lines()) == ["a", "b"]
    tailing.write("c" * 4999 + "\n", "a.log")
    assert agent._files._files  # both known; the look below sees the new size, the next one that the file is gone
    agent._scan(tailing.clock())
    tailing.write("d" * 99 + "\n", "b.log")
    agent._files._opened.close_all()
    tailing.path("a.log").unlink()
    assert tailing.lines() == ["d" * 99]
    assert agent.statistics().lost_bytes == 5000


def test_mass_rotation_with_few_descriptors_loses_nothing(tailing: Tailing) -> None:
    names = [f"{number:02}.log" for number in range(30)]
    for name in names:
        tailing.write(f"{name} 1\n", name)
    agent = tailing.start(paths=[str(tailing.logs / "*.log")], max_open_files=4, rotate_wait=3600)
    assert len(tailing.lines()) == 30
    for name in names:
        tailing.write(f"{name} 2\n", name)
        tailing.path(name).rename(tailing.path(f"{name}.old"))
        tailing.write(f"{name} 3\n", name)
    assert sorted(tailing.lines(looks=20)) == sorted(f"{name} {number}" for name in names for number in (2, 3))
    assert agent.statistics().open_files <= 4


def test_swapped_files_keep_their_positions(tailing: Tailing) -> None:
    tailing.write("a1\n", "a.log")
    tailing.write("b1\n", "b.log")
    tailing.start(paths=[str(tailing.logs / "?.log")])
    assert sorted(tailing.lines()) == ["a1", "b1"]
    tailing.path("a.log").rename(tailing.path("x"))
    tailing.path("b.log").rename(tailing.path("a.log"))
    tailing.path("x").rename(tailing.path("b.log"))
    tailing.write("b2\n", "a.log")
    tailing.write("a2\n", "b.log")
    assert sorted(tailing.lines()) == ["a2", "b2"]
