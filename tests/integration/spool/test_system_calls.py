"""A kill at every durable system call in turn, and system calls that fail or take long: strace makes the kernel do it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.spool.child import BATCH, Plan
from tests.integration.spool.disks import loop_disk, need_root, need_tool
from tests.integration.spool.oracle import RUN, History, check
from tests.integration.spool.processes import SCALE, Nursery, traced

pytestmark = pytest.mark.timeout(120 * SCALE)

CALLS = ["fdatasync", "fsync", "rename", "unlink", "ftruncate", "fallocate", "pwrite64", "openat", "write"]
"""What the spool does to its folder. For `write` and `openat` strace is told the path, because others write and open, too."""

MESSAGES = 260 * min(SCALE, 4)
"""What a process produces: enough for some segments."""

KILLS_MAX = 1000
"""More than any of these calls is made in a run; a bound so that the test ends when something is wrong."""


@pytest.fixture(autouse=True)
def strace() -> None:
    """All of these tests attach to processes."""
    need_root()
    need_tool("strace")


def narrowed(call: str, spool: Path) -> list[str]:
    """Options of strace that leave out calls that have nothing to do with the spool."""
    if call == "write":
        return ["-P", str(spool / "positions.log")]
    if call == "openat":
        names = ["", "lock", "positions.log", "positions.tmp", *(f"{number:016x}.seg" for number in range(40))]
        return [option for name in names for option in ("-P", str(spool / name) if name else str(spool))]
    return []


@pytest.mark.parametrize("call", CALLS)
def test_a_kill_at_every_durable_system_call_in_turn_loses_nothing(nursery: Nursery, plan: Plan, tmp_path: Path, call: str) -> None:
    """Each process begins with what its killed predecessor left, so that the calls of recovery are hit as well."""
    spool = Path(plan.spool)
    kills = 0
    for kill in range(1, KILLS_MAX):
        now = replace(plan, run=kill, durability="synced", batches=True, messages=MESSAGES, at_once=20, slow=0.001, drain=60.0)
        options = [*narrowed(call, spool), "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={kill}"]
        code, trace = traced(nursery, now, tmp_path, *options)
        if code == 0:
            break
        assert code == -9, f"{call} {kill}: {code}"
        kills += 1
        assert f"{call}(" in trace, "it was killed by something else"
    else:
        pytest.fail(f"{call}: still killed after {KILLS_MAX} processes")
    history = History.read(Path(plan.events))
    check(history, window=BATCH)
    print(f"{kills} kills, {len(history.promised)} promised, {len(history.lost)} lost, {max(history.repeated.values())} at most sent again")
    assert history.reports[-1]["report"]["spooled"] == 0
    assert kills > 0, f"the spool makes no {call}: take it off the list"


def test_a_failed_sync_is_made_up_for_even_if_the_power_goes_afterwards(nursery: Nursery, plan: Plan, tmp_path: Path) -> None:
    with loop_disk(tmp_path) as disk:
        plan.spool = str(disk.path / "spool")
        for failing in (2, 5, 9, 14):
            now = replace(plan, run=failing, durability="synced", batches=True, down=True, messages=200, at_once=10, drain=0.0)
            fault = ["-e", "trace=fdatasync", "-e", f"inject=fdatasync:error=EIO:when={failing}"]
            code, trace = traced(nursery, now, tmp_path, *fault)
            assert code == 0
            assert trace.count("INJECTED") == 1
            disk.cut_power()
            disk.reboot()
        assert nursery.run(replace(plan, run=20, messages=0, batches=True)) == 0
        history = History.read(Path(plan.events))
    check(history, window=BATCH)
    # A segment that could not be begun is the caller's to know; what was in one whose sync failed is written again instead.
    assert all("not accepted" in text for text in history.refused.values())
    assert len(history.promised) + len(history.refused) == 4 * 200
    assert len(history.refused) <= 3 * 10
    assert any("failed to store" in text for text in history.logged), "no sync of messages has failed"


def test_a_disk_that_never_syncs_again_promises_nothing_and_says_so(nursery: Nursery, plan: Plan, tmp_path: Path) -> None:
    now = replace(plan, durability="synced", batches=True, messages=100, at_once=10, drain=5.0)
    code, trace = traced(nursery, now, tmp_path, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=5+")
    assert code == 0, "the process must survive it"
    assert trace.count("INJECTED") > 5
    history = History.read(Path(plan.events))
    assert 0 < len(history.promised) < 100
    assert len(history.promised) + len(history.refused) == 100
    assert min(history.refused) > max(history.promised), "something was promised after the disk had failed for good"
    assert all("Input/output error" in text and text.endswith(("unknown", "not accepted")) for text in history.refused.values())
    assert any(text.endswith("unknown") for text in history.refused.values())
    assert nursery.run(replace(plan, run=1, messages=10, batches=True)) == 0
    check(History.read(Path(plan.events)), window=BATCH)


def test_a_slow_disk_gathers_callers_into_few_syncs(nursery: Nursery, plan: Plan, tmp_path: Path) -> None:
    now = replace(plan, durability="synced", batches=True, messages=12, threads=5, segment_bytes=2**20)
    code, trace = traced(nursery, now, tmp_path, "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=50ms")
    assert code == 0
    syncs = trace.count("fdatasync(")
    history = History.read(Path(plan.events))
    check(history, window=0)
    assert len(history.promised) == 60
    assert syncs < 30, f"{syncs} syncs for 60 messages of five threads"


def test_a_slow_disk_does_not_slow_the_callers_of_a_written_spool(nursery: Nursery, plan: Plan, tmp_path: Path) -> None:
    now = replace(plan, sync_interval=0.01, batches=True, messages=300, pause=0.001, segment_bytes=2**20)
    code, trace = traced(nursery, now, tmp_path, "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=300ms")
    assert code == 0
    assert trace.count("DELAYED") >= 2
    history = History.read(Path(plan.events))
    check(history, window=0)
    times = sorted(time for _, time in history.promised.values())
    assert len(times) == 300
    longest = max(later - earlier for earlier, later in itertools.pairwise(times))
    assert longest < 0.15, f"a caller waited {longest:.3f} s for the disk"


def test_numbers_of_runs_do_not_overlap() -> None:
    """Against a test that tests nothing: messages of different processes are different messages."""
    assert MESSAGES < RUN
