"""The finer ways in which the crashing file system is unkind: each of them happens for some seed, and nothing worse ever does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from standpipe.testing.crashing_files import PAGE_BYTES, SECTOR_BYTES, CrashingFileSystem, Stopped

SEEDS = range(80)
OLD, NEW = b"o" * PAGE_BYTES, b"n" * PAGE_BYTES


def after_power_cuts(live: Callable[[CrashingFileSystem], None]) -> set[tuple[tuple[str, bytes], ...]]:
    """What is left of a life that ends with a power cut, over many seeds."""
    found = set()
    for seed in SEEDS:
        files = CrashingFileSystem(seed)
        live(files)
        found.add(tuple(sorted(files.crash().contents().items())))
    return found


def a_page(files: CrashingFileSystem, data: bytes = OLD) -> None:
    """A file "a" of one page that is on the disk for certain."""
    made = files.create("a", PAGE_BYTES)
    made.write(0, data)
    made.sync()
    made.close()
    files.sync_folder()


def test_a_file_that_was_never_synced_may_have_lost_even_its_size() -> None:
    def live(files: CrashingFileSystem) -> None:
        files.create("a", 3)
        files.sync_folder()

    assert after_power_cuts(live) == {(("a", b""),), (("a", bytes(3)),)}


def test_what_was_cut_off_may_be_back() -> None:
    def live(files: CrashingFileSystem) -> None:
        made = files.create("a", 2 * PAGE_BYTES)
        made.write(0, OLD + OLD)
        made.sync()
        files.sync_folder()
        made.close(PAGE_BYTES)

    sizes = {len(data) for ((_, data),) in after_power_cuts(live)}
    assert sizes == {PAGE_BYTES, 2 * PAGE_BYTES}


def test_a_synced_file_may_be_lost_with_its_name() -> None:
    def live(files: CrashingFileSystem) -> None:
        made = files.create("a", 1)
        made.write(0, b"x")
        made.sync()

    assert after_power_cuts(live) == {(), (("a", b"x"),)}


def test_changes_of_one_name_are_lost_from_the_last_one_on() -> None:
    def live(files: CrashingFileSystem) -> None:
        a_page(files)
        files.rename("a", "b")
        files.rename("b", "c")

    assert after_power_cuts(live) == {((name, OLD),) for name in "abc"}


def test_pages_are_torn_between_sectors_and_nowhere_else() -> None:
    def live(files: CrashingFileSystem) -> None:
        made = files.create("a", PAGE_BYTES)
        made.write(0, OLD)
        made.sync()
        files.sync_folder()
        made.write(0, NEW)

    torn = {data.count(b"n") for ((_, data),) in after_power_cuts(live)}
    assert {0, PAGE_BYTES} < torn
    assert all(size % SECTOR_BYTES == 0 for size in torn)


def test_pages_may_reach_the_disk_without_a_sync() -> None:
    reached = set()
    for seed in SEEDS:
        files = CrashingFileSystem(seed)
        made = files.create("a", PAGE_BYTES)
        made.write(0, OLD)
        made.sync()
        files.sync_folder()
        made.write(0, NEW)
        files.write_back()
        reached.add(all(files.kill().crash().read("a") == NEW for _ in range(20)))
    assert reached == {True, False}


def test_a_power_cut_after_a_kill_takes_what_the_killed_process_had_not_synced() -> None:
    found = set()
    for seed in SEEDS:
        files = CrashingFileSystem(seed)
        a_page(files)
        files.create("b", 1)
        files.remove("a")
        found.add(tuple(files.kill().crash().names()))
    assert found == {(), ("a",), ("b",), ("a", "b")}


def test_what_survived_one_power_cut_survives_the_next() -> None:
    for seed in SEEDS:
        files = CrashingFileSystem(seed)
        a_page(files)
        files.create("b", 2 * PAGE_BYTES).write(100, NEW)
        files.appending("c").append(b"some text")
        later = files.crash()
        assert later.crash().contents() == later.contents()


def ends_within(live: Callable[[CrashingFileSystem], None], step: int) -> set[tuple[tuple[str, bytes], ...]]:
    """What a process that ended within this step has left to the operating system."""
    found = set()
    for seed in SEEDS:
        files = CrashingFileSystem(seed)
        a_page(files)
        files.stop_after(step)
        with suppress(Stopped):
            live(files)
        found.add(tuple(sorted(files.kill().contents().items())))
    return found


def test_the_step_in_which_a_process_ends_is_done_or_not() -> None:
    assert ends_within(lambda files: files.remove("a"), 1) == {(), (("a", OLD),)}


def test_a_process_that_ends_while_it_writes_has_written_a_beginning() -> None:
    def mapped(files: CrashingFileSystem) -> None:
        files.create("b", 4).write(0, b"1234")

    def appended(files: CrashingFileSystem) -> None:
        files.appending("b").append(b"12")

    begun = {b"\0\0\0\0", b"1\0\0\0", b"12\0\0", b"123\0", b"1234"}
    assert {dict(found)["b"] for found in ends_within(mapped, 2)} == begun
    assert {dict(found)["b"] for found in ends_within(appended, 2)} == {b"", b"1", b"12"}


def test_nobody_gets_the_lock_while_another_process_owns_it() -> None:
    files = CrashingFileSystem()
    files.owner = 4711
    assert files.lock("lock") == 4711
    assert not files.locked
    files.owner = None
    assert files.lock("lock") is None
    assert files.locked
    files.unlock()
    assert not files.locked
