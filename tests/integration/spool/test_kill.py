"""`kill -9` at random instants, again and again on the same spool: what was promised arrives, in order, little of it twice."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from standpipe.producers.style import PREFETCH
from tests.integration.spool.child import BATCH, Plan
from tests.integration.spool.oracle import History, check
from tests.integration.spool.processes import SCALE, Nursery

KILLS = 42 * SCALE
"""For each of the five ways of working: 210 in all."""

LIFE = 0.22
"""A process lives this long at most, in seconds: time for some thousand messages and a dozen segments."""


@dataclass(frozen=True)
class Way:
    """A way of working, and how much of it may be sent twice after a kill."""

    name: str
    changes: dict[str, Any]
    window: int


WAYS = [
    Way("one by one, written", {"durability": "written"}, PREFETCH),
    Way("one by one, synced", {"durability": "synced"}, PREFETCH),
    Way("batches, written, to a destination that fails", {"durability": "written", "batches": True, "failing": 0.05}, BATCH),
    Way("batches of batches, synced", {"durability": "synced", "batches": True, "at_once": 20}, BATCH),
    Way("five threads, synced, to a slow destination", {"durability": "synced", "batches": True, "threads": 5, "slow": 0.002}, BATCH),
]


@pytest.mark.timeout(120 * SCALE)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_no_instant_to_be_killed_at_loses_what_was_promised(nursery: Nursery, plan: Plan, way: Way) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    killed = 0
    for run in range(KILLS):
        # Every third time the destination is down: a backlog grows, and is there when the next process begins.
        now = replace(plan, run=run, down=run % 3 == 1, **way.changes)
        child = nursery.start(now)
        time.sleep(chance.uniform(0.0, LIFE))
        killed += child.kill() == -9
    assert nursery.run(replace(plan, run=KILLS, messages=10, **way.changes)) == 0
    history = History.read(Path(plan.events))
    check(history, window=way.window)
    check_end(history, Path(plan.spool))
    again = history.repeated.values()
    print(f"{killed} kills, {len(history.promised)} promised, {len(history.lost)} lost, {sum(again)} sent again, {max(again)} at most")
    assert killed == KILLS
    assert len(history.promised) > 5 * KILLS, "too little was promised for the test to mean anything"
    assert history.found_backlogs > KILLS // 10, "no process found a backlog"


def check_end(history: History, spool: Path) -> None:
    """After the last process has drained the spool nothing is left of it, and the books are straight."""
    last = history.reports[-1]
    assert last["report"]["spooled"] == last["report"]["undelivered"] == 0
    assert last["now"]["accepted"] == last["now"]["delivered"]
    left = {path.name for path in spool.iterdir()}
    # A kill may hit the writing of a record; what there is of it was promised to nobody and is kept for people to look at.
    assert {name for name in left if not name.endswith(".corrupt")} == {"lock", "positions"}
    faults = [text for text in history.logged if not text.startswith("WARNING oracle: ") or "cannot be read any more" in text]
    assert faults == [], "something was logged as an error, or missing"


def test_most_of_the_kills_hit_the_spool_in_the_middle_of_its_work(nursery: Nursery, plan: Plan) -> None:
    """Against tests that test nothing: all of this must have happened at least once within a few kills."""
    for run in range(20):
        child = nursery.start(replace(plan, run=run, batches=True, slow_answer=0.005 if run % 2 else 0.0))
        time.sleep(0.1)
        child.kill()
    assert nursery.run(replace(plan, run=20, messages=10, batches=True)) == 0
    history = History.read(Path(plan.events))
    check(history, window=BATCH)
    assert len(history.promised) > 1000
    assert history.found_backlogs > 5
    assert sum(history.repeated.values()) > 0, "no kill hit a batch between its delivery and the note of it"
