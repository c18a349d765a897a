"""The simulation notices what is broken: each test breaks one promise by hand, and some seed finds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from standpipe.delivery.batch import Batch
from standpipe.delivery.engine import Engine
from standpipe.delivery.memory_queue import MemoryQueue
from standpipe.delivery.receipt import Origin
from standpipe.delivery.schedule import Schedule
from standpipe.pipelines.lane import Lane
from standpipe.producers.spooled_queue import SpooledQueue
from standpipe.spool.log import Spool
from standpipe.spool.positions import Positions
from standpipe.spool.recovery import Recovery
from tests.simulation.failures import fewer, play, smaller
from tests.simulation.plan import make_plan

SEEDS_MAX = 600
Break = Callable[[pytest.MonkeyPatch], None]


def acknowledges_when_it_takes(patch: pytest.MonkeyPatch) -> None:
    taken = Spool.take

    def take(spool: Spool, first: int, count: int) -> None:
        taken(spool, first, count)
        spool.settle(first, count)

    patch.setattr(Spool, "take", take)


def acknowledges_before_the_dead_letter_is_stored(patch: pytest.MonkeyPatch) -> None:
    bury = Engine.bury

    def early(engine: Engine, batch: Batch, reason: Any, error: Any) -> bool:
        store, engine.dead_letters = engine.dead_letters, _Forgetful()
        try:
            return bury(engine, batch, reason, error)
        finally:
            engine.dead_letters = store

    patch.setattr(Engine, "bury", early)


class _Forgetful:
    def add(self, letters: object) -> None:
        """Keeps nothing."""

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Any:
        return iter(())


def acknowledges_the_source_when_messages_are_handed_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "_parcel_settled", lambda lane, receipt, ticket: lane._settled.put(ticket))


def gives_numbers_out_again(patch: pytest.MonkeyPatch) -> None:
    opened = Spool.open

    def low(spool: Spool) -> Recovery:
        recovery = opened(spool)
        spool._next = spool._segments[-1].first if spool._segments else 0
        return recovery

    patch.setattr(Spool, "open", low)


def gives_new_ids_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Origin, "with_prefix", lambda origin, prefix: origin)


def forgets_to_release_a_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Schedule, "settled", lambda schedule, batch: None)


def releases_keys_while_their_message_waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Schedule, "retry", lambda schedule, batch: schedule._wait(batch))


def does_not_wait_for_the_disk(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Spool, "commit", lambda spool, number: None)


def does_not_note_what_is_settled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Positions, "write", lambda positions: positions._waiting.clear())


def forgets_what_may_have_been_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Spool, "was_taken", lambda spool, first, stop: False)


def takes_uncertain_attempts_for_certain_ones(patch: pytest.MonkeyPatch) -> None:
    failed = Engine.failed

    def delivered(engine: Engine, batch: Batch, verdict: Any, whole: bool) -> bool:
        if isinstance(verdict.error, TimeoutError):
            engine.delivered(batch)
            return False
        return failed(engine, batch, verdict, whole)

    patch.setattr(Engine, "failed", delivered)


def loses_a_wake_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "expiry_wake_level", lambda engine: 2**62)
    patch.setattr("standpipe.delivery.selection.Selection.wake_level", lambda selection: 2**62)


def drops_without_counting(patch: pytest.MonkeyPatch) -> None:
    drop = MemoryQueue._drop

    def silently(queue: MemoryQueue, entry: Any) -> Any:
        victims = drop(queue, entry)
        queue.dropped -= entry._count
        queue.accepted -= entry._count
        return victims

    patch.setattr(MemoryQueue, "_drop", silently)


def forgets_what_the_last_process_left(patch: pytest.MonkeyPatch) -> None:
    opened = SpooledQueue.open

    def without(queue: SpooledQueue) -> Any:
        recovery = opened(queue)
        queue._on_disk = False
        return recovery

    patch.setattr(SpooledQueue, "open", without)


@pytest.mark.parametrize(
    "breaks",
    [
        acknowledges_when_it_takes,
        acknowledges_before_the_dead_letter_is_stored,
        acknowledges_the_source_when_messages_are_handed_back,
        gives_numbers_out_again,
        gives_new_ids_after_a_restart,
        forgets_to_release_a_key,
        releases_keys_while_their_message_waits,
        does_not_wait_for_the_disk,
        does_not_note_what_is_settled,
        forgets_what_may_have_been_sent,
        takes_uncertain_attempts_for_certain_ones,
        loses_a_wake_up,
        drops_without_counting,
        forgets_what_the_last_process_left,
    ],
)
def test_an_engine_that(breaks: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch)
    assert _first_failure() is not None, f"{SEEDS_MAX} histories, and none of them notices"


def _first_failure() -> str | None:
    for seed in range(SEEDS_MAX):
        failure = play(make_plan(seed)).failure
        if failure is not None:
            return f"{seed}: {failure}"
    return None


def test_a_failing_plan_is_made_smaller_and_fails_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    forgets_to_release_a_key(monkeypatch)
    plan = next(plan for plan in map(make_plan, range(SEEDS_MAX)) if play(plan).failure is not None)
    small = smaller(plan)
    assert play(small).failure is not None
    assert len(small.events) < len(plan.events)


def test_what_is_not_needed_for_a_failure_is_left_out() -> None:
    events = make_plan(1).events
    needed = {events[2].index, events[-1].index}
    kept = fewer(events, lambda candidate: needed <= {event.index for event in candidate})
    assert {event.index for event in kept} == needed
