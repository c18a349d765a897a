"""Every MUST of docs/explanation/spool-format.md, by name."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standpipe.spool.errors import SpoolInUse, SpoolTooNew
from standpipe.spool.files import RealFileSystem
from standpipe.spool.format import (
    FLAG_END,
    HEADER_BYTES,
    HEADER_COPY_BYTES,
    NUMBER_MAX,
    Damage,
    End,
    Record,
    decode_header,
    encode_header,
    encode_record,
    joined,
    scan,
)
from standpipe.spool.log import Spool
from standpipe.testing.crashing_files import CrashingFileSystem
from tests.unit.spool.logs import opened, payloads, put

ROOT = Path(__file__).parents[3]
FIRST = "0000000000000000.seg"


def ids(spool: Spool) -> list[str]:
    return [f"{prefix}{record.first}" for record, prefix in spool.read(2**30)]


def filled(*texts: bytes, segment_bytes: int = 4096) -> CrashingFileSystem:
    """The disk of a process that was killed with these messages in its spool."""
    files = CrashingFileSystem()
    put(opened(files, segment_bytes), *texts)
    return files.kill()


# --- the folder -------------------------------------------------------------------------------------------------------


def test_folder_is_0700_and_files_are_0600(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "spool"
    spool = opened(RealFileSystem(folder))
    put(spool, b"{}")
    spool.settle(0, 1)
    spool.write_positions()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder)] == [0o700, 0o700]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys((FIRST, "lock", "positions", "positions.log"), 0o600)
    spool.close()


def test_second_owner_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    script = (
        "import sys, threading; from pathlib import Path; from standpipe.spool.files import RealFileSystem;"
        "from standpipe.spool.log import Spool; s = Spool(RealFileSystem(Path(sys.argv[1])), threading.RLock()); s.open();"
        "print('open', flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    try:
        assert first.stdout is not None
        first.stdout.readline()
        with pytest.raises(SpoolInUse, match=f"process {first.pid};"):
            opened(RealFileSystem(tmp_path))
        first.kill()
        first.wait()
        opened(RealFileSystem(tmp_path)).close()  # the lock goes with its owner, however that ends
    finally:
        first.kill()
        first.communicate()


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    names = ("README", "0.seg", "0000000000000000.SEG", "other.tmp", "FFFFFFFFFFFFFFFF.seg", "a.corrupt")
    foreign = {name: name.encode() for name in names}
    for name, data in foreign.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "0000000000000007.seg").mkdir()
    spool = opened(RealFileSystem(tmp_path))
    put(spool, b"{}")
    spool.close()
    assert {name: (tmp_path / name).read_bytes() for name in foreign} == foreign
    assert (tmp_path / "0000000000000007.seg").is_dir()


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    folder = tmp_path / "spool"
    folder.mkdir()
    for name in (FIRST, "positions", "positions.log", "positions.tmp"):
        (folder / name).symlink_to(outside)
    spool = opened(RealFileSystem(folder))
    put(spool, b"{}")
    spool.settle(0, 1)
    spool.close()
    assert outside.read_bytes() == b"precious"


def test_number_of_a_segment_set_aside_is_not_used_again() -> None:
    files = filled()
    files.put(FIRST, b"rubbish" * 100)
    opened(files)
    files = files.kill()
    spool = opened(files)
    put(spool, b"{}")
    assert sorted(name for name in files.names() if "seg" in name) == ["0000000000000000.seg.corrupt", "0000000000000001.seg"]
    assert files.contents()["0000000000000000.seg.corrupt"] == b"rubbish" * 100


def test_copy_under_another_number_is_left_alone() -> None:
    files = filled(b"1", b"2")
    copy = files.contents()[FIRST]
    files.put("0000000000000009.seg", copy)
    spool = opened(files)
    assert payloads(spool) == [b"1", b"2"]
    assert "says that it is segment 0" in spool.recovery.problems[0]
    put(spool, b"3")
    assert files.contents()["0000000000000009.seg"] == copy


# --- segments ---------------------------------------------------------------------------------------------------------


def newer(data: bytes) -> bytes:
    copy = bytearray(data[:HEADER_COPY_BYTES])
    copy[8:10] = (2).to_bytes(2, "little")
    copy[52:56] = zlib.crc32(copy[:52]).to_bytes(4, "little")
    return bytes(copy) * 2 + data[HEADER_BYTES:]


def test_newer_segment_is_refused_untouched() -> None:
    files = filled(b"1")
    files.put("0000000000000001.seg", newer(files.contents()[FIRST]))
    files.put("0000000000000002.seg", b"rubbish")
    files.put("positions.tmp", b"half")
    before = files.contents()
    with pytest.raises(SpoolTooNew, match="version 2"):
        opened(files)
    assert files.contents() == before
    assert not files.locked


@pytest.mark.parametrize("copy", [0, HEADER_COPY_BYTES])
def test_one_damaged_header_costs_nothing(copy: int) -> None:
    files = filled(b"1", b"2")
    expected = ids(opened(files))
    for bit in range(HEADER_COPY_BYTES * 8):
        files = files.kill()
        files.flip(FIRST, copy * 8 + bit)
        spool = opened(files)
        assert ids(spool) == expected
        assert spool.recovery.problems == []
        files.flip(FIRST, copy * 8 + bit)


def test_without_header_messages_come_under_new_ids() -> None:
    files = filled(b"1", b"2")
    files.put(FIRST, b"\xff" * HEADER_BYTES + files.contents()[FIRST][HEADER_BYTES:])
    spool = opened(files)
    found = ids(spool)
    assert len(found) == 2
    assert "no readable header" in spool.recovery.problems[0]
    assert ids(opened(files.kill())) == found


def test_segment_of_zeros_is_no_damage() -> None:
    files = filled(b"1")
    files.put("0000000000000001.seg", bytes(4096))
    files.put("0000000000000002.seg", b"")
    spool = opened(files)
    assert payloads(spool) == [b"1"]
    assert spool.recovery.problems == []
    assert [name for name in files.names() if name.endswith(".seg")] == [FIRST]


# --- records ----------------------------------------------------------------------------------------------------------


def test_every_flipped_bit_is_detected() -> None:
    texts = [b'{"n":%d}' % n for n in range(4)]
    files = filled(*texts)
    used = len(files.contents()[FIRST].rstrip(b"\0"))
    for bit in range(HEADER_BYTES * 8, used * 8):
        files = files.kill()
        files.flip(FIRST, bit)
        spool = opened(files)
        found = payloads(spool)
        hit = (bit // 8 - HEADER_BYTES) // 48  # each record takes 40 + 7 bytes and one of padding
        padding = (bit // 8 - HEADER_BYTES) % 48 == 47
        assert found == [text for n, text in enumerate(texts) if n != hit or padding]
        assert padding or spool.recovery.problems
        for name in files.names():
            if name.endswith(".corrupt"):
                files.remove(name)
        files.remove("positions")
        files.remove("positions.log")
        files.flip(FIRST, bit)


def test_record_that_goes_back_is_not_taken() -> None:
    back = joined(encode_record(0, 1, 0, 1.0, b"", b"again"))
    data = joined(encode_record(5, 2, 0, 1.0, b"", b"1\n2")) + back + joined(encode_record(7, 1, 0, 1.0, b"", b"3"))
    found = [item for _, item in scan(memoryview(data), 0, len(data), 0)]
    assert [item.payload if isinstance(item, Record) else type(item) for item in found] == [b"1\n2", Damage, b"3"]


def test_nothing_behind_the_end_is_read() -> None:
    records = joined(encode_record(0, 1, 0, 1.0, b"", b"1")) + joined(encode_record(1, 0, FLAG_END, 0.0, b"", b""))
    data = encode_header(0, 0, "0" * 20) + records + joined(encode_record(1, 1, 0, 1.0, b"", b"2"))
    files = CrashingFileSystem()
    files.put(FIRST, data)
    spool = opened(files)
    assert payloads(spool) == [b"1"]
    assert spool.next_number == 1
    closed = CrashingFileSystem()
    spool = opened(closed)
    put(spool, b"1")
    spool.close()
    content = closed.contents()[FIRST]
    assert [type(item) for _, item in scan(memoryview(content), HEADER_BYTES, len(content), 0)] == [Record, End]


VALID = joined(encode_record(3, 1, 0, 1.0, b'{"key":"a"}', b'{"n":1}'))


@st.composite
def almost_records(draw: st.DrawFn) -> bytes:
    """Rubbish, intact records, and records whose fields say anything at all, with a right checksum now and then."""
    parts = []
    for _ in range(draw(st.integers(0, 8))):
        kind = draw(st.integers(0, 3))
        if kind == 0:
            parts.append(draw(st.binary(max_size=80)))
        elif kind == 1:
            parts.append(VALID)
        elif kind == 2:
            parts.append(bytes(8 * draw(st.integers(0, 40))))
        else:
            size, count, meta, skipped = (draw(st.sampled_from([0, 1, 40, 50, 2**16, 2**31, 2**32 - 1])) for _ in range(4))
            number = draw(st.sampled_from([0, 3, 7, NUMBER_MAX, 2**64 - 1]))
            body = struct.pack("<IBBHIQdII", size, 1, draw(st.integers(0, 3)), 0, count, number, draw(st.floats()), meta, skipped)
            body += draw(st.binary(max_size=30))
            parts.append(struct.pack("<I", zlib.crc32(body[: 4 + size])) + body)
    return b"".join(parts)


@settings(max_examples=400, deadline=None)
@given(data=almost_records(), first=st.sampled_from([0, 2, 10**6]), header=st.sampled_from(["whole", "torn", "none"]))
def test_any_bytes_are_read_in_bounded_time(data: bytes, first: int, header: str) -> None:
    files = CrashingFileSystem()
    head = {"whole": encode_header(0, first, "0" * 20), "torn": encode_header(0, first, "0" * 20)[:40], "none": b""}[header]
    files.put(FIRST, head + data)
    begin = time.process_time()
    spool = opened(files)
    found = payloads(spool)
    assert time.process_time() - begin < 1.0
    assert sum(map(len, found)) <= len(data)
    number = spool.next_number
    put(spool, b"next")
    assert payloads(spool) == [b"next"]
    spool.settle(number, 1)
    spool.close()


@settings(max_examples=300, deadline=None)
@given(
    snapshot=st.one_of(st.binary(max_size=200), st.sampled_from([b"", b"1 00000000\n{}", b"9" * 5000, b"1"])),
    journal=st.binary(max_size=200),
)
def test_any_positions_are_read_or_taken_for_missing(snapshot: bytes, journal: bytes) -> None:
    files = filled(b"1", b"2")
    files.put("positions", snapshot)
    files.put("positions.log", journal)
    assert payloads(opened(files)) == [b"1", b"2"]


def test_record_longer_than_its_file_is_not_taken() -> None:
    size = HEADER_BYTES + 10_000
    body = struct.pack("<IBBHIQdII", size, 1, 0, 0, 1, 0, 1.0, 0, 0) + b"x" * 100
    data = struct.pack("<I", zlib.crc32(body)) + body
    assert [type(item) for _, item in scan(memoryview(data), 0, len(data), 0)] == [Damage]


def test_search_in_crafted_bytes_ends() -> None:
    """Every place looks like the beginning of a record as long as the file."""
    size = 1_000_000
    data = bytearray(size)
    for at in range(0, size - 64, 8):
        struct.pack_into("<IB", data, at + 4, min(size - at - 16, 700_000), 1)
        struct.pack_into("<I", data, at + 12, 1)
    begin = time.process_time()
    found = [item for _, item in scan(memoryview(bytes(data)), 0, size, 0)]
    assert time.process_time() - begin < 2.0
    assert all(isinstance(item, Damage) for item in found)


def test_damaged_record_is_set_aside_and_the_others_are_delivered() -> None:
    files = filled(b"first " * 20, b"second " * 20, b"third " * 20)
    data = files.contents()[FIRST]
    at = data.index(b"second")
    files.put(FIRST, data[:at] + b"X" + data[at + 1 :])
    spool = opened(files)
    assert payloads(spool) == [b"first " * 20, b"third " * 20]
    assert spool.take_absent() == 1
    assert spool.statistics().lost_messages == 1
    assert any("damaged at offset" in problem for problem in spool.recovery.problems)
    kept = [name for name in files.names() if name.endswith(".corrupt")]
    assert len(kept) == 1
    assert b"Xecond second" in files.contents()[kept[0]]
    spool.settle(0, 1)
    spool.settle(2, 1)
    assert FIRST not in files.names()


def test_damage_that_cannot_be_set_aside_keeps_its_segment() -> None:
    files = filled(b"1" * 50, b"2" * 50, b"3" * 50)
    files.put(FIRST, files.contents()[FIRST].replace(b"2222", b"2X22", 1))
    files.fail("open", errno.ENOSPC, times=None)
    spool = opened(files)
    assert payloads(spool) == [b"1" * 50, b"3" * 50]
    for number in (0, 2):
        spool.settle(number, 1)
    assert FIRST in files.names()
    assert any("could not be kept" in problem for problem in spool.recovery.problems)


def test_truncation_at_every_byte_loses_the_tail_only() -> None:
    texts = [b'{"n":%d}' % n for n in range(3)]
    files = filled(*texts)
    data = files.contents()[FIRST]
    for size in range(len(data.rstrip(b"\0")) + 1):
        files = files.kill()
        for name in files.names():
            files.remove(name)
        files.put(FIRST, data[:size])
        spool = opened(files)
        whole = max(0, (size + 1 - HEADER_BYTES) // 48)  # the last byte of each is padding
        assert payloads(spool) == texts[:whole]
        assert spool.next_number == whole
        assert spool.recovery.lost == 0
        number = spool.append(1, 0, 1.0, b"", b"next")
        assert number == whole


def test_truncated_segment_in_the_middle_is_told() -> None:
    files = filled(b"1" * 300, b"2" * 300, b"3" * 300, b"4" * 300, segment_bytes=1000)
    files.put(FIRST, files.contents()[FIRST][: HEADER_BYTES + 344])
    spool = opened(files, 1000)
    assert [text[:1] for text in payloads(spool)] == [b"1", b"3", b"4"]
    assert spool.take_absent() == 1
    assert any("1 message(s) cannot be read any more" in problem for problem in spool.recovery.problems)


def test_removed_segment_is_told_and_costs_only_its_own_messages() -> None:
    files = filled(*(b"%d" % n * 300 for n in range(8)), segment_bytes=1000)
    files.remove("0000000000000001.seg")
    spool = opened(files, 1000)
    assert [text[:1] for text in payloads(spool)] == [b"0", b"1", b"4", b"5", b"6", b"7"]
    assert spool.take_absent() == 2
    assert any("no segment has them" in problem for problem in spool.recovery.problems)
    for number in range(8):
        spool.settle(number, 1)
    spool.close()
    assert [name for name in files.names() if name.endswith(".seg")] == []


def test_dropped_messages_are_not_missed() -> None:
    files = CrashingFileSystem()
    spool = opened(files, 600)
    for n in range(6):
        put(spool, b"%d" % n * 100)
        spool.skip(2)
    files = files.kill()  # nobody has noted that they were dropped
    spool = opened(files, 600)
    assert len(payloads(spool)) == 6
    assert spool.statistics().lost_messages == 0
    assert spool.recovery.problems == []
    assert spool.recovery.backlog - spool.take_absent() == 6


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_segment_written_again_supersedes_the_one_that_failed(seed: int) -> None:
    files = CrashingFileSystem(seed)
    texts = [b"%d" % n * 5000 for n in range(5)]
    spool = opened(files, 40_000)
    put(spool, texts[0])
    spool.sync()
    put(spool, *texts[1:4])
    files.fail("sync")
    spool.sync()  # fails, and is made good; what the first segment has of it may have changed since
    put(spool, texts[4])
    spool.sync()
    assert spool.statistics().sync_failures == 1
    assert len(spool._segments) == 2
    assert payloads(spool) == texts
    for later in (files.kill(), files.crash()):
        again = opened(later, 40_000)
        assert payloads(again) == texts
        assert again.recovery.lost == 0


def test_numbers_that_were_noted_are_not_used_again() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    put(spool, b"1", b"2")
    spool.settle(0, 1)
    spool.take(1, 1)
    spool.close()
    for name in [name for name in files.names() if name.endswith(".seg")]:
        files.remove(name)
    assert opened(files.kill()).next_number == 2


# --- positions --------------------------------------------------------------------------------------------------------


def settled_and_closed() -> CrashingFileSystem:
    files = CrashingFileSystem()
    spool = opened(files)
    put(spool, b"1", b"2", b"3")
    spool.settle(0, 1)
    spool.close()
    return files.kill()


def test_without_positions_everything_comes_again() -> None:
    files = settled_and_closed()
    assert payloads(opened(files)) == [b"2", b"3"]
    files = files.kill()
    files.remove("positions")
    spool = opened(files)
    assert payloads(spool) == [b"1", b"2", b"3"]
    assert spool.recovery.problems == []


def test_damaged_positions_are_told_and_cost_duplicates_only() -> None:
    for bit in range(len(settled_and_closed().contents()["positions"]) * 8):
        files = settled_and_closed()
        files.flip("positions", bit)
        spool = opened(files)
        assert payloads(spool) == [b"1", b"2", b"3"]
        assert spool.recovery.problems == ["the position file is damaged; messages that were delivered may be delivered again"]


def test_damaged_journal_never_settles_anything() -> None:
    def disk() -> CrashingFileSystem:
        files = CrashingFileSystem()
        spool = opened(files)
        put(spool, b"1", b"2", b"3")
        spool.settle(0, 1)
        spool.write_positions()
        return files.kill()

    for bit in range(24 * 8):
        files = disk()
        files.flip("positions.log", bit)
        assert payloads(opened(files)) == [b"1", b"2", b"3"]


def test_older_positions_cost_duplicates_only() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    put(spool, b"1", b"2", b"3")
    spool.settle(0, 1)
    spool.close()
    older = files.contents()["positions"]
    spool = opened(files)
    spool.settle(1, 1)
    put(spool, b"4")
    spool.close()
    files = files.kill()
    files.put("positions", older)
    spool = opened(files)
    assert payloads(spool) == [b"2", b"3", b"4"]
    assert spool.next_number == 4


def test_torn_journal_does_not_hide_what_follows() -> None:
    for torn in range(1, 24):
        files = CrashingFileSystem()
        spool = opened(files)
        put(spool, b"1", b"2", b"3")
        spool.settle(0, 1)
        spool.write_positions()
        files = files.kill()
        files.put("positions.log", files.contents()["positions.log"] + b"\x01" * torn)
        spool = opened(files)
        spool.settle(1, 1)
        spool.write_positions()
        spool = opened(files.kill())
        assert payloads(spool) == [b"3"]


def test_newer_positions_are_refused_untouched() -> None:
    files = settled_and_closed()
    files.put("positions", b"2 %08x\n{}" % zlib.crc32(b"{}", zlib.crc32(b"2")))
    files.put("0000000000000009.seg", bytes(100))
    before = files.contents()
    with pytest.raises(SpoolTooNew, match="version 2"):
        opened(files)
    assert files.contents() == before


# --- versions, and this page itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", sorted(path.name for path in (ROOT / "tests/fixtures/spool").glob("version-*")))
def test_stored_spool_of_version_1_stays_readable(version: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests/fixtures/spool" / version, tmp_path / "spool")
    spool = opened(RealFileSystem(tmp_path / "spool"), 600)
    found = [(r.first, r.count, r.is_error, r.time, r.payload[:7], r.meta, p, list(spool.unsettled(r))) for r, p in spool.read(2**20)]
    prefix, at = "0123456789abcdef0123", 1_800_000_000.0
    assert found == [
        (1, 2, True, at + 1, b'{"n":1}', {"keys": ["a", None]}, prefix, [(1, 2)]),
        (3, 1, False, at + 2, b'{"n":3}', {"key": "b", "headers": {"trace": "1"}, "ids": ["my-own-id"]}, prefix, [(0, 1)]),
        (5, 1, False, at + 3, b'{"n":5,', None, prefix, [(0, 1)]),
        (6, 2, False, at + 4, b'{"n":6}', None, prefix, [(0, 1)]),
    ]
    assert spool.was_taken(2, 3)
    assert not spool.was_taken(3, 8)
    assert spool.next_number == 8
    assert spool.recovery.problems == []
    spool.close()


def test_every_must_of_the_page_names_a_test_that_is_here() -> None:
    text = (ROOT / "docs/explanation/spool-format.md").read_text("utf-8")
    rules = [
        rule for rule in re.split(r"\n- |\n\n", text) if "MUST" in rule and "keep their meaning" not in rule and "followed by" not in rule
    ]
    assert len(rules) > 20
    for rule in rules:
        names = re.findall(r"`(test_\w+)`", rule)
        assert names or "tests/model/" in rule, rule
        assert all(name in globals() for name in names), names


def test_header_says_what_the_page_says() -> None:
    data = encode_header(7, 1000, "0123456789abcdef0123", 3)
    assert struct.unpack("<8sHHIQQ20sI", data[:56])[:-1] == (b"STPSPOOL", 1, 0, 3, 7, 1000, b"0123456789abcdef0123")
    assert data[:64] == data[64:]
    header = decode_header(data)
    assert header is not None
    assert (header.segment, header.first, header.prefix, header.skipped) == (7, 1000, "0123456789abcdef0123", 3)
