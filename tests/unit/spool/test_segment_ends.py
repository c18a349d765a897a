"""What is at the end of a segment that a crash left, and what was in segments that are not there any more."""

from __future__ import annotations

import pytest

from standpipe.spool.format import Damage, encode_record, joined
from standpipe.spool.inspect import Survey
from standpipe.spool.tail import is_unfinished
from standpipe.testing.crashing_files import CrashingFileSystem
from tests.unit.spool.logs import opened, payloads, put
from tests.unit.spool.spools import inspected, segments

PAGE = 4096


def left_by_a_crash(*, kept: int = 2, closed: bool = False, others: int = 6) -> CrashingFileSystem:
    """Segment 0 with messages 0 and 1, left by a process that was killed, or `closed`; then `others` by a second process, two to
    a segment, of which the first two are settled and their segment removed, and all but `kept` of the rest."""
    files = CrashingFileSystem()
    spool = opened(files, 1000)
    put(spool, b"0" * 300, b"1" * 300)
    if closed:
        spool.close()
    files = files.kill()
    spool = opened(files, 1000)
    put(spool, *(b"%d" % number * 300 for number in range(2, 2 + others)))
    for number in range(2, 2 + others - kept):
        spool.settle(number, 1)
    return files.kill()


def without(files: CrashingFileSystem, *names: str) -> CrashingFileSystem:
    for name in names:
        files.remove(name)
    return files


@pytest.mark.parametrize("closed", [False, True])
def test_removed_segments_are_not_missed_when_the_positions_are_gone(closed: bool) -> None:
    files = without(left_by_a_crash(closed=closed), "positions", "positions.log")
    assert segments(files) == ["0000000000000000.seg", "0000000000000003.seg"]

    found = inspected(files)
    spool = opened(files, 1000)
    read = payloads(spool)

    assert (found.missing, found.waiting, found.sound) == (0, 4, True)
    assert [text[:1] for text in read] == [b"0", b"1", b"6", b"7"]
    assert spool.recovery.backlog == 4
    assert spool.take_absent() == 0
    assert spool.recovery.problems == []
    assert spool.recovery.lost == 0


def test_the_next_start_does_not_miss_them_either() -> None:
    files = without(left_by_a_crash(), "positions", "positions.log")
    opened(files, 1000)
    files = files.kill()
    assert inspected(files).missing == 0
    spool = opened(files, 1000)
    assert len(payloads(spool)) == 4
    assert spool.recovery.problems == []


def test_what_a_power_cut_took_of_the_positions_is_not_looked_for_in_a_segment_that_never_had_it() -> None:
    files = without(left_by_a_crash(), "positions.log")
    spool = opened(files, 1000)
    assert len(payloads(spool)) == 4
    assert spool.recovery.lost == 0
    assert spool.take_absent() == 4
    (problem,) = spool.recovery.problems
    assert problem.startswith("4 message(s) were accepted, are not noted as settled, and no segment has them")


@pytest.mark.parametrize("positions", [True, False])
def test_damage_at_the_end_of_such_a_segment_is_looked_for_in_it(positions: bool) -> None:
    files = left_by_a_crash(others=4)
    name = segments(files)[0]
    data = bytearray(files.read(name))
    at = data.index(b"1" * 300)
    data[at + 10] ^= 1
    files.put(name, bytes(data))
    if not positions:
        without(files, "positions", "positions.log")
    spool = opened(files, 1000)
    assert [text[:1] for text in payloads(spool)] == [b"0", b"4", b"5"]
    assert spool.recovery.lost >= 1
    assert any("should be in 0000000000000000.seg" in problem for problem in spool.recovery.problems)


def test_a_segment_that_is_gone_is_missed_with_all_that_was_in_it() -> None:
    files = left_by_a_crash(kept=6)
    without(files, segments(files)[1])
    assert inspected(files).missing == 2
    spool = opened(files, 1000)
    assert len(payloads(spool)) == 6
    assert any("no segment has them" in problem for problem in spool.recovery.problems)


def test_numbers_of_removed_segments_are_known_to_a_repair() -> None:
    files = without(left_by_a_crash(), "positions", "positions.log")
    survey = Survey(files)
    assert len(list(survey.waiting())) == 4
    assert survey.result().missing_numbers == []
    assert list(survey.removed) == [(2, 6)]


# --- the last bytes ---------------------------------------------------------------------------------------------------


def torn(size: int, start: int, stop: int, *, head: bool = True) -> tuple[memoryview, Damage]:
    """A segment with one record of `size` bytes of payload at `start`, of which what lies behind `stop` was not written."""
    record = joined(encode_record(7, 1, 0, 1.0, b"", b"x" * size))
    data = bytearray(start) + record + bytes(100_000)
    data[stop:] = bytes(len(data) - stop)
    if not head:
        data[start : start + 40] = bytes(40)
    return memoryview(bytes(data)), Damage(start, len(data), True)


def test_a_copy_that_stops_where_a_page_begins_was_cut_short_by_a_kill() -> None:
    assert is_unfinished(*torn(400, PAGE - 200, PAGE))
    assert is_unfinished(*torn(10_000, PAGE - 200, 2 * PAGE))
    assert is_unfinished(*torn(400, PAGE - 4, PAGE)), "not even the size is there"


def test_a_large_payload_without_its_head_was_cut_short_by_a_kill() -> None:
    assert is_unfinished(*torn(20_000, 1000, 30_000, head=False))
    assert is_unfinished(*torn(20_000, 1000, 3 * PAGE, head=False))


@pytest.mark.parametrize(
    ("size", "start", "stop", "head"),
    [
        (400, PAGE - 200, PAGE + 10, True),  # stops in the middle of a page: no process stops there
        (400, PAGE - 200, 100_000, False),  # small records are copied in one piece
        (20_000, PAGE - 20, 2 * PAGE, False),  # nothing at all in the page of its head: a power cut, or a bad sector
        (20_000, 1000, 9000, False),
    ],
)
def test_what_may_be_damage_is_not_taken_for_an_unfinished_record(size: int, start: int, stop: int, head: bool) -> None:
    data, damage = torn(size, start, stop, head=head)
    if (size, head) == (20_000, False) and start == PAGE - 20:
        changed = bytearray(data)
        changed[start:PAGE] = bytes(PAGE - start)
        changed[PAGE : PAGE + 28] = bytes(28)
        data = memoryview(bytes(changed))
    assert not is_unfinished(data, damage)


def test_a_whole_record_with_a_wrong_bit_is_damage() -> None:
    data, damage = torn(4096 - 48 + 8, 4096 - 8, 100_000)
    changed = bytearray(data)
    changed[5000] ^= 1
    assert not is_unfinished(memoryview(bytes(changed)), damage)


def test_a_record_that_a_kill_cut_short_is_cut_off_and_leaves_no_file() -> None:
    files = CrashingFileSystem()
    spool = opened(files, 3 * PAGE)
    put(spool, b"a" * 3800, b"b" * 1000)
    files = files.kill()
    (name,) = segments(files)
    data = bytearray(files.read(name))
    assert data.index(b"b" * 10) < PAGE < data.index(b"b" * 10) + 1000
    data[PAGE:] = bytes(len(data) - PAGE)
    files.put(name, bytes(data))
    spool = opened(files, 3 * PAGE)
    assert payloads(spool) == [b"a" * 3800]
    assert spool.recovery.torn_bytes > 0
    assert spool.recovery.lost == 0
    assert not [each for each in files.names() if each.endswith(".corrupt")]
    assert [problem.split(" (")[0] for problem in spool.recovery.problems] == [f"{name} ends in the middle of a record"]


def test_a_last_record_that_may_have_been_damaged_later_is_cut_off_and_kept_to_look_at() -> None:
    files = CrashingFileSystem()
    spool = opened(files, 3 * PAGE)
    put(spool, b"a" * 300, b"b" * 300)
    files = files.kill()
    (name,) = segments(files)
    data = bytearray(files.read(name))
    data[data.index(b"b" * 300) + 50] ^= 1
    files.put(name, bytes(data))
    spool = opened(files, 3 * PAGE)
    assert payloads(spool) == [b"a" * 300]
    (kept,) = [each for each in files.names() if each.endswith(".corrupt")]
    assert b"b" * 50 in files.read(kept)
