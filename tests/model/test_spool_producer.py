"""A producer with a spool against a model: lives end by kill or power cut, disks fail, and the destination does what it likes.

Everything runs in the test's own thread under a manual clock; the disk is a `CrashingFileSystem`.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from standpipe.core.errors import QueueFull
from standpipe.delivery.dead_letters import MemoryDeadLetters
from standpipe.producers.config import BaseProducerConfig, SpoolConfig
from standpipe.producers.spooled_queue import SpooledQueue
from standpipe.spool.errors import SpoolError
from standpipe.testing import ManualClock
from standpipe.testing.crashing_files import CrashingFileSystem
from tests.unit.delivery.scripted import check
from tests.unit.producers.spooled import Destination, OnCrashingDisk

KEYS = ["a", "b", None]


class ProducerMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.target = Destination()
        self.dead = MemoryDeadLetters()
        self.clock = ManualClock()
        self.life = 0
        self.number = 0
        self.accepted: dict[int, tuple[str, str | None]] = {}  # id and key of what `produce` took
        self.promised: set[int] = set()  # survives a kill
        self.durable: set[int] = set()  # survives a power cut
        self.unknown: set[int] = set()  # SpoolError: may be delivered or not
        self.given_up: set[int] = set()
        self.faulty = False

    @initialize(seed=st.integers(0, 2**32), level=st.sampled_from(["written", "synced"]), segment=st.sampled_from([600, 3000, 20_000]))
    def begin(self, seed: int, level: str, segment: int) -> None:
        self.level = level
        spool = SpoolConfig.model_validate(
            {"type": "spool", "path": "/nowhere", "durability": level, "sync_interval": 1e6, "on_full": "raise", "max_bytes": 30_000}
        )
        config: dict[str, Any] = {"type": "test", "name": "test", "max_retries": 2, "batch": {"max_messages": 3}}
        self.config = BaseProducerConfig(**config, queue=spool.model_copy(update={"segment_bytes": segment}))
        self.files = CrashingFileSystem(seed, evicts=level == "synced")
        self.start()

    def start(self) -> None:
        self.life += 1
        self.producer = OnCrashingDisk(
            self.files, self.target, self.life, clock=self.clock, dead_letters=self.dead, jitter=lambda: 0.5, config=self.config
        )
        self.producer.start()

    # --- steps --------------------------------------------------------------------------------------------------------

    @rule(key=st.sampled_from(KEYS), size=st.sampled_from([1, 300, 2000]))
    def produce(self, key: str | None, size: int) -> None:
        number = self.number
        self.number += 1
        try:
            receipt = self.producer.produce(False, {"n": number, "x": "x" * size}, key=key)
        except QueueFull:
            return
        except SpoolError:
            assert self.faulty
            self.unknown.add(number)
            return
        self.took([number], [receipt.message_id], [key])

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=5))
    def produce_many(self, keys: list[str | None]) -> None:
        numbers = list(range(self.number, self.number + len(keys)))
        self.number += len(keys)
        try:
            receipt = self.producer.produce_many(False, [{"n": number} for number in numbers], keys=keys)
        except QueueFull:
            return
        except SpoolError:
            assert self.faulty
            self.unknown.update(numbers)
            return
        self.took(numbers, receipt.message_ids, keys)

    def took(self, numbers: list[int], ids: list[str], keys: list[str | None]) -> None:
        assert not set(ids) & {known for known, _ in self.accepted.values()}, "an id was given out twice"
        self.accepted.update({number: (known, key) for number, known, key in zip(numbers, ids, keys, strict=True)})
        self.promised.update(numbers)
        if self.level == "synced":
            self.durable.update(numbers)

    @rule()
    def sync(self) -> None:
        try:
            self.producer.spooled._spool.sync()
        except SpoolError:
            assert self.faulty
            assert self.producer.statistics().last_error is not None
        else:
            self.durable |= self.promised

    @rule(does=st.lists(st.sampled_from(["arrive", "fail", "reject", "arrive without a word", "lost on the way"]), max_size=8))
    def destination_does(self, does: list[str]) -> None:
        self.target.does = does

    @rule(steps=st.integers(1, 20))
    def deliver(self, steps: int) -> None:
        self.producer.work(steps)

    @rule(seconds=st.sampled_from([-86_400.0, 3600.0, 31_536_000.0]))
    def wall_clock_jumps(self, seconds: float) -> None:
        self.clock.jump_wall(seconds)

    @rule(room=st.sampled_from([0, 500, 5000]))
    def disk_fills_up(self, room: int) -> None:
        self.files.capacity = sum(map(len, self.files.contents().values())) + room

    @rule(action=st.sampled_from(["sync", "create", "append", "sync_folder"]), for_ever=st.booleans())
    def disk_fails(self, action: str, for_ever: bool) -> None:
        self.files.fail(action, errno.EIO, times=None if for_ever else 1)
        self.faulty = True

    @rule()
    def disk_heals(self) -> None:
        self.files.heal()
        self.files.capacity = None

    @rule()
    def kernel_writes_back(self) -> None:
        self.files.write_back()

    @rule()
    def kill(self) -> None:
        sure = self.level == "written" or self.producer.spooled.trouble is None
        self.end_life(self.files.kill(), self.promised if sure else self.durable)

    @rule()
    def power_cut(self) -> None:
        self.end_life(self.files.crash(), self.durable)

    @rule()
    def shut_down(self) -> None:
        self.clock.at(self.clock.now, lambda: None)
        report = self.producer.shutdown(timeout=0.0)
        assert report.undelivered == 0
        known = self.durable if self.faulty else self.promised
        self.end_life(self.files.kill(), known)

    def end_life(self, files: CrashingFileSystem, survivors: set[int]) -> None:
        self.producer.end()
        doubtful = self.faulty
        settled = self.settled()
        before = set(self.accepted)
        self.given_up |= self.promised - survivors - settled
        self.promised &= survivors | settled
        self.durable = set(self.durable) if doubtful else set(self.promised)
        self.files, self.faulty = files, False
        self.files.capacity = None
        self.start()
        pending = self.producer.statistics().pending
        assert pending >= len(self.promised - settled)
        assert pending <= len(before | self.unknown)
        if doubtful:  # a failed sync is forgotten by the kernel: write everything anew, as a careful operator would
            self.drain()

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def counts_add_up(self) -> None:
        check_bounded(self.producer)

    @invariant()
    def no_letter_and_no_arrival_is_invented(self) -> None:
        ids = {number: known for number, (known, _) in self.accepted.items()}
        for number, known, key, _ in self.target.arrived:
            if number in ids:
                assert (known, key) == self.accepted[number]
            else:
                assert number in self.unknown

    @invariant()
    def first_deliveries_of_a_key_are_in_order(self) -> None:
        last: dict[str, int] = defaultdict(lambda: -1)
        seen: set[int] = set()
        dead = {letter.id for letter in self.dead}  # one of those may come again after a crash, and then arrive
        for number, known, key, _ in self.target.arrived:
            if number not in seen and key is not None and number not in self.given_up and known not in dead:
                assert number > last[key]
                last[key] = number
            seen.add(number)

    @invariant()
    def only_what_was_tried_before_arrives_twice(self) -> None:
        lives: dict[int, set[int]] = defaultdict(set)
        for number, _, _, life in self.target.arrived:
            for earlier in lives[number]:
                assert (number, earlier) in self.target.tried
            lives[number].add(life)

    def settled(self) -> set[int]:
        dead = {letter.id for letter in self.dead}
        return {number for number, *_ in self.target.arrived} | {n for n, (known, _) in self.accepted.items() if known in dead}

    def drain(self) -> None:
        self.target.does = []
        self.producer.work(10_000)
        now = self.producer.statistics()
        assert now.pending == 0, "something is stuck"

    def teardown(self) -> None:
        if not hasattr(self, "producer"):
            return
        self.files.heal()
        self.files.capacity = None
        if self.producer.spooled._spool is not None and self.producer.statistics().last_error is not None:
            self.sync_until_well()
        self.drain()
        missing = self.promised - self.settled()
        self.producer.shutdown(timeout=0.0)
        self.producer.end()
        assert not missing, f"lost: {sorted(missing)}"

    def sync_until_well(self) -> None:
        self.faulty = True
        self.producer.spooled._spool.sync()


def check_bounded(producer: OnCrashingDisk) -> None:
    """The counts add up, and what the queue holds is what is pending."""
    now = producer.statistics()
    assert now.accepted == now.delivered + now.dead_lettered + now.dropped + now.pending
    assert now.queue_messages == now.pending
    assert now.queue_bytes >= 0
    if now.pending == 0 and isinstance(producer.spooled, SpooledQueue):
        check(now)


ProducerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSpooledProducer = ProducerMachine.TestCase
