"""`make simulate`: new seeds, or the one that failed. Prints the seed and a minimal history on failure; exit code 1 then."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.simulation.failures import play, tell
from tests.simulation.plan import make_plan

RUNS = 10_000
"""Some two minutes."""


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first seed; default: one that was never run, from the clock")
    parser.add_argument("--runs", type=int, help=f"how many seeds; default: one if a seed is given, else {RUNS}")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else time.time_ns() // 1_000_000
    runs = given.runs if given.runs is not None else 1 if given.seed is not None else RUNS
    return simulate(range(seed, seed + runs))


def simulate(seeds: range) -> int:
    """Run all of them, or up to the first that fails."""
    print(f"{len(seeds)} runs from seed {seeds.start} on")
    seen: Counter[str] = Counter()
    begin = time.monotonic()
    for done, seed in enumerate(seeds, 1):
        plan = make_plan(seed)
        world = play(plan)
        if world.failure is not None:
            print(f"\n{tell(plan, world.failure)}", file=sys.stderr)
            return 1
        seen += world.seen
        if done % 1000 == 0:
            print(f"{done} runs, {done / (time.monotonic() - begin):.0f} a second")
    print("nothing wrong; it happened that messages or processes were:", _list(seen))
    return 0


def _list(seen: Counter[str]) -> str:
    found: Iterable[tuple[str, int]] = sorted(seen.items())
    return ", ".join(f"{what} {times}" for what, times in found)


if __name__ == "__main__":
    sys.exit(main())
