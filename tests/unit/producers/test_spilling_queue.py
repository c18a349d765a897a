"""A queue that spills, on disks that lose, refuse and stop: ids, order, the count of possible duplicates, and what is in both spools."""

from __future__ import annotations

import errno
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from standpipe.core.errors import SendError
from standpipe.delivery.memory_queue import Flush
from standpipe.delivery.receipt import Receipt
from standpipe.producers.base import Batch
from standpipe.producers.state_dir import LEFT, SPILL
from standpipe.spool.errors import SpoolError
from standpipe.testing.crashing_files import CrashingFileSystem, Stopped
from tests.unit.producers.spooled import STEPS_MAX, WorkedByHand

FITS = 4
"""Messages that fit into memory."""

Disks = dict[str, CrashingFileSystem]


def new_disks() -> Disks:
    return {SPILL: CrashingFileSystem(1), LEFT: CrashingFileSystem(2)}


class Life(WorkedByHand):
    """One life of a producer whose queue spills, its worker driven by the test. `arrived` has ids in the order of arrival."""

    def __init__(self, disks: Disks, **settings: Any) -> None:
        self.disks = disks
        self.arrived: list[tuple[str, int]] = []
        self.outcomes: list[BaseException] = []
        queue = {"type": "memory", "max_messages": FITS, "on_full": "spill", "path": "/nowhere"}
        super().__init__(queue=queue, batch={"max_messages": 2}, **settings)
        self.spilling = self.__dict__["_BaseProducer__queue"]
        self.recovery = self.spilling.open()

    def _spool_files(self, folder: Path) -> Any:
        return self.disks[folder.name]

    def _send_batch(self, batch: Batch) -> Any:
        if self.outcomes:
            raise self.outcomes.pop(0)
        self.arrived += [(message.id, message.content()["n"]) for message in batch]
        return batch.delivered()

    def hand_over(self, *numbers: int) -> list[Receipt]:
        return [self.produce(False, {"n": number}) for number in numbers]

    def take_without_sending(self) -> None:
        """A batch is on its way, and nobody will ever know what became of it; it arrived."""
        with self.engine.lock:
            batch, _ = self.engine.choose(self.clock.now)
        assert batch is not None
        self.arrived += [(message.id, message.content()["n"]) for message in batch]

    def killed(self) -> Disks:
        """The process ends here. What the next one finds."""
        self.spilling.forget_spool()
        self.shutdown(timeout=0.0)
        return {name: files.kill() for name, files in self.disks.items()}

    def numbers(self) -> list[int]:
        return [number for _, number in self.arrived]


def after_shutdown(life: Life) -> Disks:
    life.shutdown(timeout=0.0)
    return {name: files.kill() for name, files in life.disks.items()}


def damage(files: CrashingFileSystem, number: int) -> None:
    """One message on that disk cannot be read any more."""
    text = b'{"n":%d}' % number
    for name, data in files.contents().items():
        at = data.find(text)
        if at >= 0:
            files.flip(name, at * 8)
            return
    raise AssertionError(f"message {number} is not on the disk")


def with_a_lost_message() -> Life:
    """Of six messages that a killed process has spilled, one is damaged."""
    former = Life(new_disks())
    former.hand_over(*range(FITS + 6))
    disks = former.killed()
    damage(disks[SPILL], FITS + 2)
    return Life(disks)


# --- lost messages ----------------------------------------------------------------------------------------------------


def test_no_two_messages_get_the_same_id_when_some_were_lost() -> None:
    life = with_a_lost_message()
    before = life.hand_over(100, 101)
    life.work()
    after = life.hand_over(102)  # into memory
    after += life.hand_over(*range(103, 103 + FITS))  # the last of them spills

    life.work()

    ids = [receipt.message_id for receipt in before + after]
    assert len(set(ids)) == len(ids)
    assert life.numbers() == [4, 5, 7, 8, 9, *range(100, 103 + FITS)]
    assert len(dict(life.arrived)) == len(life.arrived)
    now = life.statistics()
    assert (now.accepted, now.delivered) == (len(life.arrived), len(life.arrived))
    assert (now.pending, now.queue_messages, now.queue_bytes) == (0, 0, 0), "the room that it took is free again"
    life.shutdown(timeout=0.0)


def test_room_is_free_again_that_was_taken_by_messages_that_the_disk_lost_meanwhile() -> None:
    life = Life(new_disks())
    life.hand_over(*range(FITS + 3))
    damage(life.disks[SPILL], FITS + 1)

    life.work()

    assert life.numbers() == [*range(FITS + 1), FITS + 2]
    now = life.statistics()
    assert (now.accepted, now.delivered, now.queue_messages, now.queue_bytes) == (FITS + 2, FITS + 2, 0, 0)
    life.shutdown(timeout=0.0)


def test_a_flush_does_not_wait_for_lost_messages() -> None:
    life = with_a_lost_message()
    life.hand_over(100)
    flush = flushing(life)
    life.hand_over(101)

    life.work(3)  # all but the last
    assert life.numbers()[-1] != 101
    assert flush.remaining == 0

    life.work()
    life.shutdown(timeout=0.0)


def flushing(life: Life) -> Any:
    """A flush that has begun, as its caller waits for it."""
    queue = life.spilling
    with queue.lock:
        flush = Flush(queue.next_number, queue.messages)
        queue._flushes.append(flush)
    return flush


def test_a_worker_that_waits_for_so_many_messages_is_woken_by_them_although_others_were_lost() -> None:
    life = with_a_lost_message()
    woken: list[int] = []
    life.spilling.wake = lambda: woken.append(life.spilling.accepted)
    life.spilling.wake_at = life.spilling.accepted + 2

    life.work()
    assert len(life.arrived) == 5
    life.hand_over(1)
    assert not woken
    life.hand_over(2)

    assert woken
    life.shutdown(timeout=0.0)


def test_what_was_lost_of_the_messages_that_were_left_is_not_waited_for() -> None:
    former = Life(new_disks())
    former.hand_over(*range(3))
    disks = after_shutdown(former)
    damage(disks[LEFT], 1)

    life = Life(disks)
    assert life.statistics().pending == 2
    life.work()

    assert life.numbers() == [0, 2]
    assert life.statistics().pending == 0
    life.shutdown(timeout=0.0)


# --- possible duplicates ----------------------------------------------------------------------------------------------


def test_messages_on_their_way_at_shutdown_count_as_possible_duplicates_when_they_come_again() -> None:
    former = Life(new_disks())
    former.hand_over(*range(FITS + 3))
    former.engine.connected = True
    former.take_without_sending()

    life = Life(after_shutdown(former))
    assert life.recovery.in_flight == 2
    life.work()

    assert life.numbers() == list(range(FITS + 3))
    assert life.statistics().possible_duplicates == 2
    life.shutdown(timeout=0.0)


def test_messages_that_wait_for_a_retry_at_shutdown_count_as_possible_duplicates_when_they_come_again() -> None:
    former = Life(new_disks())
    former.hand_over(*range(FITS))
    former.outcomes = [SendError("connection lost")]
    former.work(1)

    life = Life(after_shutdown(former))
    life.work()

    assert life.numbers() == list(range(FITS))
    assert life.statistics().possible_duplicates == 2
    life.shutdown(timeout=0.0)


def test_that_a_message_may_have_been_sent_is_known_after_several_restarts() -> None:
    former = Life(new_disks())
    former.hand_over(*range(FITS))
    former.engine.connected = True
    former.take_without_sending()
    disks = after_shutdown(after := Life(after_shutdown(former)))
    assert after.arrived == []

    life = Life(disks)
    life.work()

    assert life.statistics().possible_duplicates == 2
    life.shutdown(timeout=0.0)


# --- in both spools ---------------------------------------------------------------------------------------------------


def busy(disks: Disks) -> Life:
    """Some messages in `left`, some of `spill` in memory and sent, some on the disk only, some new."""
    former = Life(disks)
    former.hand_over(*range(FITS + 8))
    former.work(1)
    life = Life(after_shutdown(former))
    life.work(3)
    life.hand_over(*range(50, 53))
    life.engine.connected = True
    life.take_without_sending()
    life.arrived = former.arrived + life.arrived
    return life


@pytest.mark.parametrize("place", [LEFT, SPILL])
def test_a_crash_at_any_step_of_a_shutdown_leaves_each_message_once(place: str) -> None:
    ended = False
    for step in range(1, STEPS_MAX):
        former = busy(new_disks())
        former.disks[place].stop_after(step)
        try:
            former.shutdown(timeout=0.0)
            ended = True
        except Stopped:
            pass
        life = Life(former.killed())
        on_their_way = [pair for pair in former.arrived if pair[1] in former.numbers()[-2:]]
        life.work()
        twice = [number for number, times in Counter(former.numbers() + life.numbers()).items() if times > 1]
        assert len(life.arrived) == len(set(life.arrived)), f"step {step}: a message was in both spools"
        assert set(twice) <= {number for _, number in on_their_way}, f"step {step}"
        assert life.statistics().possible_duplicates >= len(twice), f"step {step}"
        assert set(former.numbers() + life.numbers()) >= set(range(FITS, FITS + 8)), f"step {step}: what had spilled is there"
        assert life.numbers() == sorted(life.numbers()), f"step {step}: {life.numbers()}"
        assert life.statistics().pending == 0
        life.shutdown(timeout=0.0)
        if ended:
            break
    assert ended
    assert step > 5


@pytest.mark.parametrize("place", [LEFT, SPILL])
def test_a_crash_while_what_was_in_both_is_put_right_leaves_each_message_once(place: str) -> None:
    """After the shutdown that stopped before it noted in `spill` what had moved, the start that notes it stops as well."""
    for step in range(1, STEPS_MAX):
        former = busy(new_disks())
        former.disks[SPILL].stop_after(1)
        with pytest.raises(Stopped):
            former.shutdown(timeout=0.0)
        disks = former.killed()
        disks[place].stop_after(step)
        arrived: list[tuple[str, int]] = []
        second: Life | None = None
        try:
            second = Life(disks)
            second.work(2)
            ended = True
        except Stopped:
            ended = False
        if second is not None:
            arrived = second.arrived
            second.killed()
        life = Life({name: files.kill() for name, files in disks.items()})
        life.work()
        counted = life.statistics().possible_duplicates
        again = [pair for pair in life.arrived if pair in arrived]
        assert len(life.arrived) == len(set(life.arrived)), f"step {step}: a message was in both spools"
        assert counted >= len(again), f"step {step}: {again}"
        life.shutdown(timeout=0.0)
        if ended:
            break
    assert ended


def test_a_new_message_with_the_number_of_a_lost_one_is_not_taken_for_it() -> None:
    """What moved to `left` says which message of `spill` it was; there the numbers begin anew when everything is lost."""
    former = Life(new_disks())
    former.hand_over(*range(FITS + 3))
    former.work(2)
    with former.engine.lock:
        assert len(former.spilling), "what has spilled is in memory again"
    disks = after_shutdown(former)
    second = Life({LEFT: disks[LEFT], SPILL: CrashingFileSystem(3)})
    second.hand_over(*range(10, 10 + FITS + 3))

    life = Life(second.killed())
    life.work()

    assert life.numbers() == [FITS, FITS + 1, FITS + 2, *range(11, 10 + FITS + 3)], "all but 10, which was in memory"
    life.shutdown(timeout=0.0)


# --- what cannot be stored --------------------------------------------------------------------------------------------


def test_what_could_not_be_stored_at_the_end_is_handed_back_and_does_not_come_again() -> None:
    former = Life(new_disks())
    former.hand_over(*range(FITS + 3))
    former.work(1)
    former.disks[LEFT].fail("create", errno.EIO, times=None)
    report = former.shutdown(timeout=0.0)
    assert [message.content()["n"] for message in report.messages] == [2, 3], "what has spilled stays where it is"
    for files in former.disks.values():
        files.heal()

    life = Life({name: files.kill() for name, files in former.disks.items()})
    life.work()

    assert life.numbers() == list(range(FITS, FITS + 3))
    assert report.spooled == 3
    life.shutdown(timeout=0.0)


class FailsLater(CrashingFileSystem):
    """A disk that syncs once, the header of a segment, and then no more."""

    syncs = 1

    def _sync(self, name: str, file: Any) -> None:
        if name.startswith("positions"):
            return super()._sync(name, file)
        self.syncs -= 1
        if self.syncs < 0:
            raise OSError(errno.EIO, "Input/output error")
        return super()._sync(name, file)


def test_a_message_handed_back_because_the_disk_failed_half_way_does_not_come_again() -> None:
    former = Life({SPILL: CrashingFileSystem(1), LEFT: FailsLater(2)})
    former.hand_over(*range(FITS))
    report = former.shutdown(timeout=0.0)
    assert len(report.messages) == FITS
    assert any(b'{"n":1}' in data for data in former.disks[LEFT].contents().values()), "they had been written"

    life = Life({name: files.kill() for name, files in former.disks.items()})

    assert life.statistics().pending == 0
    life.shutdown(timeout=0.0)


@pytest.mark.parametrize("place", [LEFT, SPILL])
def test_opening_that_failed_can_be_repeated(place: str) -> None:
    disks = after_shutdown(busy(new_disks()))
    for action in ("read", "lock", "names"):
        disks[place].fail(action, errno.EIO)
        with pytest.raises(SpoolError):
            Life(disks)
        assert not any(files.locked for files in disks.values()), action
    life = Life(disks)
    again = life.spilling.open()
    assert again is life.recovery, "it is open"
    life.work()
    assert life.statistics().pending == 0
    life.shutdown(timeout=0.0)
