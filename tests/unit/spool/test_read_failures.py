"""A disk that cannot be read for a while: what waits there waits, and nothing is passed over."""

from __future__ import annotations

import errno
import threading

import pytest

from standpipe.spool.errors import SpoolError
from standpipe.spool.log import Spool
from standpipe.testing.crashing_files import CrashingFileSystem


def test_what_was_found_before_a_read_failed_is_not_passed_over() -> None:
    files = CrashingFileSystem()
    written = Spool(files, threading.RLock(), segment_bytes=300)
    written.open()
    for number in range(6):
        written.append(1, 0, 0.0, b"", b"%d" % number * 100)
    written.sync()
    names = sorted(name for name in files.contents() if name.endswith(".seg"))
    assert len(names) > 3
    after = files.kill()
    spool = Spool(after, threading.RLock(), segment_bytes=300)
    spool.open()
    after.fail("read", errno.EIO, times=2, name=names[2])
    found = [record.first for record, _ in spool.read(2**20)]
    assert 0 < len(found) < 6
    with pytest.raises(SpoolError, match="cannot be read now"):
        spool.read(2**20)
    found += [record.first for record, _ in spool.read(2**20)]
    assert found == list(range(6))


def test_what_a_failed_sync_took_is_counted_as_lost_also_when_it_was_written_last() -> None:
    lost = 0
    for seed in range(20):
        files = CrashingFileSystem(seed)
        spool = Spool(files, threading.RLock(), careful=False)
        spool.open()
        spool.append(1, 0, 0.0, b"", b"safe")
        spool.sync()
        for number in range(3):
            spool.append(1, 0, 0.0, b"", b"%d" % number * 5000)
        files.fail("sync", errno.EIO)
        spool.sync()
        found = [record.first for record, _ in spool.read(2**20)]
        assert found == sorted(set(found))
        assert spool.read_to_end
        assert spool.take_absent() == spool.recovery.lost == 4 - len(found)
        lost += spool.recovery.lost
    assert lost, "the file system took nothing"
