"""Positions: a snapshot and a journal, on disks that refuse them."""

from __future__ import annotations

import errno
from contextlib import suppress

import pytest

from standpipe.spool import positions
from standpipe.spool.positions import SETTLED, TAKEN, Positions
from standpipe.testing.crashing_files import CrashingFileSystem, Stopped


def loaded(files: CrashingFileSystem) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[str]]:
    problems: list[str] = []
    found = Positions(files)
    found.load(problems.append)
    return list(found.settled), list(found.taken), problems


def test_what_was_written_is_there_after_a_kill() -> None:
    files = CrashingFileSystem()
    now = Positions(files)
    now.note(TAKEN, 0, 5)
    now.note(SETTLED, 1, 2)
    now.write()
    now.note(SETTLED, 4, 1)
    assert loaded(files.kill()) == ([(1, 3)], [(0, 5)], [])


def test_snapshot_survives_a_power_cut_at_every_step() -> None:
    for step in range(1, 12):
        for seed in range(8):
            files = CrashingFileSystem(seed=seed)
            now = Positions(files)
            now.note(SETTLED, 0, 3)
            now.snapshot()
            now.note(SETTLED, 3, 2)
            files.stop_after(step)
            with suppress(Stopped):
                now.write()
                now.snapshot()
            settled, _, _ = loaded(files.crash())
            assert settled in ([(0, 3)], [(0, 5)])


def test_nothing_written_is_lost_by_a_kill_at_any_step_of_a_snapshot() -> None:
    for step in range(1, 10):
        files = CrashingFileSystem(seed=step)
        now = Positions(files)
        now.note(SETTLED, 0, 3)
        now.write()
        files.stop_after(step)
        with suppress(Stopped):
            now.snapshot()
        assert loaded(files.kill())[0] == [(0, 3)]


def test_journal_is_folded_into_a_snapshot_when_it_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "JOURNAL_MAX", 240)
    files = CrashingFileSystem()
    now = Positions(files)
    for number in range(0, 200, 2):
        now.note(SETTLED, number, 1)
        now.write()
        assert len(files.contents().get("positions.log", b"")) <= 264
    assert len(loaded(files.kill())[0]) == 100


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_refused_facts_are_counted_and_come_with_the_next(number: int) -> None:
    files = CrashingFileSystem()
    now = Positions(files)
    now.note(SETTLED, 0, 1)
    now.write()
    files.fail("append", number)
    now.note(SETTLED, 1, 1)
    now.write()
    assert now.failures == 1
    now.note(SETTLED, 2, 1)
    now.write()
    assert loaded(files.kill()) == ([(0, 3)], [], [])


def test_half_written_entry_hides_nothing() -> None:
    files = CrashingFileSystem()
    now = Positions(files)
    now.note(SETTLED, 0, 1)
    now.write()
    files.capacity = sum(map(len, files.contents().values())) + 10
    now.note(SETTLED, 1, 1)
    now.write()
    assert len(files.contents()["positions.log"]) == 34
    files.capacity = None
    now.note(SETTLED, 5, 1)
    now.write()
    assert loaded(files.kill()) == ([(0, 2), (5, 6)], [], [])
