"""The crashing file system: as unkind as it claims to be, and otherwise like the real one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from standpipe.spool.files import FileSystem, RealFileSystem
from standpipe.testing.crashing_files import PAGE_BYTES, CrashingFileSystem, Stopped

SEEDS = range(60)


@pytest.fixture(params=["real", "crashing"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> FileSystem:
    made: FileSystem = RealFileSystem(tmp_path) if request.param == "real" else CrashingFileSystem()
    return made


# --- like the real one ------------------------------------------------------------------------------------------------


def test_mapped_file_is_written_read_and_cut_off(files: FileSystem) -> None:
    files.prepare()
    made = files.create("a", 100_000)
    assert bytes(made.buffer[:10]) == bytes(10)
    made.write(5, b"hello")
    made.write(20_000, b"x" * 30_000)
    made.buffer[60_000:60_002] = b"yz"
    made.sync()
    assert files.head("a", 12) == b"\0\0\0\0\0hello\0\0"
    assert files.head("a", 10**6) == files.read("a")
    assert files.read("a")[49_998:50_001] == b"xx\0"
    made.close(60_001)
    made.close()
    assert files.size("a") == 60_001
    assert files.read("a")[-1:] == b"y"
    with pytest.raises(FileExistsError):
        files.create("a", 10)


def test_appended_replaced_renamed_and_removed(files: FileSystem) -> None:
    files.prepare()
    for part in (b"one", b"two"):
        log = files.appending("log")
        log.append(part)
        log.sync()
        log.close()
    assert files.read("log") == b"onetwo"
    files.replace("log", b"three")
    files.replace("other", b"four")
    assert (files.read("log"), files.names()) == (b"three", ["log", "other"])
    files.rename("other", "log")
    files.sync("log")
    files.sync_folder()
    assert (files.read("log"), files.names()) == (b"four", ["log"])
    files.remove("log")
    files.remove("log")
    assert files.names() == []
    for call in (files.read, files.size, files.sync):
        with pytest.raises(FileNotFoundError):
            call("log")
    assert files.free() > 0


def test_lock_is_free_again_after_unlocking(files: FileSystem) -> None:
    files.prepare()
    assert files.lock("lock") is None
    files.unlock()
    files.unlock()
    assert files.lock("lock") is None
    files.unlock()


# --- as unkind as it claims -------------------------------------------------------------------------------------------


def outcomes(pages: int, *, synced: bool) -> set[tuple[int, ...]]:
    """Which pages survived a power cut, over many seeds."""
    found = set()
    for seed in SEEDS:
        files = CrashingFileSystem(seed)
        file = files.create("a", pages * PAGE_BYTES)
        file.sync()
        files.sync_folder()
        for page in range(pages):
            file.write(page * PAGE_BYTES, b"x" * PAGE_BYTES)
        if synced:
            file.sync()
        data = files.crash().read("a")
        found.add(tuple(data[page * PAGE_BYTES : (page + 1) * PAGE_BYTES].count(b"x") for page in range(pages)))
    return found


def test_any_subset_of_unsynced_pages_survives_a_power_cut() -> None:
    found = outcomes(2, synced=False)
    assert {(0, 0), (0, PAGE_BYTES), (PAGE_BYTES, 0), (PAGE_BYTES, PAGE_BYTES)} <= found
    assert any(0 < survived < PAGE_BYTES for pair in found for survived in pair), "none was torn"


def test_what_was_synced_survives_a_power_cut() -> None:
    assert outcomes(3, synced=True) == {(PAGE_BYTES,) * 3}


def test_everything_written_survives_a_kill() -> None:
    files = CrashingFileSystem()
    files.create("a", 10).write(0, b"mapped")
    files.appending("b").append(b"appended")
    files.replace("c", b"replaced")
    files.remove("c")
    later = files.kill()
    assert later.contents() == {"a": b"mapped\0\0\0\0", "b": b"appended"}


def test_names_whose_folder_was_not_synced_may_be_lost_and_removals_undone() -> None:
    found = set()
    for seed in SEEDS:
        files = CrashingFileSystem(seed)
        files.create("old", 1)
        files.sync_folder()
        files.create("new", 1)
        files.remove("old")
        found.add(tuple(files.crash().names()))
    assert found == {(), ("old",), ("new",), ("new", "old")}


def test_renaming_is_atomic() -> None:
    found = set()
    for seed in SEEDS:
        files = CrashingFileSystem(seed)
        files.replace("a", b"1")
        log = files.appending("b")
        log.append(b"2")
        log.sync()
        files.sync_folder()
        files.rename("b", "a")
        later = files.crash()
        found.add(tuple(sorted(later.contents().items())))
    assert found == {(("a", b"1"), ("b", b"2")), (("a", b"2"),)}


def test_replaced_file_is_the_old_or_the_new_at_every_step() -> None:
    for step in range(1, 8):
        for seed in SEEDS:
            files = CrashingFileSystem(seed)
            files.replace("a", b"old")
            files.stop_after(step)
            try:
                files.replace("a", b"new")
                done = True
            except Stopped:
                done = False
            assert files.crash().read("a") in ((b"new",) if done else (b"old", b"new"))


def test_of_what_was_appended_any_beginning_survives() -> None:
    found = set()
    for seed in SEEDS:
        files = CrashingFileSystem(seed)
        log = files.appending("a")
        log.append(b"12")
        log.sync()
        files.sync_folder()
        log.append(b"34")
        found.add(files.crash().read("a"))
    assert found == {b"12", b"12\0", b"123", b"12\0\0", b"123\0", b"1234"}


def test_after_a_failed_sync_the_pages_are_lost_although_the_next_one_succeeds() -> None:
    lost = evicted = 0
    for seed in SEEDS:
        files = CrashingFileSystem(seed)
        file = files.create("a", PAGE_BYTES)
        file.sync()
        files.sync_folder()
        file.write(0, b"x")
        files.fail("sync")
        with pytest.raises(OSError, match="Input/output"):
            file.sync()
        evicted += bytes(file.buffer[:1]) == b"\0"
        file.sync()
        lost += files.crash().read("a")[:1] == b"\0"
    assert lost == len(SEEDS)
    assert 0 < evicted < len(SEEDS)


def test_full_disk_takes_what_fits() -> None:
    files = CrashingFileSystem(capacity=10)
    with pytest.raises(OSError, match="No space") as refused:
        files.create("a", 11)
    assert refused.value.errno == errno.ENOSPC
    assert files.names() == []
    log = files.appending("b")
    with pytest.raises(OSError, match="No space"):
        log.append(b"x" * 12)
    assert files.read("b") == b"x" * 10
    with pytest.raises(OSError, match="No space"):
        files.replace("b", b"y")
    assert files.names() == ["b"]


def test_faults_are_for_so_many_calls_of_one_file() -> None:
    files = CrashingFileSystem()
    files.fail("create", errno.EIO, times=2, name="a")
    files.create("b", 1)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            files.create("a", 1)
    files.create("a", 1)


def test_same_seed_same_crash() -> None:
    def crash(seed: int) -> dict[str, bytes]:
        files = CrashingFileSystem(seed)
        for name in "abcdef":
            files.create(name, 3 * PAGE_BYTES).write(0, b"x" * 3 * PAGE_BYTES)
        return files.crash().contents()

    assert crash(1) == crash(1)
    assert len({str(sorted(crash(seed))) for seed in SEEDS}) > 5
