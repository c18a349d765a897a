"""The spool against a model, with every kind of crash as a step: what was promised is there, once, unchanged and in order."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from standpipe.spool.errors import SpoolError, SpoolFull
from standpipe.spool.format import HEADER_BYTES, Record, scan
from standpipe.spool.log import Spool
from standpipe.spool.segment import segment_number
from standpipe.testing.crashing_files import CrashingFileSystem, Stopped

SEGMENT = 16 * 1024
SIZES = st.sampled_from([1, 40, 700, 3000, 5000, 18_000])


@dataclass
class Stored:
    """A record as the model knows it."""

    first: int
    count: int
    prefix: str
    payload: bytes = field(repr=False)
    settled: set[int] = field(default_factory=set)
    doubtful: bool = False  # in the memory of the kernel, and it believes: on the disk

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)

    @property
    def open(self) -> list[int]:
        return [number for number in self.numbers if number not in self.settled]


class SpoolMachine(RuleBasedStateMachine):
    """One spool, its processes one after the other, and the disk below it."""

    def __init__(self) -> None:
        super().__init__()
        self.files = CrashingFileSystem()
        self.records: dict[int, Stored] = {}  # by first number: accepted, and not known to be settled for good or lost
        self.durable = 0  # below: on the disk for certain
        self.noted: set[int] = set()  # settled and with the operating system
        self.ids: set[str] = set()
        self.read_to = 0
        self.faulty = False
        self.not_removed = False
        self.payloads = 0

    @initialize(seed=st.integers(0, 2**32), careful=st.booleans())
    def begin(self, seed: int, careful: bool) -> None:
        self.careful = careful
        self.files = CrashingFileSystem(seed, evicts=careful)
        self.open()

    # --- the disk -----------------------------------------------------------------------------------------------------

    @rule(room=st.sampled_from([0, 3000, 20_000, 60_000]))
    def disk_fills_up(self, room: int) -> None:
        self.files.capacity = sum(map(len, self.files.contents().values())) + room
        self.faulty = True

    @rule(action=st.sampled_from(["sync", "sync", "create", "append", "sync_folder", "remove", "rename", "open"]), for_ever=st.booleans())
    def disk_fails(self, action: str, for_ever: bool) -> None:
        self.files.fail(action, errno.EIO, times=None if for_ever else 1)
        self.faulty = True
        self.not_removed = self.not_removed or action == "remove"

    @rule()
    def disk_heals(self) -> None:
        self.files.heal()
        self.files.capacity = None
        self.faulty = False

    @rule()
    def kernel_writes_back(self) -> None:
        self.files.write_back()

    # --- the process --------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 4), size=SIZES)
    def append(self, count: int, size: int) -> None:
        before = self.spool.next_number
        payload = self.payload(count, size)
        try:
            first = self.spool.append(count, 0, 1.0, b"", payload)
        except (SpoolFull, SpoolError):
            assert self.faulty
            assert self.spool.next_number == before
            return
        assert first == before
        self.accepted(first, count, payload)

    @rule(count=st.integers(1, 3))
    def skip(self, count: int) -> None:
        self.spool.skip(count)

    @rule()
    def sync(self) -> None:
        number = self.spool.next_number
        try:
            self.spool.sync()
        except SpoolError:
            assert self.faulty
            assert self.spool.statistics().failing
        else:
            self.durable = number

    @rule(max_bytes=st.sampled_from([1, 2000, 10**6]))
    def read(self, max_bytes: int) -> None:
        waiting = [record for record in self.in_order() if record.first >= self.read_to and record.open]
        found = self.spool.read(max_bytes)
        for (record, prefix), expected in zip(found, waiting, strict=False):
            self.check(record, prefix, expected)
        assert len(found) <= len(waiting)
        assert self.spool.take_absent() == 0
        if self.spool.read_to_end:
            assert len(found) == len(waiting)
            self.read_to = self.spool.next_number
        elif found:
            self.read_to = found[-1][0].first + found[-1][0].count
        if not self.faulty:
            assert found or not waiting

    @precondition(lambda self: any(record.open for record in self.records.values()))
    @rule(data=st.data(), together=st.booleans())
    def settle(self, data: st.DataObject, together: bool) -> None:
        record = data.draw(st.sampled_from([record for record in self.in_order() if record.open]))
        numbers = record.open if together else [data.draw(st.sampled_from(record.open))]
        for number in numbers:
            self.spool.take(number, 1)
            self.spool.settle(number, 1)
            record.settled.add(number)

    @rule()
    def settle_all(self) -> None:
        for record in self.in_order():
            for number in record.open:
                self.spool.settle(number, 1)
                record.settled.add(number)

    @rule()
    def write_positions(self) -> None:
        failures = self.spool.statistics().position_failures
        self.spool.write_positions()
        if self.spool.statistics().position_failures == failures:
            self.note()

    # --- its end ------------------------------------------------------------------------------------------------------

    @rule()
    def close_and_start(self) -> None:
        self.spool.close()
        clean = not self.faulty
        self.files = self.files.kill()
        self.recover(self.records_if(self.promised), clean=clean)

    @rule()
    def kill(self) -> None:
        self.files = self.files.kill()
        self.recover(self.records_if(self.promised))

    @rule()
    def power_cut(self) -> None:
        self.files = self.files.crash()
        self.recover(self.records_if(lambda number: number < self.durable), cut=True)

    @rule(size=SIZES, keep=st.floats(0, 0.99))
    def killed_while_writing(self, size: int, keep: float) -> None:
        """The process dies in the middle of copying a record: its end is missing."""
        number = self.spool.next_number
        payload = self.payload(1, size)
        before = {name: data.rstrip(b"\0") for name, data in self.files.contents().items()}
        try:
            self.spool.append(1, 0, 1.0, b"", payload)
        except (SpoolFull, SpoolError):
            assert self.faulty
        self.files = self.files.kill()
        for name, data in self.files.contents().items():
            if segment_number(name) is not None and payload in data:
                start = len(before.get(name, b""))
                stop = data.rindex(payload) + len(payload)
                cut = max(start, start + int((stop - start) * keep))
                self.files.put(name, data[:cut] + b"\0" * (len(data) - cut))
                if name not in before:
                    self.files.put(name, data[: HEADER_BYTES // 2] + b"\0" * (len(data) - HEADER_BYTES // 2))
        self.recover(self.records_if(lambda other: other < number and self.promised(other)))

    @rule(steps=st.integers(1, 12), cut=st.booleans(), what=st.sampled_from(["append", "sync", "settle", "close", "read"]), size=SIZES)
    def stops_in_the_middle(self, steps: int, cut: bool, what: str, size: int) -> None:
        self.files.stop_after(steps)
        number = self.spool.next_number
        payload = self.payload(1, size)
        wanted = [record.open for record in self.in_order()]
        try:
            if what == "append":
                self.spool.append(1, 0, 1.0, b"", payload)
            elif what == "sync":
                self.spool.sync()
            elif what == "close":
                self.spool.close()
            elif what == "read":
                self.spool.read(10**6)
            else:
                for settled in wanted[::2]:
                    for one in settled:
                        self.records_by(one).settled.add(one)
                        self.spool.settle(one, 1)
                self.spool.write_positions()
        except (Stopped, SpoolFull, SpoolError):
            pass
        if what == "append":  # may be there or not
            self.records[number] = Stored(number, 1, self.spool.prefix, payload)
        self.files = self.files.crash() if cut else self.files.kill()
        self.recover(self.records_if(lambda other: other < (self.durable if cut else number) and self.promised(other)), cut=cut)

    @precondition(lambda self: any(record.open for record in self.records.values()))
    @rule(data=st.data())
    def bit_flips_in_a_segment(self, data: st.DataObject) -> None:
        self.files = self.files.kill()
        contents = self.files.contents()
        names = [name for name in contents if segment_number(name) is not None and contents[name].strip(b"\0")]
        if not names:
            self.recover(self.records_if(self.promised))
            return
        name = data.draw(st.sampled_from(names))
        content = contents[name]
        at = data.draw(st.integers(0, len(content.rstrip(b"\0")) - 1))
        if at < HEADER_BYTES:
            at %= HEADER_BYTES // 2  # one of the two copies: without both the ids are lost
        records = [record for start, stop, record in self.layout(content) if start <= at < stop]
        hit = {number for record in records for number in range(record.first, record.first + record.count)}
        self.files.flip(name, at * 8 + data.draw(st.integers(0, 7)))
        self.recover(self.records_if(lambda number: number not in hit and self.promised(number)), may_lose=hit)

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def disk_is_bounded(self) -> None:
        if not self.faulty and not self.not_removed and not any(record.open for record in self.records.values()):
            kept = [name for name in self.files.contents() if segment_number(name) is not None]
            assert len(kept) <= 1 + self.spool.statistics().lost_messages

    @invariant()
    def statistics_agree_with_the_disk(self) -> None:
        statistics = self.spool.statistics()
        if not self.faulty:
            names = [name for name in self.files.contents() if segment_number(name) is not None]
            assert statistics.segments == len(names) or (self.not_removed and statistics.segments < len(names))

    def recover(self, required: dict[int, Stored], *, cut: bool = False, may_lose: set[int] | None = None, clean: bool = False) -> None:
        """Start a process that reads everything and is killed; then one that stays. Compare with the model."""
        # After a failed sync the kernel takes the pages for clean: no later process can bring them to the disk.
        doubtful = self.spool.statistics().failing and self.spool.statistics().sync_failures > 0
        self.files.capacity = None
        self.faulty = self.not_removed = False
        self.open()
        found = self.spool.read(2**40)
        there: dict[int, Stored] = {}
        last = -1
        for record, prefix in found:
            expected = self.records[record.first]
            self.check(record, prefix, expected)
            assert record.first > last
            last = record.first
            numbers = {record.first + at for start, stop in self.spool.unsettled(record) for at in range(start, stop)}
            again = numbers & expected.settled
            assert cut or not again & self.noted, "settled and noted, and yet delivered again"
            assert not (clean and again), "settled, closed in order, and yet delivered again"
            there[record.first] = Stored(record.first, record.count, prefix, record.payload, set(expected.numbers) - numbers)
            there[record.first].doubtful = not cut and (expected.doubtful or (doubtful and record.first >= self.durable))
        for first, wanted in required.items():
            missing = set(() if cut and wanted.doubtful else wanted.open) - set(there[first].open if first in there else ())
            assert not missing, f"lost: {missing}"
        lost = self.spool.take_absent()
        assert self.spool.recovery.backlog - lost == sum(len(stored.open) for stored in there.values())
        if may_lose is None and not cut and not doubtful:
            assert self.spool.statistics().lost_messages == 0, self.spool.recovery.problems
        self.records = there
        self.spool.write_positions()
        self.files = self.files.kill()
        self.open()
        if not may_lose:
            assert self.spool.recovery.backlog == sum(len(stored.open) for stored in there.values())
        self.durable = max((stored.first + stored.count for stored in there.values()), default=0)
        self.noted = {number for stored in there.values() for number in stored.settled}
        self.read_to = 0
        if may_lose:
            self.spool.take_absent()

    def promised(self, number: int) -> bool:
        """Whether a message survives the process: not when the disk has refused it and memory may have lost it since."""
        return number < self.durable or not (self.careful and self.spool.statistics().failing)

    def open(self) -> None:
        self.spool = Spool(self.files, threading.RLock(), segment_bytes=SEGMENT, careful=self.careful)
        self.spool.open()

    def accepted(self, first: int, count: int, payload: bytes) -> None:
        record = Stored(first, count, self.spool.prefix, payload)
        for number in record.numbers:
            assert f"{record.prefix}{number}" not in self.ids, "an id was given out twice"
            self.ids.add(f"{record.prefix}{number}")
        self.records[first] = record

    def check(self, record: Record, prefix: str, expected: Stored) -> None:
        assert (record.first, record.count, prefix) == (expected.first, expected.count, expected.prefix)
        assert record.payload == expected.payload, "the payload has changed"

    def note(self) -> None:
        self.noted |= {number for record in self.records.values() for number in record.settled}

    def in_order(self) -> list[Stored]:
        return [self.records[first] for first in sorted(self.records)]

    def records_if(self, wanted: Callable[[int], bool]) -> dict[int, Stored]:
        return {first: record for first, record in self.records.items() if record.open and all(map(wanted, record.numbers))}

    def records_by(self, number: int) -> Stored:
        return next(record for record in self.records.values() if number in record.numbers)

    def payload(self, count: int, size: int) -> bytes:
        self.payloads += 1
        return b"\n".join(b"%d %s" % (self.payloads, b"x" * size) for _ in range(count))

    def layout(self, content: bytes) -> list[tuple[int, int, Record]]:
        found, start = [], HEADER_BYTES
        for stop, item in scan(memoryview(content), HEADER_BYTES, len(content), 0):
            if isinstance(item, Record):
                found.append((start, stop, item))
            start = stop
        return found


SpoolMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSpool = SpoolMachine.TestCase
