from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from standpipe.spool.errors import SpoolTooNew
from standpipe.spool.files import RealFileSystem
from standpipe.spool.inspect import Survey, inspect_spool, waiting_in
from standpipe.spool.owner import owner_of
from standpipe.spool.positions import JOURNAL, SNAPSHOT
from standpipe.testing.crashing_files import CrashingFileSystem
from tests.unit.spool.spools import (
    NOW,
    damaged,
    fill,
    inspected,
    newer_positions,
    newer_segment,
    opened,
    payload,
    read_by_producer,
    segments,
    settle,
    waiting,
)


def kinds(files: CrashingFileSystem) -> list[str]:
    return [problem.kind for problem in inspected(files).problems]


def test_a_spool_is_described_by_what_waits_in_it() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 100)
    settle(spool, *range(40), 50, 52)
    spool.take(40, 3)
    spool.write_positions()
    found = inspected(files)
    assert (found.numbers, found.settled, found.waiting, found.missing) == (100, 42, 58, 0)
    assert found.in_flight == 3
    assert found.oldest == NOW + 40
    assert found.waiting_bytes == sum(len(payload(number, 1)) for number in range(40, 100) if number not in (50, 52))
    assert found.segments == len(segments(files)) > 1
    assert found.disk_bytes == sum(files.size(name) for name in segments(files))
    assert found.sound
    assert found.adds_up


def test_a_record_that_is_settled_in_part_waits_in_part() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 1, count=10)
    settle(spool, 0, 1, 5)
    (found,) = Survey(files).waiting()
    assert list(found.parts) == [(2, 5), (6, 10)]
    assert found.count == 7
    assert found.size == len(payload(0, 10)) * 7 // 10


def test_dropped_messages_are_no_gap() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 3)
    spool.skip(4)
    fill(spool, 40)
    spool.skip(2)
    spool.write_positions()
    found = inspected(files)
    assert (found.numbers, found.settled, found.waiting, found.missing) == (49, 6, 43, 0)
    assert found.sound


def test_messages_dropped_between_two_segments_are_no_gap() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 3)
    spool.skip(4)
    spool.append(1, 0, NOW, b"", bytes(4000))
    assert len(segments(files)) == 2
    assert inspected(files).missing == 0


def test_what_was_written_again_after_a_failed_sync_counts_once() -> None:
    files = CrashingFileSystem(evicts=False)
    spool = opened(files)
    fill(spool, 10)
    spool.sync()
    fill(spool, 5)
    files.fail("sync", times=1)
    spool.sync()
    fill(spool, 3)
    assert len(segments(files)) == 2
    found = inspected(files)
    assert (found.numbers, found.waiting) == (18, 18)
    assert waiting(files) == list(range(18))


def test_looking_changes_nothing() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 50)
    files.put("0000000000000009.seg.tmp", b"half")
    files.put(segments(files)[0], damaged(files.read(segments(files)[0]), random.Random(3)))
    before = files.contents()
    inspected(files)
    assert files.contents() == before


def test_damage_is_told_with_segment_and_offset() -> None:
    files = CrashingFileSystem()
    fill(opened(files), 50)
    first = segments(files)[0]
    data = files.read(first)
    at = data.index(b'"n":3,')
    files.put(first, data[:at] + b"#" + data[at + 1 :])
    found = inspected(files)
    damage, missing = found.problems
    assert (damage.kind, damage.file) == ("damaged", first)
    assert damage.offset is not None
    assert damage.offset < at
    assert str(damage).startswith(f"{first} at offset {damage.offset:,}: ")
    assert (missing.kind, missing.file) == ("missing", first)
    assert found.missing_numbers == [(3, 4)]
    assert (found.waiting, found.missing) == (49, 1)
    assert not found.sound
    assert found.adds_up


def test_one_damaged_copy_of_a_header_is_told_and_costs_nothing() -> None:
    files = CrashingFileSystem()
    fill(opened(files), 50)
    first = segments(files)[0]
    files.flip(first, 8 * 30)
    assert kinds(files) == ["header"]
    assert inspected(files).waiting == 50


def test_a_segment_that_somebody_removed_is_missed() -> None:
    files = CrashingFileSystem()
    fill(opened(files), 100)
    second = segments(files)[1]
    files.remove(second)
    found = inspected(files)
    assert found.missing > 0
    assert found.waiting + found.missing == 100
    assert kinds(files) == ["missing"]


def test_the_first_segment_is_missed_as_well_when_somebody_removed_it() -> None:
    files = CrashingFileSystem()
    fill(opened(files), 100)
    files.remove(segments(files)[0])
    found = inspected(files)
    assert found.missing_numbers == [(0, 100 - found.waiting)]
    assert "removed" in found.problems[-1].text


def test_what_was_removed_when_it_was_settled_is_not_missed() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 100)
    settle(spool, *range(80))
    assert segments(files)[0] != "0000000000000000.seg"
    found = inspected(files)
    assert (found.settled, found.waiting, found.missing) == (80, 20, 0)
    assert found.sound


def test_a_torn_tail_is_no_damage() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 3)
    name = segments(files)[-1]
    data = files.read(name)
    at = data.index(b'"n":2')
    files.put(name, data[: at + 4] + bytes(len(data) - at - 4))
    found = inspected(files)
    assert [problem.kind for problem in found.problems] == ["unfinished"]
    assert found.sound
    assert (found.numbers, found.waiting) == (2, 2)


def test_while_the_owner_works_what_it_is_writing_is_no_damage() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 3)
    name = segments(files)[-1]
    data = files.read(name)
    at = data.index(b'"n":2')
    files.put(name, data[: at + 4] + bytes(len(data) - at - 4))
    survey = Survey(files, live=True)
    assert [found.record.first for found in survey.waiting()] == [0, 1]
    assert survey.result().problems == []


def test_damaged_positions_are_told_and_nothing_is_called_missing_for_it() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 100)
    settle(spool, *range(60))
    spool.close()
    files.flip(SNAPSHOT, 8 * 20)
    found = inspected(files)
    assert [problem.kind for problem in found.problems] == ["positions"]
    assert found.missing == 0
    assert found.waiting >= 40
    assert not found.sound


def test_after_a_start_with_damaged_positions_nothing_is_called_missing_either() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 200)
    settle(spool, *range(100))
    spool.close()
    files.flip(SNAPSHOT, 8 * 20)
    spool = opened(files.kill())
    settle(spool, *range(100, 150))
    files = files.kill()
    assert inspected(files).missing == 0
    assert opened(files).recovery.problems == []


def test_missing_positions_are_a_normal_start() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 100)
    settle(spool, *range(60))
    files.remove(SNAPSHOT)
    files.remove(JOURNAL)
    assert inspected(files).sound


def test_files_of_others_and_of_crashes_are_told() -> None:
    files = CrashingFileSystem()
    fill(opened(files), 3)
    files.put("0000000000000000.seg.00000080.corrupt", b"damaged")
    files.put("positions.tmp", b"half")
    files.put("notes.txt", b"mine")
    found = inspected(files)
    assert {(problem.kind, problem.file) for problem in found.problems} == {
        ("set_aside", "0000000000000000.seg.00000080.corrupt"),
        ("leftover", "positions.tmp"),
        ("unknown", "notes.txt"),
    }
    assert found.set_aside_bytes == 7
    assert found.sound


def test_a_segment_under_the_name_of_another_is_told() -> None:
    files = CrashingFileSystem()
    fill(opened(files), 3)
    files.rename(segments(files)[0], "00000000000000ff.seg")
    assert "foreign" in kinds(files)


@pytest.mark.parametrize("name", ["0000000000000005.seg", SNAPSHOT])
def test_a_newer_version_is_refused(name: str) -> None:
    files = CrashingFileSystem()
    fill(opened(files), 3)
    files.put(name, newer_segment() if name.endswith(".seg") else newer_positions())
    with pytest.raises(SpoolTooNew, match="version 2"):
        inspected(files)


@pytest.mark.parametrize("seed", range(60))
def test_an_onlooker_sees_what_a_producer_would_send(seed: int) -> None:
    """After any damage: the same messages, in the same order, and every number is accounted for."""
    chance = random.Random(seed)
    files = CrashingFileSystem(seed)
    for _ in range(chance.randint(1, 3)):
        spool = opened(files)
        for _ in range(chance.randint(1, 60)):
            fill(spool, 1, count=chance.choice([1, 1, 1, 7]), size=chance.choice([10, 100, 900]))
            if chance.random() < 0.1:
                spool.skip(chance.randint(1, 3))
        settle(spool, *(number for number in range(spool.next_number) if chance.random() < chance.choice([0.2, 0.9])))
        if chance.random() < 0.5:
            spool.close()
        files = files.kill()
    for _ in range(chance.randint(0, 3)):
        name = chance.choice(segments(files) or [SNAPSHOT])
        files.put(name, damaged(files.read(name), chance))
    seen = waiting(files)
    found = inspected(files)
    assert found.adds_up
    assert found.waiting == len(seen)
    assert seen == read_by_producer(files)


# --- real files -------------------------------------------------------------------------------------------------------


def test_a_running_owner_is_known_by_its_process(tmp_path: Path) -> None:
    spool = opened(RealFileSystem(tmp_path / "events"))
    assert owner_of(tmp_path / "events") == os.getpid()
    spool.close()
    assert owner_of(tmp_path / "events") is None


def test_a_killed_owner_owns_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    program = (
        "import sys, threading; from pathlib import Path; from standpipe.spool.log import Spool; from standpipe.spool.files import"
        " RealFileSystem; s = Spool(RealFileSystem(Path(sys.argv[1])), threading.RLock()); s.open(); print('open', flush=True);"
        " sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        assert owner_of(folder) == owner.pid
        owner.kill()
        owner.wait()
    assert owner_of(folder) is None
    assert (folder / "lock").read_bytes().strip() == b"%d" % owner.pid


def test_looking_at_a_spool_never_keeps_its_owner_from_starting(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    opened(RealFileSystem(folder)).close()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            inspect_spool(folder)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(30):
            opened(RealFileSystem(folder)).close()
    finally:
        ended.set()
        looking.join()


def test_a_spool_can_be_looked_at_while_its_owner_works(tmp_path: Path) -> None:
    """Segments come, go and grow; an onlooker always sees a sound spool in which everything adds up."""
    folder = tmp_path / "events"
    spool = opened(RealFileSystem(folder))
    ended = threading.Event()

    def work() -> None:
        for first in range(0, 6000, 20):
            fill(spool, 10, count=2)
            if first >= 200:
                settle(spool, *range(first - 200, first - 180))
        ended.set()

    working = threading.Thread(target=work)
    working.start()
    looks = []
    while not ended.is_set():
        looks.append(inspect_spool(folder))
        numbers = [found.record.first for found in waiting_in(folder)]
        assert numbers == sorted(numbers)
    working.join()
    spool.close()
    assert all(look.owner == os.getpid() for look in looks)
    assert [str(problem) for look in looks for problem in look.problems] == []
    assert all(look.adds_up and look.missing == 0 for look in looks)
    assert sum(look.waiting > 0 for look in looks) > 3
