"""Running a plan, making a failing one smaller, and telling people about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from tests.simulation.plan import Event, Plan, Setup, make_plan
from tests.simulation.world import World

RUNS_MAX = 400
"""Runs that making a plan smaller may take: some seconds."""

HISTORY_LINES = 80

SEEDS_MAX = 600
"""Histories in which what was broken by hand has to be noticed."""


def play(plan: Plan) -> World:
    """Run a plan; `failure` of the result says what went wrong, None: nothing. What is raised on the way is a failure, too."""
    world = World(plan)
    try:
        world.run()
    except Exception as error:
        world.failure = world.failure or f"{type(error).__name__}: {error}"
    return world


def first_failure() -> str | None:
    """What goes wrong in the first of `SEEDS_MAX` histories that fails: for those who have broken something."""
    for seed in range(SEEDS_MAX):
        failure = play(make_plan(seed)).failure
        if failure is not None:
            return f"{seed}: {failure}"
    return None


def smaller(plan: Plan) -> Plan:
    """A plan that fails as well, with as few events as can be found by leaving some out, and as little that is unusual."""
    left = [RUNS_MAX]

    def fails(candidate: Plan) -> bool:
        left[0] -= 1
        return left[0] >= 0 and play(candidate).failure is not None

    found = plan.only(fewer(plan.events, lambda events: fails(plan.only(events))))
    for name, usual in asdict(Setup()).items():
        tamer = replace(found, setup=replace(found.setup, **{name: usual}))
        if tamer != found and fails(tamer):
            found = tamer
    return found


def fewer(events: Sequence[Event], fail: Callable[[Sequence[Event]], bool]) -> Sequence[Event]:
    """Delta debugging (Zeller's ddmin, with complements only): leave out halves, quarters, ... as long as it fails without them."""
    size = len(events)
    while size > 0:
        start = 0
        while start < len(events):
            without = [*events[:start], *events[start + size :]]
            if fail(without):
                events = without
            else:
                start += size
        size //= 2
    return events


def tell(plan: Plan, failure: str) -> str:
    """All that somebody needs who has to find out why."""
    small = smaller(plan)
    world = play(small)
    lines = [
        f"seed {plan.seed}: {failure}",
        f"again: make simulate SEED={plan.seed}",
        "",
        f"{len(small.events)} of its {len(plan.events)} events are enough, with the setup: {small.setup.told()}",
        *("  " + event.told() for event in small.events),
        "",
        f"what happens then (seconds, life of the process, what), and in the end: {world.failure}",
    ]
    shown = world.history[-HISTORY_LINES:]
    if len(shown) < len(world.history):
        lines.append(f"  ... {len(world.history) - len(shown)} lines before")
    lines += [
        f"  {at:10.3f} {life:2d} {what}" + "".join(f" {detail}" for detail in details if detail != "") for at, life, what, *details in shown
    ]
    return "\n".join(lines)
