"""Thousands of random histories of the whole engine: queue, spool, agent, a destination that fails in every way, processes that
die at any moment. A failing one is told with its seed and made small: see docs/explanation/simulation.md."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.failures import play, tell
from tests.simulation.found import FOUND
from tests.simulation.plan import STAGES, make_plan

SEEDS_EACH = 100
BLOCKS = range(0, 2000, SEEDS_EACH)
ROOT = Path(__file__).parents[2]

MUST_BE_SEEN = (
    "accepted", "refused", "unknown", "dropped", "handed back", "backlog", "duplicate", "read again", "shut down", "killed", "power cut",
    "rejected", "expired", "exhausted", "down", "fail", "lost", "busy", "gone", "gone clean", "not sent", "exit", "half", "garbage",
    "spilled", "cancelled", "loop ended", "letter of a dead process", "never confirmed", "confirmed too late", "confirmed while closing",
    "unconfirmed at the end of the connection", "lost while polled", "blocked", "damaged", "corrupt",
)  # fmt: skip
"""A simulation in which one of these never happens proves less than it says."""

_seen: Counter[str] = Counter()


@pytest.mark.parametrize("first", BLOCKS)
def test_nothing_that_was_promised_is_broken_in_any_history(first: int) -> None:
    for seed in range(first, first + SEEDS_EACH):
        _check(seed)


@pytest.mark.parametrize(("stages", "seed"), [(stages, seed) for stages, seeds in FOUND.items() for seed in seeds])
def test_what_a_seed_has_found_once_stays_mended(stages: int, seed: int) -> None:
    _check(seed, stages)


def _check(seed: int, stages: int = STAGES) -> None:
    plan = make_plan(seed, stages=stages)
    world = play(plan)
    _seen.update(world.seen)
    if world.failure is not None:
        pytest.fail(tell(plan, world.failure), pytrace=False)


def test_everything_that_can_happen_does() -> None:
    seen = _seen if len(_seen) > len(MUST_BE_SEEN) // 2 else _of_the_first()
    assert set(MUST_BE_SEEN) - set(seen) == set()


def _of_the_first() -> Counter[str]:
    """When this test runs by itself."""
    seen: Counter[str] = Counter()
    for seed in range(400):
        seen.update(play(make_plan(seed)).seen)
    return seen


def test_the_same_seed_gives_the_same_history_in_every_process() -> None:
    seeds = range(3000, 3012)
    here = [play(make_plan(seed)).digest() for seed in seeds]
    assert here == [play(make_plan(seed)).digest() for seed in seeds]
    program = (
        "from tests.simulation.failures import play; from tests.simulation.plan import make_plan; "
        f"print(*[play(make_plan(seed)).digest() for seed in range({seeds.start}, {seeds.stop})])"
    )
    for hashing in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        assert ran.stdout.split() == here, ran.stderr
