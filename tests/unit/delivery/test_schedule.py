"""The rules of order, with random destinations, against a model that only knows what order means."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from standpipe.delivery.batch import Batch, Slice
from standpipe.delivery.receipt import Origin, Receipt
from standpipe.delivery.schedule import Ordering, Schedule, count_of

ORIGIN = Origin("test", "prefix-")


def entry(first: int, keys: list[str | None]) -> Receipt:
    lines = b"\n".join(b"%d" % (first + index) for index in range(len(keys)))
    receipt = Receipt(ORIGIN, False, lines, len(keys), len(lines), keys[0] if len(keys) == 1 else tuple(keys), float(first))
    receipt._first = first
    return receipt


class Run:
    """One random history: messages come, batches are sent, fail in every way there is, and are retried."""

    def __init__(self, seed: int, ordering: Ordering, exclusive: bool) -> None:
        self.random = random.Random(seed)
        self.schedule = Schedule(ordering, exclusive)
        self.exclusive = exclusive
        self.waiting_entries: list[Receipt] = []
        self.produced = 0
        self.keys: dict[int, str | None] = {}
        self.under_way: list[Batch] = []
        self.settled: list[int] = []
        self.now = 0.0

    def step(self) -> None:
        self.now += self.random.random()
        action = self.random.randrange(4)
        if action == 0 and self.produced < 40:
            self.produce()
        elif action == 1:
            self.take()
        elif self.under_way:
            self.finish(self.under_way.pop(self.random.randrange(len(self.under_way))))
        self.check()

    def produce(self) -> None:
        keys = [self.random.choice([None, "a", "b", "c"]) for _ in range(self.random.choice([1, 1, 3]))]
        for offset, key in enumerate(keys):
            self.keys[self.produced + offset] = key
        self.waiting_entries.append(entry(self.produced, keys))
        self.produced += len(keys)

    def take(self) -> None:
        """As the engine does: what is due first, then what is ready, then what is new."""
        if self.under_way and (not self.exclusive or self.schedule.ordering == "fifo"):
            return
        schedule, limit = self.schedule, self.random.choice([1, 2, 5])
        batch = schedule.due(self.now)
        if batch is not None:
            self.under_way.append(batch if batch.count <= limit else schedule.split(batch, limit))
            return
        if schedule.ordering == "fifo" and schedule.waiting:
            return
        slices, count = schedule.take_ready(limit)
        if count < limit and self.waiting_entries:
            receipt = self.waiting_entries.pop(0)
            admitted, number = schedule.admit([(receipt, 0, receipt._count)])
            slices, count = slices + admitted, count + number
        if count:
            self.under_way.append(Batch(slices, count))

    def finish(self, batch: Batch) -> None:
        self.now += self.random.random()
        kind = self.random.randrange(5)
        if kind == 0:
            batch.due = self.now + self.random.random() * 3
            batch.tries += 1
            self.schedule.retry_halves(batch) if batch.count > 1 else self.schedule.retry(batch)
        elif kind == 1:
            self.schedule.give_back(batch)
        elif kind == 2 and batch.count > 1:  # the first arrive, one fails, the rest has not been tried
            position = self.random.randrange(batch.count)
            if position:
                self.settle(batch.part(0, position))
            failed, rest = batch.part(position, position + 1), batch.part(position + 1, batch.count)
            failed.due, failed.tries = self.now + self.random.random() * 3, batch.tries + 1
            self.schedule.retry(failed)
            if rest.count:
                self.schedule.give_back(rest)
        else:
            self.settle(batch)

    def settle(self, batch: Batch) -> None:
        self.settled += numbers(batch.slices)
        self.schedule.settled(batch)

    def check(self) -> None:
        places = numbers(self.schedule) + [number for batch in self.under_way for number in numbers(batch.slices)]
        places += [number for receipt in self.waiting_entries for number in numbers([(receipt, 0, receipt._count)])]
        assert sorted(places + self.settled) == list(range(self.produced)), "a message is in two places, or in none"
        ordering = self.schedule.ordering
        if ordering == "fifo":
            assert self.settled == sorted(self.settled)
        if ordering == "key":
            by_key: dict[str | None, list[int]] = defaultdict(list)
            for number in self.settled:
                by_key[self.keys[number]].append(number)
            assert all(mine == sorted(mine) for key, mine in by_key.items() if key is not None)
        if self.exclusive and ordering == "key":
            busy = [self.keys[number] for batch in self.under_way for number in numbers(batch.slices) if self.keys[number] is not None]
            assert len(busy) == len(set(busy))


def numbers(slices: Schedule | list[Slice]) -> list[int]:
    return [receipt._first + index for receipt, start, stop in slices for index in range(start, stop)]


@pytest.mark.parametrize(("ordering", "exclusive"), [(o, e) for o in ("key", "fifo", "none") for e in (False, True)])
def test_a_message_is_in_one_place_and_order_holds_through_every_failure(ordering: Ordering, exclusive: bool) -> None:
    for seed in range(150):
        run = Run(seed, ordering, exclusive)
        for _ in range(120):
            run.step()
        drain(run)


def drain(run: Run) -> None:
    """With a destination that takes everything, everything arrives: nothing is held for ever."""
    for _ in range(2000):
        run.now += 10.0
        for batch in run.under_way:
            run.settle(batch)
        run.under_way.clear()
        run.take()
        run.check()
        if len(run.settled) == run.produced:
            return
    pytest.fail(f"{run.produced - len(run.settled)} messages are held for ever")


def test_messages_that_were_freed_are_held_again_before_anything_newer() -> None:
    schedule = Schedule("key", exclusive=False)
    whole = [(entry(number, ["a"]), 0, 1) for number in range(6)]
    failed = Batch(whole[:1], 1)
    schedule.retry(failed)
    assert schedule.admit(whole[1:4]) == ([], 0)
    assert schedule.due(0.0) is failed
    schedule.settled(failed)
    slices, count = schedule.take_ready(1)
    assert (numbers(slices), count) == ([1], 1)
    schedule.retry(Batch(slices, 1))
    assert schedule.take_ready(1) == ([], 0)
    assert schedule.admit(whole[4:]) == ([], 0)
    assert numbers(list(schedule.held["a"])) == [2, 3, 4, 5]


@pytest.mark.parametrize("exclusive", [False, True])
def test_expired_messages_free_their_keys(exclusive: bool) -> None:
    for seed in range(200):
        run = Run(seed, "key", exclusive)
        for _ in range(60):
            run.step()
        before = float(run.random.randrange(run.produced + 1))
        expired = run.schedule.expired(before)
        for batch in expired:
            run.settled += numbers(batch.slices)
            assert batch.count == count_of(batch.slices)
            run.schedule.settled(batch)
        assert all(number < run.produced for number in run.settled)
        run.settled.sort()
        survivors = [receipt._accepted_at for receipt, _, _ in run.schedule]
        assert all(accepted_at >= before for accepted_at in survivors)
        kept = set(numbers(run.schedule))
        last: dict[str, int] = {}
        for _ in range(2000):
            run.now += 10.0
            for number in sorted(number for batch in run.under_way for number in numbers(batch.slices)):
                key = run.keys[number]
                assert key is None or last.get(key, -1) < number, "an expired message freed a key that was not its own"
                last[key or ""] = number
            for batch in run.under_way:
                run.schedule.settled(batch)
                kept -= set(numbers(batch.slices))
            run.under_way.clear()
            run.take()
        assert not kept, "a key is busy for ever"
