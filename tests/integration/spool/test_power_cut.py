"""Real power cuts: the spool on an ext4 file system that stops writing at once and is mounted again."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from standpipe.producers.style import PREFETCH
from tests.integration.spool.child import Plan
from tests.integration.spool.disks import LoopDisk, loop_disk
from tests.integration.spool.oracle import History, check
from tests.integration.spool.processes import SCALE, Nursery

pytestmark = pytest.mark.timeout(120 * SCALE)

INTERVAL = 0.1
"""`sync_interval` of the `written` spool."""

TOLERANCE = 0.4
"""What a sync and the waking up of its thread may take beyond the interval, in seconds, on a busy machine."""


def live_until_the_power_goes(nursery: Nursery, plan: Plan, disk: LoopDisk, life: float) -> float:
    """Start a process, let it work, cut the power, end it, switch on again; returns when the power went."""
    child = nursery.start(plan)
    time.sleep(life)
    child.pause()  # what it has promised until now is what counts
    cut = time.monotonic()
    disk.cut_power()
    assert child.kill() == -9
    disk.reboot()
    return cut


@pytest.mark.parametrize(
    "changes",
    [{"at_once": 1}, {"at_once": 10, "batches": True}, {"threads": 5, "batches": True}],
    ids=["one by one", "batches", "five threads"],
)
def test_no_power_cut_takes_what_a_synced_spool_has_promised(nursery: Nursery, plan: Plan, tmp_path: Path, changes: dict[str, Any]) -> None:
    cuts = 7 * SCALE
    with loop_disk(tmp_path) as disk:
        plan = replace(plan, spool=str(disk.path / "spool"), durability="synced", **changes)
        for run in range(cuts):
            live_until_the_power_goes(nursery, replace(plan, run=run, down=run % 2 == 1), disk, random.uniform(0.02, 0.5))
        assert nursery.run(replace(plan, run=cuts, messages=10)) == 0
        history = History.read(Path(plan.events))
        check(history, window=repeated_after_a_cut(history))
        assert not list(Path(plan.spool).glob("*.seg"))
    print(f"{cuts} power cuts, {len(history.promised)} promised, {len(history.lost)} lost")
    assert len(history.promised) > 10 * cuts
    assert history.found_backlogs > 0


def repeated_after_a_cut(history: History) -> int:
    """Positions are written, not synced: a cut may bring everything back that was delivered since the disk last got them."""
    return max(len(history.delivered), PREFETCH)


def test_a_power_cut_takes_at_most_the_last_moments_of_a_written_spool(nursery: Nursery, plan: Plan, tmp_path: Path) -> None:
    cuts: dict[int, float] = {}
    # Segments so large that no process fills one: beginning the next one would sync it.
    with loop_disk(tmp_path, size=f"{64 * (1 + SCALE)}M") as disk:
        plan = replace(plan, spool=str(disk.path / "spool"), sync_interval=INTERVAL, segment_bytes=2**22)
        plan = replace(plan, batches=True, down=True, pause=0.0005)
        for run in range(9 * SCALE):
            life = random.uniform(0.3, 1.0)
            cuts[run] = live_until_the_power_goes(nursery, replace(plan, run=run), disk, life)
        assert nursery.run(replace(plan, run=len(cuts), messages=10, down=False)) == 0
        history = History.read(Path(plan.events))
    recent = {
        number
        for number, (_, promised) in history.promised.items()
        if any(cut - INTERVAL - TOLERANCE < promised <= cut for cut in cuts.values())
    }
    check(history, window=0, may_be_lost=frozenset(recent))
    assert history.lost, "no cut took anything: the power was not really cut"
    assert len(history.promised) > len(recent)
    early = {number for number in history.lost if all(not cut - INTERVAL < history.promised[number][1] <= cut for cut in cuts.values())}
    print(f"{len(cuts)} power cuts: {len(history.lost)} of {len(history.promised)} lost, {len(early)} older than the interval")


def test_nothing_that_a_process_left_in_order_is_lost_by_a_power_cut(nursery: Nursery, plan: Plan, tmp_path: Path) -> None:
    with loop_disk(tmp_path) as disk:
        plan = replace(plan, spool=str(disk.path / "spool"), batches=True, sync_interval=3600.0)
        assert nursery.run(replace(plan, messages=500, down=True, drain=0.0)) == 0
        disk.cut_power()
        disk.reboot()
        assert nursery.run(replace(plan, run=1, messages=10)) == 0
    history = History.read(Path(plan.events))
    check(history, window=0)
    assert len(history.promised) == 510
    assert history.backlogs == [0, 500]
