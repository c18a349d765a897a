"""The simulation notices what is broken: each test breaks one promise by hand, and some seed finds it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from standpipe.core.dead_letter import Reason
from standpipe.core.errors import NotSent
from standpipe.core.outcome import judge
from standpipe.delivery.async_worker import AsyncWorker
from standpipe.delivery.batch import Batch
from standpipe.delivery.engine import Abandoned, Engine
from standpipe.delivery.memory_queue import MemoryQueue
from standpipe.delivery.receipt import Origin
from standpipe.delivery.schedule import Schedule
from standpipe.pipelines.lane import Lane
from standpipe.producers.spilling_queue import SpillingQueue
from standpipe.producers.spooled_queue import SpooledQueue
from standpipe.producers.style import settings_of
from standpipe.spool import dead_letter_database
from standpipe.spool.log import Spool
from standpipe.spool.positions import Positions
from standpipe.spool.reader import Reader
from standpipe.spool.recovery import Recovery
from tests.simulation.disk import Folder
from tests.simulation.failures import SEEDS_MAX, fewer, first_failure, play, smaller
from tests.simulation.plan import make_plan

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


def believes_what_it_writes_again_without_a_sync(patch: pytest.MonkeyPatch) -> None:
    rewritten, sync = Spool._rewritten, Folder._sync
    lazy: list[bool] = []

    def lazily(spool: Spool, *what: Any) -> Any:
        lazy.append(True)
        try:
            return rewritten(spool, *what)
        finally:
            lazy.clear()

    patch.setattr(Spool, "_rewritten", lazily)
    patch.setattr(Folder, "_sync", lambda folder, name, file: None if lazy else sync(folder, name, file))


def removes_a_segment_before_it_is_noted_why(patch: pytest.MonkeyPatch) -> None:
    drop, write = Spool._drop, Positions.write
    removing: list[bool] = []

    def at_once(spool: Spool, segment: Any) -> None:
        removing.append(True)
        drop(spool, segment)

    def later(positions: Positions) -> None:
        if removing:
            removing.clear()  # the first one, before the file goes
        else:
            write(positions)

    patch.setattr(Spool, "_drop", at_once)
    patch.setattr(Positions, "write", later)


def keeps_nothing_of_a_full_queue_at_shutdown(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SpillingQueue, "keep", lambda queue, left: [])


def forgets_what_has_spilled(patch: pytest.MonkeyPatch) -> None:
    opened = SpillingQueue.open

    def without(queue: SpillingQueue) -> Any:
        recovery = opened(queue)
        queue._spilling = False
        return recovery

    patch.setattr(SpillingQueue, "open", without)


def lets_new_messages_pass_those_that_have_spilled(patch: pytest.MonkeyPatch) -> None:
    put = SpillingQueue.put

    def into_memory(queue: SpillingQueue, entry: Any, timeout: float | None = None) -> None:
        spilling, queue._spilling = queue._spilling, False
        try:
            put(queue, entry, timeout)
        finally:
            queue._spilling = queue._spilling or spilling

    patch.setattr(SpillingQueue, "put", into_memory)


def does_not_wait_until_the_disk_has_the_dead_letter(patch: pytest.MonkeyPatch) -> None:
    connected = dead_letter_database._connected

    def quick(path: Any) -> Any:
        db = connected(path)
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    patch.setattr(dead_letter_database, "_connected", quick)


def keeps_dead_letters_in_a_transaction_that_never_ends(patch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def endless(db: Any) -> Any:
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")
        yield

    patch.setattr(dead_letter_database, "_transaction", endless)


def wakes_no_event_loop(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AsyncWorker, "_wake", lambda worker, loop: None)


def takes_a_cancelled_send_for_one_that_never_was(patch: pytest.MonkeyPatch) -> None:
    def certain(error: BaseException) -> Any:
        return judge(NotSent("cancelled") if isinstance(error, asyncio.CancelledError | TimeoutError) else error)

    patch.setattr("standpipe.delivery.async_worker.judge", certain)


def sends_messages_of_one_key_at_the_same_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("standpipe.producers.base.settings_of", lambda *given: replace(settings_of(*given), exclusive=not given[1].asynchronous))


def gives_up_when_the_loop_ends(patch: pytest.MonkeyPatch) -> None:
    def over(worker: AsyncWorker) -> None:
        raise Abandoned

    patch.setattr(AsyncWorker, "_begin_again", over)


def loses_what_is_damaged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reader, "_salvage", lambda reader, segment, wreck, expected, stop: expected)


def calls_a_message_damaged_that_is_not(patch: pytest.MonkeyPatch) -> None:
    bury = Engine.bury

    def wrong(engine: Engine, batch: Batch, reason: Reason, error: Any) -> bool:
        return bury(engine, batch, Reason.CORRUPT if reason is Reason.REJECTED else reason, error)

    patch.setattr(Engine, "bury", wrong)


def mends_what_is_damaged_by_guessing(patch: pytest.MonkeyPatch) -> None:
    stored = Engine._store

    def guesses(engine: Engine, letters: Any) -> bool:
        return stored(engine, [replace(letter, payload=b"{}") if letter.reason is Reason.CORRUPT else letter for letter in letters])

    patch.setattr(Engine, "_store", guesses)


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
        believes_what_it_writes_again_without_a_sync,
        removes_a_segment_before_it_is_noted_why,
        keeps_nothing_of_a_full_queue_at_shutdown,
        forgets_what_has_spilled,
        lets_new_messages_pass_those_that_have_spilled,
        does_not_wait_until_the_disk_has_the_dead_letter,
        keeps_dead_letters_in_a_transaction_that_never_ends,
        wakes_no_event_loop,
        takes_a_cancelled_send_for_one_that_never_was,
        sends_messages_of_one_key_at_the_same_time,
        gives_up_when_the_loop_ends,
        loses_what_is_damaged,
        calls_a_message_damaged_that_is_not,
        mends_what_is_damaged_by_guessing,
    ],
)
def test_an_engine_that(breaks: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch)
    assert first_failure() is not None, f"{SEEDS_MAX} histories, and none of them notices"


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
