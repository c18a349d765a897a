from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from standpipe.spool.errors import SpoolError, SpoolInUse, SpoolTooNew
from standpipe.spool.files import RealFileSystem
from standpipe.spool.inspect import Survey
from standpipe.spool.positions import JOURNAL, SNAPSHOT
from standpipe.spool.repair import repair
from standpipe.testing.crashing_files import CrashingFileSystem, Stopped
from tests.unit.spool.spools import damaged, fill, inspected, newer_segment, opened, read_by_producer, segments, settle, waiting


def test_a_sound_spool_is_left_as_it_is() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 100)
    settle(spool, *range(30))
    spool.close()
    before = files.contents()
    done = repair(files, "events")
    assert done.actions == []
    assert {name: data for name, data in files.contents().items() if name != "lock"} == {
        name: data for name, data in before.items() if name != "lock"
    }


def test_what_is_readable_stays_and_what_is_not_is_set_aside() -> None:
    files = spool_with_damage_at_message_3()
    first = segments(files)[0]
    bad = files.read(first)
    done = repair(files, "events")
    (aside,) = (name for name in files.names() if name.endswith(".corrupt"))
    assert files.read(aside) in bad
    assert b"#n" in files.read(aside)
    assert done.set_aside_bytes == len(files.read(aside))
    assert done.written_off == 1
    assert (done.before.sound, done.after.sound) == (False, True)
    assert read_by_producer(files) == [0, 1, 2, *range(4, 50)]


def spool_with_damage_at_message_3() -> CrashingFileSystem:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 50)
    spool.close()
    first = segments(files)[0]
    files.put(first, files.read(first).replace(b'"n":3,', b'#n":3,'))
    return files.kill()


def test_repairing_twice_changes_nothing_the_second_time() -> None:
    files = spool_with_damage_at_message_3()
    repair(files, "events")
    before = files.contents()
    done = repair(files, "events")
    assert done.actions == []
    assert files.contents() == before


def test_damage_at_a_place_that_was_damaged_before_is_kept_beside_the_first() -> None:
    files = spool_with_damage_at_message_3()
    repair(files, "events")
    first = segments(files)[0]
    data = files.read(first)
    at = data.index(b'"n":4,')
    files.put(first, data[: at + 1] + b"#" + data[at + 2 :])
    repair(files, "events")
    kept = [files.read(name) for name in files.names() if name.endswith(".corrupt")]
    assert len(kept) == 2
    assert any(b'"#":4,' in each for each in kept)
    assert any(b'#n":3,' in each for each in kept)


def test_both_copies_of_a_header_are_made_again() -> None:
    files = CrashingFileSystem()
    fill(opened(files), 50)
    first = segments(files)[0]
    prefix = next(Survey(files).waiting()).prefix
    files.flip(first, 8 * 30)
    files = files.kill()
    repair(files, "events")
    assert inspected(files).sound
    assert next(Survey(files).waiting()).prefix == prefix


def test_a_segment_without_header_keeps_its_messages_and_their_new_ids() -> None:
    files = CrashingFileSystem()
    fill(opened(files), 50)
    first = segments(files)[0]
    files.put(first, b"\xff" * 128 + files.read(first)[128:])
    files = files.kill()
    before = [(found.record.first, found.prefix) for found in Survey(files).waiting()]
    repair(files, "events")
    assert [(found.record.first, found.prefix) for found in Survey(files).waiting()] == before
    assert len(before) == 50
    assert inspected(files).sound


def test_a_file_with_nothing_readable_is_set_aside_as_a_whole() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 50)
    spool.close()
    first = segments(files)[0]
    rubbish = bytes(random.Random(1).randbytes(3000))
    files.put(first, rubbish)
    files = files.kill()
    done = repair(files, "events")
    assert files.read(f"{first}.corrupt") == rubbish.rstrip(b"\0")
    assert first not in files.names()
    assert done.written_off > 0
    assert inspected(files).sound
    assert len(waiting(files)) == 50 - done.written_off


def test_a_segment_under_a_wrong_name_gets_its_own_back() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 50)
    spool.close()
    first = segments(files)[0]
    files.rename(first, "00000000000000ff.seg")
    files = files.kill()
    repair(files, "events")
    assert read_by_producer(files) == list(range(50))


def test_a_copy_under_a_wrong_name_is_set_aside() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 50)
    spool.close()
    first = segments(files)[0]
    files.put("00000000000000ff.seg", files.read(first))
    files = files.kill()
    repair(files, "events")
    assert files.read("00000000000000ff.seg.corrupt") == files.read(first).rstrip(b"\0")
    assert read_by_producer(files) == list(range(50))


def test_of_a_damaged_journal_the_intact_entries_count() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 50)
    for number in range(0, 40, 2):
        settle(spool, number)
    files = files.kill()
    data = bytearray(files.read(JOURNAL))
    data[24 * 3] ^= 1
    files.put(JOURNAL, bytes(data))
    assert len(waiting(files)) == 50 - 3
    repair(files, "events")
    assert len(waiting(files)) == 50 - 19
    assert inspected(files).sound


def test_a_damaged_position_file_is_kept_and_made_again() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 100)
    settle(spool, *range(60))
    spool.close()
    files.flip(SNAPSHOT, 8 * 20)
    bad = files.read(SNAPSHOT)
    files = files.kill()
    done = repair(files, "events")
    assert any(files.read(name) == bad for name in files.names() if name.startswith("positions.") and name.endswith(".corrupt"))
    assert done.written_off == 0
    assert inspected(files).sound
    assert set(waiting(files)) >= set(range(60, 100))


def test_messages_that_are_nowhere_are_written_off_and_counted() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    fill(spool, 100)
    spool.close()
    files.remove(segments(files)[1])
    files = files.kill()
    missing = inspected(files).missing
    done = repair(files, "events")
    assert done.written_off == missing > 0
    assert inspected(files).sound
    assert inspected(files).adds_up


def test_leftovers_of_a_crash_go() -> None:
    files = CrashingFileSystem()
    fill(opened(files), 3)
    files.put("0000000000000009.seg.tmp", b"half")
    files.put("mine.tmp", b"not ours")
    files = files.kill()
    repair(files, "events")
    assert "0000000000000009.seg.tmp" not in files.names()
    assert "mine.tmp" in files.names()


def test_a_newer_version_is_refused_untouched() -> None:
    files = spool_with_damage_at_message_3()
    files.put("0000000000000005.seg", newer_segment())
    before = files.contents()
    with pytest.raises(SpoolTooNew, match=r"events: 0000000000000005\.seg is of version 2"):
        repair(files, "events")
    assert {name: data for name, data in files.contents().items() if name != "lock"} == {n: d for n, d in before.items() if n != "lock"}


def test_a_spool_in_use_is_not_repaired(tmp_path: Path) -> None:
    spool = opened(RealFileSystem(tmp_path))
    with pytest.raises(SpoolInUse, match=r"events: the spool is used by process \d+; stop it, then repair"):
        repair(RealFileSystem(tmp_path), "events")
    spool.close()
    assert repair(RealFileSystem(tmp_path), "events").actions == []


def test_a_full_disk_is_told_and_nothing_is_changed() -> None:
    files = spool_with_damage_at_message_3()
    before = {name: data for name, data in files.contents().items() if name != "lock"}
    files.fail("append", errno.ENOSPC, times=None)
    files.capacity = sum(map(len, files.contents().values()))
    with pytest.raises(SpoolError, match="events: the spool cannot be repaired"):
        repair(files, "events")
    files.heal()
    files.capacity = None
    assert {name: data for name, data in files.contents().items() if name != "lock" and not name.endswith(".tmp")} == before
    assert repair(files, "events").after.sound


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_step_a_repair_loses_nothing_and_can_be_done_again(seed: int, power: bool) -> None:
    steps = 0
    while True:
        files, readable = badly_damaged(seed)
        everything = b"".join(files.contents().values())
        files.stop_after(steps)
        try:
            repair(files, "events")
            ended = True
        except Stopped:
            ended = False
        files = files.crash() if power else files.kill()
        assert waiting(files) == readable, f"after {steps} steps"
        repair(files, "events")
        assert waiting(files) == readable
        assert inspected(files).sound
        assert all(files.read(name) in everything for name in files.names() if name.endswith(".corrupt"))
        if ended:
            break
        steps += 1
    assert steps > 10


def badly_damaged(seed: int) -> tuple[CrashingFileSystem, list[int]]:
    """A spool, all of it on the disk, with damage in every segment; and which messages wait in it that can be read."""
    chance = random.Random(seed)
    files = CrashingFileSystem(seed)
    spool = opened(files)
    fill(spool, 60)
    settle(spool, *chance.sample(range(60), 20))
    spool.close()
    files.sync_folder()
    for name in segments(files):
        files.put(name, damaged(files.read(name), chance))
    return files.kill(), waiting(files)


@pytest.mark.parametrize("seed", range(40))
def test_after_a_repair_exactly_the_same_messages_are_delivered(seed: int) -> None:
    files, readable = badly_damaged(seed)
    done = repair(files, "events")
    assert done.after.sound
    assert done.after.adds_up
    assert waiting(files) == readable
    assert read_by_producer(files) == readable
