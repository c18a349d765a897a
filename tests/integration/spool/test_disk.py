"""Disks that are full, have no inodes, turn read-only or go away under a running process, and processes without descriptors."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.spool.child import BATCH, REFUSED, Plan
from tests.integration.spool.disks import LoopDisk, loop_disk, small_disk, unavailable
from tests.integration.spool.oracle import RUN, History, check
from tests.integration.spool.processes import SCALE, Nursery, wait_until

pytestmark = pytest.mark.timeout(120 * SCALE)


def history_of(plan: Plan) -> History:
    """What has happened so far."""
    return History.read(Path(plan.events))


def drain(nursery: Nursery, plan: Plan, *, window: int = BATCH) -> History:
    """Let a last process deliver what is left, and check everything."""
    assert nursery.run(replace(plan, run=9, messages=0, down=False, slow=0.0)) == 0
    history = history_of(plan)
    check(history, window=window)
    assert history.reports[-1]["report"]["spooled"] == 0
    return history


# --- no room --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["written", "synced"])
def test_a_full_disk_is_a_clear_error_and_loses_nothing_of_what_was_accepted(
    nursery: Nursery, plan: Plan, tmp_path: Path, durability: str
) -> None:
    with small_disk(tmp_path, "size=1M") as disk:
        plan = replace(plan, spool=str(disk / "spool"), durability=durability, batches=True, on_full="raise")
        assert nursery.run(replace(plan, down=True, messages=4000, drain=0.0)) == 0
        history = history_of(plan)
        assert len(history.promised) > 1000
        assert len(history.refused) > 1000
        assert {text.partition(":")[0] for text in history.refused.values()} == {"SpoolFull"}
        assert "no room" in next(iter(history.refused.values()))
        assert "not accepted" in next(iter(history.refused.values()))
        history = drain(nursery, plan)
    assert history.backlogs[1] == len(history.promised)
    assert not set(history.refused) & history.arrived, "a message that was refused arrived"


def test_a_caller_that_blocks_on_a_full_disk_goes_on_when_there_is_room(nursery: Nursery, plan: Plan, tmp_path: Path) -> None:
    with small_disk(tmp_path, "size=1M") as disk:
        filler = disk / "filler"
        filler.write_bytes(b"x" * 600_000)
        plan = replace(plan, spool=str(disk / "spool"), batches=True, on_full="block")
        child = nursery.start(replace(plan, down=True, messages=1500, drain=0.0))
        wait_until_promises_stop(plan)
        assert history_of(plan).refused == {}
        assert len(history_of(plan).promised) < 1500
        filler.unlink()
        assert child.wait() == 0
        history = drain(nursery, plan)
    assert history.refused == {}
    assert len(history.promised) == 1500


def test_a_caller_that_blocks_on_a_full_disk_gets_an_error_when_its_time_is_up(nursery: Nursery, plan: Plan, tmp_path: Path) -> None:
    with small_disk(tmp_path, "size=300K") as disk:
        plan = replace(plan, spool=str(disk / "spool"), batches=True, on_full="block", full_timeout=0.05)
        child = nursery.start(replace(plan, down=True, drain=0.0))
        wait_until(lambda: len(history_of(plan).refused) >= 3, "the disk is full")
        child.kill()
        drain(nursery, plan)
    assert {text.partition(":")[0] for text in history_of(plan).refused.values()} == {"SpoolFull"}


def test_a_full_disk_that_empties_by_delivery_lets_everybody_go_on(nursery: Nursery, plan: Plan, tmp_path: Path) -> None:
    with small_disk(tmp_path, "size=300K") as disk:
        plan = replace(plan, spool=str(disk / "spool"), batches=True, on_full="block", slow=0.003)
        assert nursery.run(replace(plan, messages=4000)) == 0
        history = drain(nursery, plan)
    assert history.refused == {}
    assert len(history.promised) == 4000


def test_a_disk_without_inodes_is_a_clear_error_and_heals(nursery: Nursery, plan: Plan, tmp_path: Path) -> None:
    # The root, the folder of the spool, the lock, the positions and two segments.
    with small_disk(tmp_path, "size=4M,nr_inodes=6") as disk:
        plan = replace(plan, spool=str(disk / "spool"), batches=True, on_full="raise")
        assert nursery.run(replace(plan, down=True, messages=2000, drain=0.0)) == 0
        refused = history_of(plan).refused
        assert {text.partition(":")[0] for text in refused.values()} == {"SpoolFull"}
        history = drain(nursery, plan)
    assert len(history.promised) > 100
    assert history.promised.keys().isdisjoint(refused)


def wait_until_promises_stop(plan: Plan) -> None:
    """Wait until a process that wants to produce has not been able to for a while."""
    last = (-1, 0)

    def stopped() -> bool:
        nonlocal last
        promised = len(history_of(plan).promised)
        last = (promised, last[1] + 1 if promised == last[0] else 0)
        return promised > 0 and last[1] > 60

    wait_until(stopped, "the process stops producing")


# --- no disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    """An ext4 file system."""
    with loop_disk(tmp_path) as made:
        yield made


def test_a_spool_on_a_read_only_disk_is_refused_with_a_clear_error(nursery: Nursery, plan: Plan, disk: LoopDisk) -> None:
    plan = replace(plan, spool=str(disk.path / "spool"), batches=True)
    assert nursery.run(replace(plan, down=True, messages=300, drain=0.0)) == 0
    disk.remount("ro")
    for run in (1, 2, 3):  # and again: no process makes it worse for the next one
        assert nursery.run(replace(plan, run=run)) == REFUSED
    said = [text for text in history_of(plan).logged if text.startswith("REFUSED")]
    assert len(said) == 3
    assert all(text.startswith("REFUSED SpoolError: ") and "Read-only file system" in text for text in said)
    disk.remount("rw")
    assert len(drain(nursery, plan).promised) == 300


def test_a_disk_that_turns_read_only_in_mid_run_is_survived(nursery: Nursery, plan: Plan, disk: LoopDisk) -> None:
    disk.remount("errors=remount-ro")
    plan = replace(plan, spool=str(disk.path / "spool"), durability="synced", batches=True)
    child = nursery.start(replace(plan, pause=0.001, messages=1500, drain=5.0))
    wait_until(lambda: len(history_of(plan).promised) > 100, "the process is at work")
    make_read_only(disk)
    assert child.wait() == 0, "the process must survive it"
    history = history_of(plan)
    assert history.refused, "the process has not noticed"
    assert not history.lost, "what was accepted is in memory as well and must be delivered"
    disk.reboot()
    drain(nursery, plan, window=len(history.delivered))


def make_read_only(disk: LoopDisk) -> None:
    """Let ext4 find an error, which turns the file system read-only under open files."""
    with open("/proc/mounts") as mounts:
        device = next(line.split()[0] for line in mounts if line.split()[1] == str(disk.path))
    trigger = Path(f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error")
    if not trigger.exists():
        unavailable("needs a kernel whose ext4 has trigger_fs_error")
    trigger.write_text("1")


@pytest.mark.parametrize("durability", ["written", "synced"])
def test_a_disk_that_is_yanked_out_of_a_running_process_promises_nothing_more(
    nursery: Nursery, plan: Plan, disk: LoopDisk, durability: str
) -> None:
    plan = replace(plan, spool=str(disk.path / "spool"), durability=durability, sync_interval=0.05, batches=True)
    child = nursery.start(replace(plan, pause=0.001, messages=1500, drain=5.0))
    wait_until(lambda: len(history_of(plan).promised) > 100, "the process is at work")
    disk.cut_power()
    assert child.wait() == 0, "the process must survive it"
    history = history_of(plan)
    assert any("Input/output error" in text for text in [*history.logged, *history.refused.values()])
    assert not history.lost, "what was accepted is in memory as well and must be delivered"
    if durability == "synced":
        last = max(number for number in history.promised if number < RUN)
        assert history.refused
        assert all(number > last for number in history.refused if number < RUN)
    disk.reboot()
    drain(nursery, plan, window=len(history.delivered))


# --- no descriptors -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def no_descriptors(pid: int) -> Iterator[None]:
    """A running process may open nothing more."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_without_descriptors_refuses_clearly_and_goes_on_when_it_has_some(nursery: Nursery, plan: Plan) -> None:
    if not hasattr(resource, "prlimit"):
        unavailable("needs prlimit")
    plan = replace(plan, batches=True, stubborn=True, pause=0.0005)
    child = nursery.start(replace(plan, messages=1500))
    wait_until(lambda: len(history_of(plan).promised) > 50, "the process is at work")
    with no_descriptors(child.pid):
        wait_until(lambda: len(history_of(plan).refused) > 0, "there is no descriptor for the next segment")
    assert child.wait() == 0
    history = drain(nursery, plan)
    assert all("Too many open files" in text and "not accepted" in text for text in history.refused.values())
    assert len(history.promised) == 1500, "a stubborn caller gets everything in"


def test_a_long_outage_needs_no_more_descriptors_than_a_short_one(nursery: Nursery, plan: Plan) -> None:
    plan = replace(plan, batches=True, down=True, sync_interval=0.05)
    child = nursery.start(replace(plan, drain=3600.0))

    def segments() -> int:
        return len(list(Path(plan.spool).glob("*.seg")))

    wait_until(lambda: segments() > 5, "the backlog begins")
    wait_until(lambda: segments() > 100, "the backlog grows")
    descriptors = len(os.listdir(f"/proc/{child.pid}/fd"))
    child.kill()
    assert descriptors < 40, f"{descriptors} descriptors for {segments()} segments"
    drain(nursery, plan)


def test_nothing_of_this_has_left_a_mount() -> None:
    """Runs last: cleaning up is part of the tests."""
    mounts = subprocess.run(["cat", "/proc/mounts"], capture_output=True, text=True).stdout
    assert "standpipe-test" not in mounts
