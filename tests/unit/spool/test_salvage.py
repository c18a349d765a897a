"""Of a damaged record it is certain which messages it was, or it counts as lost."""

from __future__ import annotations

import threading

import pytest

from standpipe.spool.format import HEADER_BYTES, PREAMBLE_BYTES, encode_header, encode_record, joined
from standpipe.spool.log import Spool
from standpipe.testing.crashing_files import CrashingFileSystem
from tests.unit.spool.damage import IN_THE_PAYLOAD, SEGMENT, damage, records
from tests.unit.spool.logs import opened

THE_NUMBER = PREAMBLE_BYTES + 8


def spool_with_damage(bit: int) -> Spool:
    """Three records, read after one bit of the second has flipped."""
    files = CrashingFileSystem()
    data = [(0, 1, b"", b'{"n":0}'), (1, 2, b'{"keys":["a","b"]}', b'{"n":1}\n{"n":2}'), (3, 1, b"", b'{"n":3}')]
    spool = opened(files)
    for _, count, meta, payload in data:
        spool.append(count, 0, 1.0, meta, payload)
    files = files.kill()
    start = HEADER_BYTES + len(joined(encode_record(0, 1, 0, 1.0, b"", b'{"n":0}')))
    files.flip(SEGMENT, start * 8 + bit)
    return Spool(files, spool._lock, segment_bytes=4096, salvages=True)


def test_no_flipped_bit_makes_it_another_message() -> None:
    size = len(joined(encode_record(1, 2, 0, 1.0, b'{"keys":["a","b"]}', b'{"n":1}\n{"n":2}'))) * 8
    known = 0
    for bit in range(size):
        spool = spool_with_damage(bit)
        spool.open()
        intact = [record.first for record, _ in spool.read(2**20)]
        damaged = spool.take_damaged()
        assert intact in ([0, 3], [0, 1, 3])  # a flipped bit of the padding harms nobody
        if damaged:
            ((record, prefix),) = damaged
            assert (record.first, record.count, len(prefix)) == (1, 2, 20)
            assert len(record.payload.split(b"\n")) == 2, "nobody can tell which bytes are whose"
            assert spool.recovery.lost == spool.take_absent() == 0
            known += 1
        elif intact == [0, 3]:
            assert spool.recovery.lost == spool.take_absent() == 2
    assert known / size > 0.5, "of most it should be known: its head is intact"


@pytest.mark.parametrize(("second", "expected"), [(IN_THE_PAYLOAD, [1, 2, 3]), (THE_NUMBER, [])])
def test_damaged_neighbours_are_all_known_or_none_of_them(second: int, expected: list[int]) -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    for n in range(5):
        spool.append(1, 0, 1.0, b"", b'{"n":%d}' % n)
    files = files.kill()
    starts = [start for start, _ in records(files.read(SEGMENT))]
    for number, offset in ((1, IN_THE_PAYLOAD), (2, second), (3, IN_THE_PAYLOAD)):
        files.flip(SEGMENT, (starts[number] + offset) * 8)
    later = Spool(files, spool._lock, segment_bytes=4096, salvages=True)
    later.open()
    assert [record.first for record, _ in later.read(2**20)] == [0, 4]
    assert [record.first for record, _ in later.take_damaged()] == expected
    assert later.recovery.lost == 3 - len(expected)


def test_the_first_message_of_a_segment_is_known_also_if_others_were_dropped_before_it() -> None:
    files = CrashingFileSystem()
    spool = opened(files, segment_bytes=300)
    while len(spool._segments) < 2:
        spool.append(1, 0, 1.0, b"", b'{"n":0,"text":"%s"}' % (b"x" * 60))
        first = spool.next_number
    while spool._current is not None and spool._current.used + 200 < spool._current.size:
        spool.append(1, 0, 1.0, b"", b'{"n":0,"text":"%s"}' % (b"x" * 60))
    spool.skip(3)
    before = len(spool._segments)
    damaged = spool.append(1, 0, 1.0, b"", b'{"n":1,"text":"%s"}' % (b"x" * 100))
    assert len(spool._segments) == before + 1, "it begins a segment"
    assert damaged == first + 3
    name = spool._segments[-1].name
    spool.append(1, 0, 1.0, b"", b"{}")
    files = files.kill()
    files.flip(name, (HEADER_BYTES + IN_THE_PAYLOAD) * 8)
    later = Spool(files, spool._lock, segment_bytes=300, salvages=True)
    later.open()
    later.read(2**20)
    assert [record.first for record, _ in later.take_damaged()] == [damaged]
    assert later.recovery.lost == 0


def test_a_message_before_those_that_were_written_again_elsewhere_is_known() -> None:
    files = CrashingFileSystem(evicts=False)
    spool = Spool(files, threading.RLock(), segment_bytes=4096, careful=True)
    spool.open()
    for n in range(2):
        spool.append(1, 0, 1.0, b"", b'{"n":%d}' % n)
    spool.sync()
    files.fail("sync")
    for n in range(2, 4):
        spool.append(1, 0, 1.0, b"", b'{"n":%d}' % n)
    spool.sync()
    assert len(spool._segments) == 2, "what was not synced stands in another segment"
    later = Spool(damage(files, 1), spool._lock, segment_bytes=4096, salvages=True)
    later.open()
    assert [record.first for record, _ in later.read(2**20)] == [0, 2, 3]
    assert [record.first for record, _ in later.take_damaged()] == [1]
    assert later.recovery.lost == 0


def test_a_damaged_message_beside_one_that_is_not_there_is_not_guessed() -> None:
    files = CrashingFileSystem()
    bad = bytearray(joined(encode_record(1, 1, 0, 1.0, b"", b'{"n":1}')))
    bad[IN_THE_PAYLOAD] ^= 1
    intact = [joined(encode_record(number, 1, 0, 1.0, b"", b'{"n":%d}' % number)) for number in (0, 3)]
    files.put(SEGMENT, encode_header(0, 0, "0" * 20) + intact[0] + bytes(bad) + intact[1])
    spool = Spool(files, threading.RLock(), segment_bytes=4096, salvages=True)
    spool.open()
    assert [record.first for record, _ in spool.read(2**20)] == [0, 3]
    assert spool.take_damaged() == []
    assert spool.recovery.lost == 2


def test_what_is_settled_already_is_not_put_aside() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    for n in range(3):
        spool.append(1, 0, 1.0, b"", b'{"n":%d}' % n)
    spool.settle(1, 1)
    spool.write_positions()
    later = Spool(damage(files, 1), spool._lock, segment_bytes=4096, salvages=True)
    later.open()
    assert [record.first for record, _ in later.read(2**20)] == [0, 2]
    assert later.take_damaged() == []
    assert (later.recovery.lost, later.take_absent()) == (0, 0)
