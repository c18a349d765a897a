"""The log on a disk that fails, fills up and loses power: at every step, and what the owner is told."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from standpipe.spool import disk
from standpipe.spool.errors import SpoolError, SpoolFull, SpoolInUse
from standpipe.spool.files import RealFileSystem
from standpipe.spool.log import Spool
from standpipe.testing.crashing_files import CrashingFileSystem, Stopped
from tests.unit.spool.logs import opened, payloads, put


class Story:
    """A life with everything in it, and what it has promised by the moment it ends."""

    def __init__(self, files: CrashingFileSystem, careful: bool) -> None:
        self.files = files
        self.careful = careful
        self.written: list[bytes] = []
        self.durable = 0
        self.settled = 0

    def run(self) -> None:
        spool = opened(self.files, 500, careful=self.careful)
        for n in range(24):
            text = b"%02d" % n * (20 + 40 * (n % 3))
            spool.append(1, 0, 1.0, b"", text)
            self.written.append(text)
            if n % 3 == 2:
                spool.sync()
                self.durable = len(self.written)
            if n % 4 == 3:
                self.settled = n
                for number in range(n - 3, n):
                    spool.settle(number, 1)
                spool.write_positions()
        spool.close()
        self.durable = len(self.written)


def unharmed(files: CrashingFileSystem, careful: bool) -> int:
    story = Story(files, careful)
    story.run()
    return len(files.steps)


@pytest.mark.parametrize("careful", [True, False])
@pytest.mark.parametrize("trouble", ["none", "one sync fails"])
def test_no_step_at_which_a_power_cut_or_a_kill_costs_what_was_promised(careful: bool, trouble: str) -> None:
    steps = unharmed(CrashingFileSystem(), careful)
    assert steps > 50
    for step in range(1, steps + 5):
        for end in ("kill", "crash"):
            files = CrashingFileSystem(seed=step, evicts=careful)
            if trouble != "none":
                files.fail("sync", name=f"{step % 4:016x}.seg")
            files.stop_after(step)
            story = Story(files, careful)
            with suppress(Stopped, SpoolError):
                story.run()
            promised = story.durable if end == "crash" or (careful and trouble != "none") else len(story.written)
            later = files.kill() if end == "kill" else files.crash()
            for _ in range(2):  # and again, because recovery must change nothing
                spool = opened(later, 500, careful=careful)
                found = payloads(spool)
                waiting = [text for n, text in enumerate(story.written[:promised]) if n % 4 == 3 or n >= story.settled]
                assert [text for text in waiting if text not in found] == [], (step, end)
                assert found == sorted(found)
                later = later.kill()


def test_kill_at_every_step_of_recovery_changes_nothing() -> None:
    for seed in range(10):
        files = CrashingFileSystem(seed=seed)
        spool = opened(files, 600)
        put(spool, *(b"%02d" % n * 40 for n in range(9)))
        spool.settle(0, 4)
        spool.sync()
        files = files.crash()
        name = max(name for name in files.names() if name.endswith(".seg"))
        files.flip(name, 8 * 200)
        expected: list[bytes] | None = None
        for step in range(1, 60):
            files.stop_after(step)
            try:
                spool = opened(files, 600)
                found = payloads(spool)
                assert expected is None or found == expected
                expected = found
            except Stopped:
                pass
            files = files.kill() if step % 2 else files.crash()
        assert expected is not None


def test_what_a_killed_process_has_written_survives_a_power_cut_after_the_next_start() -> None:
    for seed in range(10):
        files = CrashingFileSystem(seed)
        texts = [b"%d" % n * 3000 for n in range(6)]
        put(opened(files, 10_000, careful=False), *texts)
        files = files.kill()
        opened(files, 10_000, careful=False)
        assert payloads(opened(files.crash(), 10_000)) == texts


def test_disk_of_nothing_but_errors_is_told_to_the_caller() -> None:
    for action in ("create", "sync", "sync_folder", "write"):
        files = CrashingFileSystem()
        spool = opened(files)
        files.fail(action, errno.EIO, times=None)
        for _ in range(3):
            with pytest.raises(SpoolError, match="not accepted"):
                put(spool, b"1")
        assert spool.next_number == 0
        assert spool.trouble is not None
        files.heal()
        put(spool, b"2")
        assert spool.trouble is None
        assert payloads(spool) == [b"2"]
        assert len([name for name in files.names() if name.endswith(".seg")]) == 1


def test_segment_that_cannot_be_made_takes_no_room() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    for _ in range(5):
        files.fail("sync_folder", errno.ENOSPC)
        with pytest.raises(SpoolFull):
            put(spool, b"1")
    assert [name for name in files.names() if name.endswith(".seg")] == []


@pytest.mark.parametrize("end", ["kill", "crash"])
@pytest.mark.parametrize("fails", ["sync", "sync_folder"])
def test_segment_that_can_be_neither_made_nor_removed_cuts_nothing_off(fails: str, end: str) -> None:
    for seed in range(10):
        files = CrashingFileSystem(seed)
        spool = opened(files, 1000)
        put(spool, b"1")
        files.fail(fails)
        files.fail("remove")
        with pytest.raises(SpoolError):
            put(spool, b"x" * 2000)
        put(spool, b"2")
        spool.sync()
        assert payloads(opened(files.kill() if end == "kill" else files.crash())) == [b"1", b"2"]


def test_segment_written_again_in_vain_cuts_nothing_off() -> None:
    files = CrashingFileSystem(evicts=False)
    spool = opened(files)
    put(spool, b"1")
    files.fail("sync", name="0000000000000000.seg")
    files.fail("sync_folder", times=None)
    files.fail("remove")
    with pytest.raises(SpoolError):
        spool.sync()
    put(spool, b"2")
    assert payloads(opened(files.kill())) == [b"1", b"2"]


def test_segment_settled_while_it_was_written_goes_with_the_next() -> None:
    files = CrashingFileSystem()
    spool = opened(files, 1000)
    for n in range(50):
        put(spool, b"x" * 200)
        spool.settle(n, 1)
    assert len([name for name in files.names() if name.endswith(".seg")]) == 1
    assert spool.statistics().segments == 1


def test_one_slow_message_pins_its_own_segment_only() -> None:
    files = CrashingFileSystem()
    spool = opened(files, 1000)
    for n in range(50):
        put(spool, b"x" * 200)
        if n != 7:
            spool.settle(n, 1)
    assert spool.statistics().segments == 2


def test_memory_for_what_the_disk_has_not_is_bounded() -> None:
    files = CrashingFileSystem()
    spool = opened(files, 4096)
    for _ in range(500):
        put(spool, b"x" * 200)
        assert sum(len(record[-1]) for record in spool._unsynced) < 4 * 4096


def test_closed_spool_takes_nothing_and_closes_twice() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    put(spool, b"1")
    spool.close()
    before = files.contents()
    spool.close()
    with pytest.raises(SpoolError, match="closed"):
        put(spool, b"2")
    assert files.contents() == before
    assert not files.locked
    spool.commit(1)


def test_a_file_that_cannot_be_closed_after_its_sync_is_nobodys_error(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(CrashingFileSystem(), 500)
    put(spool, *(b"%d" % n * 150 for n in range(4)))
    sync = spool._disk.sync

    def settled_meanwhile(files: Any) -> bool:
        spool.settle(0, 3)  # all segments but the current one go; the file of one is in use
        return sync(files)

    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "the server of this file system is gone")

    monkeypatch.setattr(spool._disk, "sync", settled_meanwhile)
    monkeypatch.setattr("standpipe.testing.crashing_files._Mapped.close", refuse)
    spool.commit(4)
    assert spool.durable == 4


@pytest.mark.parametrize("synced", [True, False])
def test_closing_gives_back_the_room_that_the_last_segment_did_not_need(tmp_path: Path, synced: bool) -> None:
    """Or each restart while a destination is down would cost the room of a whole segment."""
    for life in range(3):
        spool = opened(RealFileSystem(tmp_path), 2**20)
        put(spool, b"%d" % life)
        if synced:
            spool.sync()
        spool.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4096
    spool = opened(RealFileSystem(tmp_path))
    assert payloads(spool) == [b"0", b"1", b"2"]
    spool.close()


def test_close_gives_up_on_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "CLOSE_PATIENCE", 0.05)
    spool = opened(RealFileSystem(tmp_path))
    put(spool, b"1")
    answer, asked = threading.Event(), threading.Event()

    class Hanging:
        def sync(self) -> None:
            asked.set()
            answer.wait(10)

    thread = threading.Thread(target=lambda: spool._disk.sync([Hanging()]))  # type: ignore[list-item]
    thread.start()
    asked.wait(5)
    spool.close()
    assert "has not answered" in str(spool.statistics().last_error)
    answer.set()
    thread.join()
    again = opened(RealFileSystem(tmp_path))
    assert payloads(again) == [b"1"]
    again.close()


def test_close_on_a_full_disk_keeps_everything() -> None:
    files = CrashingFileSystem()
    spool = opened(files)
    put(spool, b"1", b"2")
    spool.settle(0, 1)
    files.capacity = 0
    spool.close()
    files.capacity = None
    assert payloads(opened(files.kill()))[-1:] == [b"2"]


def test_forked_child_leaves_the_spool_to_its_parent(tmp_path: Path) -> None:
    files = RealFileSystem(tmp_path)
    spool = opened(files)
    put(spool, b"1")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    child = os.fork()
    if not child:
        try:
            spool.forget()
            os._exit(0 if opened_elsewhere(tmp_path) == "in use" else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    put(spool, b"2")
    spool.close()
    again = opened(RealFileSystem(tmp_path))
    assert payloads(again) == [b"1", b"2"]
    again.close()


def opened_elsewhere(folder: Path) -> str:
    return "in use" if RealFileSystem(folder).lock("lock") is not None else "free"


def test_threads_that_append_commit_and_settle_lose_nothing(tmp_path: Path) -> None:
    lock = threading.RLock()
    spool = Spool(RealFileSystem(tmp_path), lock, segment_bytes=65536, careful=True)
    spool.open()
    committed: list[int] = []
    settled: list[int] = []

    def write(name: int) -> None:
        for n in range(60):
            with lock:
                number = spool.append(1, 0, 1.0, b"", b"%d %d " % (name, n) + b"x" * 1500)
            spool.commit(number + 1)
            with lock:
                committed.append(number)
                if n % 2:
                    spool.settle(number, 1)
                    settled.append(number)

    run_all([lambda name=name: write(name) for name in range(4)])  # type: ignore[misc]
    with lock:
        spool.write_positions()
    spool.forget()
    again = opened(RealFileSystem(tmp_path), 65536)
    found = [record.first for record, _ in again.read(2**30)]
    assert found == sorted(set(committed) - set(settled))
    assert again.statistics().lost_messages == 0
    assert spool.statistics().sync_failures == 0
    again.close()


def run_all(jobs: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def test_sync_that_succeeds_after_one_that_failed_is_not_believed() -> None:
    """Of two syncs of one file the kernel tells only one of a failure."""
    files = CrashingFileSystem(seed=2)
    spool = opened(files)
    put(spool, b"1")
    assert spool._current is not None
    assert spool._current.file is not None
    files.fail("sync")
    assert not spool._disk.sync([spool._current.file])
    assert not spool._disk.sync([spool._current.file])
    spool.sync()
    assert payloads(opened(files.crash())) == [b"1"]


def test_bad_sector_costs_its_own_records_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = RealFileSystem(tmp_path)
    spool = opened(files, 65536)
    put(spool, *(b"%02d" % n * 1000 for n in range(20)))
    spool.forget()
    real, real_pread = os.preadv, os.pread

    def up_to_the_bad_sector(descriptor: int, size: int, offset: int) -> bytes:
        return real_pread(descriptor, min(size, 8192 - offset), offset)

    def failing(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        stop = offset + sum(map(len, buffers))
        if offset < 12_288 and stop > 8192:
            if offset < 8192:
                return real(descriptor, [buffers[0][: 8192 - offset]], offset)
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "pread", up_to_the_bad_sector)
    monkeypatch.setattr(os, "preadv", failing)
    again = opened(RealFileSystem(tmp_path), 65536)
    found = [text[:2] for text in payloads(again)]
    assert found == [b"%02d" % n for n in range(20) if n not in (3, 4, 5)]
    again.close()


def test_folders_above_are_made_durable_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(RealFileSystem, "_sync_folder", staticmethod(lambda folder: synced.append(folder.name)))
    RealFileSystem(tmp_path / "a" / "b" / "c").prepare()
    assert synced == [tmp_path.name, "a", "b"]


def test_replacing_syncs_the_file_before_it_is_renamed_and_the_folder_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noting(name: str) -> None:
        real = getattr(os, name)

        def call(*given: Any) -> Any:
            calls.append(name)
            return real(*given)

        monkeypatch.setattr(os, name, call)

    for name in ("write", "fdatasync", "rename", "fsync"):
        noting(name)
    RealFileSystem(tmp_path).replace("positions", b"all of it")
    assert calls == ["write", "fdatasync", "rename", "fsync"]


def test_spool_where_a_file_is_tells_so(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    with pytest.raises(SpoolError, match="cannot be opened"):
        opened(RealFileSystem(tmp_path / "spool"))


def test_spool_opens_on_a_disk_without_room_for_the_id_of_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(RealFileSystem(tmp_path))
    put(spool, b"one")
    spool.close()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    later = opened(RealFileSystem(tmp_path))
    assert payloads(later) == [b"one"]
    with pytest.raises(SpoolInUse, match="process unknown"):
        opened(RealFileSystem(tmp_path))
    later.close()
