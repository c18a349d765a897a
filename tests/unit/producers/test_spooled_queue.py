"""The queue on disk: full and failing disks, restarts, and the boundary between memory, disk and what a former process left."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from typing import Any

import pytest

from standpipe.core.errors import ProducerClosed, QueueFull
from standpipe.delivery.receipt import State
from standpipe.producers import spooled_queue
from standpipe.spool.errors import SpoolError, SpoolFull
from standpipe.testing.crashing_files import CrashingFileSystem
from tests.unit.delivery.scripted import check
from tests.unit.producers.spooled import OnCrashingDisk

KIB = "x" * 1000


def fill(producer: OnCrashingDisk, number: int, first: int = 0) -> list[Any]:
    return [producer.produce(False, {"n": n, "x": KIB}) for n in range(first, first + number)]


def arrived(producer: OnCrashingDisk) -> list[int]:
    return [number for number, *_ in producer.target.arrived]


# --- a full disk ------------------------------------------------------------------------------------------------------


def test_block_waits_until_somebody_makes_room(lives: Any) -> None:
    producer = lives(CrashingFileSystem(capacity=9000))
    fill(producer, 6)

    def more_room() -> None:
        producer.files.capacity = None

    producer.clock.at(5.5, more_room)
    receipt = producer.produce(False, {"n": 6, "x": KIB})
    assert receipt.state is State.STORED
    assert 5.5 <= producer.clock.now <= 6.5
    assert max(producer.clock.waits) <= 1.0
    check(producer.statistics())
    producer.work(100)
    assert arrived(producer) == list(range(7))


def test_block_goes_on_as_soon_as_delivery_makes_room(lives: Any) -> None:
    producer = lives(CrashingFileSystem(capacity=9000))
    fill(producer, 6)
    producer.clock.at(0.25, lambda: producer.work(3))
    producer.produce(False, {"n": 6, "x": KIB})
    assert producer.clock.now == 0.25


def test_block_gives_up_after_full_timeout(lives: Any) -> None:
    producer = lives(CrashingFileSystem(capacity=9000), full_timeout=2.5)
    fill(producer, 6)
    with pytest.raises(SpoolFull, match="no room on the disk"):
        producer.produce(False, {"n": 6, "x": KIB})
    assert producer.clock.now == 2.5
    assert check(producer.statistics()).accepted == 6


def test_shutdown_ends_the_wait_for_the_disk(lives: Any) -> None:
    producer = lives(CrashingFileSystem(capacity=9000))
    fill(producer, 6)
    producer.clock.at(1.5, lambda: producer.shutdown(timeout=0.0))
    with pytest.raises(ProducerClosed, match="waiting for room on the disk"):
        producer.produce(False, {"n": 6, "x": KIB})


def test_raise_raises_at_once(lives: Any) -> None:
    producer = lives(CrashingFileSystem(capacity=9000), on_full="raise")
    fill(producer, 6)
    with pytest.raises(SpoolFull):
        producer.produce(False, {"n": 6, "x": KIB})
    assert producer.clock.now == 0.0
    producer.files.capacity = None
    assert fill(producer, 1, 6)[0].state is State.STORED


def test_nobody_waits_for_the_disk_in_the_worker_itself(lives: Any) -> None:
    producer = lives(CrashingFileSystem(capacity=9000))
    receipts = fill(producer, 6)
    producer.files.capacity = 0
    raised: list[BaseException] = []

    def produce_again(_: Any) -> None:
        try:
            producer.produce(False, {"n": 7, "x": KIB * 8})
        except SpoolFull as error:
            raised.append(error)

    receipts[0].add_done_callback(produce_again)
    producer._BaseProducer__origin.worker = threading.get_ident()
    producer.work(1)
    assert len(raised) == 1


def test_drop_newest_is_counted(lives: Any) -> None:
    producer = lives(CrashingFileSystem(capacity=9000), on_full="drop_newest")
    fill(producer, 6)
    receipt = producer.produce(False, {"n": 6, "x": KIB})
    assert receipt.state is State.DROPPED
    assert check(producer.statistics()).dropped == 1
    producer.files.capacity = None
    fill(producer, 1, 7)
    producer.work(100)
    assert arrived(producer) == [0, 1, 2, 3, 4, 5, 7]
    again = lives(producer.files.kill())
    assert again.spooled.spool_statistics().lost_messages == 0


def test_drop_oldest_gives_up_the_oldest_file(lives: Any) -> None:
    producer = lives(CrashingFileSystem(capacity=9000), on_full="drop_oldest")
    receipts = fill(producer, 8)
    assert [receipt.state for receipt in receipts] == [State.DROPPED] * 3 + [State.STORED] * 5
    assert check(producer.statistics()).dropped == 3
    producer.work(100)
    assert arrived(producer) == [3, 4, 5, 6, 7]


def test_drop_oldest_drops_the_new_one_when_nothing_older_can_go(lives: Any) -> None:
    producer = lives(CrashingFileSystem(capacity=4500), on_full="drop_oldest")
    receipts = fill(producer, 4)
    assert [receipt.state for receipt in receipts] == [State.STORED] * 3 + [State.DROPPED]


def test_drop_oldest_also_finds_what_is_on_the_disk_only(lives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled_queue, "WINDOW_BYTES", 1)
    producer = lives(CrashingFileSystem(), on_full="drop_oldest", max_bytes=5000)
    receipts = fill(producer, 10)
    assert [receipt.state for receipt in receipts] == [State.DROPPED] * 6 + [State.STORED] * 4
    producer.work(100)
    assert arrived(producer) == [6, 7, 8, 9]
    check(producer.statistics())


def test_awaiting_room_on_the_disk_leaves_the_loop_free(lives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled_queue, "DISK_POLL", 0.01)
    producer = lives(CrashingFileSystem(capacity=9000))
    fill(producer, 6)

    async def run() -> State:
        waiting = asyncio.create_task(producer.aproduce(False, {"n": 6, "x": KIB}))
        for _ in range(3):
            await asyncio.sleep(0.02)  # would not return if the loop were blocked
        assert not waiting.done()
        producer.files.capacity = None
        receipt = await waiting
        return State(receipt.state)

    assert asyncio.run(run()) is State.STORED


# --- a failing disk ---------------------------------------------------------------------------------------------------


def test_dead_disk_never_claims_to_have_synced(lives: Any) -> None:
    producer = lives(CrashingFileSystem(), durability="synced")
    producer.produce(False, {"n": 0})
    producer.files.fail("sync", times=None)
    for n in range(1, 4):
        with pytest.raises(SpoolError, match="whether they are delivered is unknown"):
            producer.produce(False, {"n": n})
    now = check(producer.statistics())
    assert now.last_error is not None
    assert "Input/output error" in now.last_error
    producer.files.heal()
    assert producer.produce(False, {"n": 4}).state is State.STORED
    assert producer.statistics().last_error is None
    again = lives(producer.files.crash())
    again.work(100)
    assert arrived(again) == [0, 1, 2, 3, 4]


def test_one_failed_sync_is_made_good_before_produce_returns(lives: Any) -> None:
    producer = lives(CrashingFileSystem(seed=3), durability="synced")
    producer.produce(False, {"n": 0})
    producer.files.fail("sync")
    assert producer.produce(False, {"n": 1}).state is State.STORED
    assert producer.spooled.spool_statistics().sync_failures == 1
    again = lives(producer.files.crash(), durability="synced")
    again.work(100)
    assert arrived(again) == [0, 1]


def test_messages_on_the_disk_only_wait_until_it_is_well(lives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled_queue, "WINDOW_BYTES", 1)
    producer = lives(CrashingFileSystem(seed=1), durability="synced")
    producer.produce(False, {"n": 0})
    producer.files.fail("sync", times=None)
    for n in (1, 2):
        with pytest.raises(SpoolError):
            producer.produce(False, {"n": n})
    producer.work(100)
    assert arrived(producer) == [0]
    assert check(producer.statistics()).pending == 2
    producer.files.heal()
    producer.work(100)
    assert arrived(producer) == [0, 1, 2]


def test_dead_disk_refuses_written_messages_before_memory_fills(lives: Any) -> None:
    producer = lives(CrashingFileSystem())
    fill(producer, 1)
    producer.files.fail("sync", times=None)
    with pytest.raises(SpoolError, match=r"refuses|cannot be written"):
        fill(producer, 100, 1)
    assert producer.statistics().accepted < 10
    producer.files.heal()
    fill(producer, 5, 1000)
    producer.work(1000)
    check(producer.statistics())
    assert len(arrived(producer)) == producer.statistics().accepted


def test_commit_after_closing_claims_nothing_that_the_disk_has_not(lives: Any) -> None:
    producer = lives(CrashingFileSystem(), durability="synced")
    receipt = producer.produce(False, {"n": 0})
    receipt._state = State.QUEUED
    producer.files.fail("sync", times=None)
    spool = producer.spooled._spool
    number = spool.append(1, 0, 1.0, b"", b"{}")
    producer.shutdown(timeout=0.0)
    producer.spooled._commit(receipt)
    assert receipt.state is State.STORED
    receipt._state, receipt._first = State.QUEUED, number
    with pytest.raises(SpoolError, match="closed before the disk had the message"):
        producer.spooled._commit(receipt)


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_everything_about_a_message_survives(lives: Any) -> None:
    first = lives(CrashingFileSystem())
    one = first.produce(True, {"n": 0}, key="k", headers={"trace": "1"}, message_id="mine")
    many = first.produce_many(False, [{"n": 1}, {"n": 2}], keys=["a", None])
    second = lives(first.files.kill())
    batch, _ = second.engine.choose(0.0)
    assert [(m.id, m.is_error, m.content(), m.key, m.headers) for m in batch] == [
        ("mine", True, {"n": 0}, "k", {"trace": "1"}),
        (many.message_ids[0], False, {"n": 1}, "a", None),
        (many.message_ids[1], False, {"n": 2}, None, None),
    ]
    assert one.message_id == "mine"
    assert check(second.statistics()).pending == 3


def test_what_was_settled_of_a_receipt_is_not_sent_again(lives: Any) -> None:
    first = lives(CrashingFileSystem())
    first.target.does = ["arrive", "lost on the way", "arrive"]
    first.produce_many(False, [{"n": 0}, {"n": 1}, {"n": 2}])
    first.work(1)
    first.spooled.progress()
    second = lives(first.files.kill())
    assert second.statistics().pending == 1
    second.work(10)
    assert arrived(second) == [1]
    assert check(second.statistics()).possible_duplicates == 1


def test_backlog_comes_before_what_is_new(lives: Any) -> None:
    first = lives(CrashingFileSystem())
    fill(first, 20)
    second = lives(first.files.kill())
    fill(second, 5, 20)
    second.work(100)
    assert arrived(second) == list(range(25))
    assert check(second.statistics()).delivered == 25


def test_disk_is_bounded_over_restarts(lives: Any) -> None:
    producer = lives(CrashingFileSystem(), on_full="raise", max_bytes=20_000)
    for _ in range(5):
        with pytest.raises(QueueFull):
            fill(producer, 1000)
        assert producer.spooled.spool_statistics().disk_bytes < 30_000
        producer = lives(producer.files.kill(), on_full="raise", max_bytes=20_000)
    producer.work(1000)
    assert check(producer.statistics()).queue_bytes == 0


def test_lost_messages_are_not_waited_for(lives: Any) -> None:
    first = lives(CrashingFileSystem())
    fill(first, 6)
    files = first.files.kill()
    name = min(name for name in files.names() if name.endswith(".seg"))
    files.flip(name, 8 * 144)  # the number of the first message: nobody can tell any more which one it was
    second = lives(files)
    assert second.statistics().pending == 6
    second.clock.at(1.0, lambda: second.work(100))
    assert second.flush(timeout=5.0) == 0
    assert second.clock.now < 2.0
    now = check(second.statistics())
    assert (now.accepted, now.delivered, now.pending) == (5, 5, 0)
    assert second.spooled.spool_statistics().lost_messages == 1


def test_clock_put_forward_makes_nothing_on_the_disk_older(lives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled_queue, "WINDOW_BYTES", 1)
    producer = lives(CrashingFileSystem(), deadline=60.0)
    fill(producer, 3)
    producer.clock.jump_wall(86_400.0)
    fill(producer, 3, 3)
    producer.engine.sweep(producer.clock.now)
    producer.work(100)
    assert arrived(producer) == list(range(6))


def test_receipts_of_messages_on_the_disk_settle(lives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled_queue, "WINDOW_BYTES", 1)
    producer = lives(CrashingFileSystem())
    receipts = fill(producer, 5)
    assert [receipt._payload for receipt in receipts[1:]] == [b""] * 4
    producer.work(100)
    assert {receipt.state for receipt in receipts} == {State.DELIVERED}


def test_order_holds_when_messages_go_to_the_disk_and_come_back(lives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled_queue, "WINDOW_BYTES", 4000)
    monkeypatch.setattr(spooled_queue, "READ_BYTES", 3000)
    producer = lives(CrashingFileSystem(), batch={"max_messages": 2})
    for first in range(0, 60, 10):
        fill(producer, 10, first)
        producer.work(3)
    producer.work(1000)
    assert arrived(producer) == list(range(60))
    assert check(producer.statistics()).pending == 0
    assert producer.spooled.spool_statistics().segments <= 1


def test_open_twice_is_once(lives: Any) -> None:
    producer = lives(CrashingFileSystem())
    fill(producer, 1)
    assert producer.spooled.open() is producer.spooled._spool.recovery
    assert producer.statistics().pending == 1


def test_what_a_crash_left_is_told(lives: Any, caplog: pytest.LogCaptureFixture) -> None:
    first = lives(CrashingFileSystem())
    fill(first, 3)
    files = first.files.kill()
    name = min(name for name in files.names() if name.endswith(".seg"))
    files.flip(name, 8 * (128 + 1056 + 16))  # the number of the second message
    with caplog.at_level(logging.WARNING, "standpipe.spool"):
        lives(files).work(10)
    assert "is damaged at offset" in caplog.text
    assert "1 message(s) cannot be read any more" in caplog.text


def test_errno_tells_a_full_disk_from_a_broken_one(lives: Any) -> None:
    producer = lives(CrashingFileSystem(), on_full="drop_newest")
    producer.files.fail("create", errno.EDQUOT)
    assert producer.produce(False, {"n": 0}).state is State.DROPPED
    producer.files.fail("create", errno.EROFS)
    with pytest.raises(SpoolError, match="not accepted"):
        producer.produce(False, {"n": 1})
    assert producer.produce(False, {"n": 2}).state is State.STORED
    check(producer.statistics())
