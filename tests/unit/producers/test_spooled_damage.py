"""What is damaged on the disk: a message of which it is certain that it was there becomes a dead letter, the others are delivered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from standpipe.core.dead_letter import DeadLetter, Reason
from standpipe.delivery.dead_letters import MemoryDeadLetters
from standpipe.delivery.receipt import State
from standpipe.spool.dead_letters import SqliteDeadLetters
from standpipe.spool.format import HEAD_BYTES, PREAMBLE_BYTES
from standpipe.testing.crashing_files import CrashingFileSystem
from tests.unit.delivery.scripted import check, drive
from tests.unit.producers.spooled import OnCrashingDisk
from tests.unit.spool.damage import IN_THE_PAYLOAD, SEGMENT, damage, records

Lives = Callable[..., Any]


def arrived(producer: OnCrashingDisk) -> list[int]:
    return [number for number, *_ in producer.target.arrived]


# --- it becomes a dead letter -----------------------------------------------------------------------------------------


def test_a_damaged_message_becomes_a_dead_letter_with_the_bytes_that_are_left(lives: Lives) -> None:
    first = lives(CrashingFileSystem())
    receipts = [first.produce(False, {"n": n, "text": "hello"}, key="k", headers={"a": "b"}) for n in range(4)]
    meta = len(b'{"key":"k","headers":{"a":"b"}}')
    second = lives(damage(first.files, 1, IN_THE_PAYLOAD + meta + 10))
    assert second.statistics().pending == 4
    drive(second)
    assert arrived(second) == [0, 2, 3]
    (letter,) = second.dead_letters
    assert letter.reason is Reason.CORRUPT
    assert (letter.id, letter.key, letter.headers) == (receipts[1].message_id, "k", {"a": "b"})
    assert len(letter.payload) == len(b'{"n":1,"text":"hello"}')
    assert letter.payload != b'{"n":1,"text":"hello"}'
    assert (letter.attempts, letter.error) == (0, "what the disk kept of it does not have its checksum any more")
    now = check(second.statistics())
    assert (now.accepted, now.delivered, now.dead_lettered, now.pending) == (4, 3, 1, 0)


def test_damaged_bytes_are_kept_as_they_were_as_well(lives: Lives) -> None:
    first = lives(CrashingFileSystem())
    for n in range(3):
        first.produce(False, {"n": n})
    second = lives(damage(first.files, 1))
    drive(second)
    (aside,) = (name for name in second.files.names() if name.endswith(".corrupt"))
    assert second.files.read(aside)[PREAMBLE_BYTES + HEAD_BYTES :].rstrip(b"\0") == next(iter(second.dead_letters)).payload


def test_every_message_of_a_damaged_call_is_put_aside(lives: Lives) -> None:
    first = lives(CrashingFileSystem())
    first.produce(False, {"n": 0})
    receipt = first.produce_many(False, [{"n": n} for n in (1, 2, 3)], keys=["a", None, "c"], message_ids=["x", "y", "z"])
    first.produce(False, {"n": 4})
    meta = len(b'{"keys":["a",null,"c"],"ids":["x","y","z"]}')
    second = lives(damage(first.files, 1, IN_THE_PAYLOAD + meta - 1))
    drive(second)
    assert arrived(second) == [0, 4]
    assert [(letter.id, letter.key) for letter in second.dead_letters] == list(zip(receipt.message_ids, ["a", None, "c"], strict=True))
    assert check(second.statistics()).dead_lettered == 3


def test_the_last_message_of_a_segment_that_was_closed_is_put_aside_too(lives: Lives) -> None:
    first = lives(CrashingFileSystem())
    for n in range(3):
        first.produce(False, {"n": n})
    first.shutdown(timeout=0)
    second = lives(damage(first.files, 2))
    drive(second)
    assert arrived(second) == [0, 1]
    assert [letter.reason for letter in second.dead_letters] == [Reason.CORRUPT]


def test_it_is_put_aside_once_and_the_next_start_finds_nothing(lives: Lives) -> None:
    first = lives(CrashingFileSystem())
    for n in range(3):
        first.produce(False, {"n": n})
    second = lives(damage(first.files, 1))
    drive(second)
    third = lives(second.files.kill())
    assert third.statistics().pending == 0
    assert [name for name in third.files.names() if name.endswith(".seg")] == []


def test_a_message_that_only_waits_to_be_put_aside_wakes_the_worker(lives: Lives) -> None:
    first = lives(CrashingFileSystem())
    first.produce(False, {"n": 0})
    first.shutdown(timeout=0)
    second = lives(damage(first.files, 0))
    second.clock.at(1.0, lambda: second.shutdown(timeout=1.0))
    second._worker()
    (letter,) = second.dead_letters
    assert letter.last_attempt_at - second.clock.time() < -0.5, "it waited for the shutdown"


# --- it is never sent, and never lost ---------------------------------------------------------------------------------


class Failing(MemoryDeadLetters):
    """A store that refuses until it is told otherwise."""

    refuses = True

    def add(self, letters: Sequence[DeadLetter]) -> None:
        if self.refuses:
            raise OSError("no room")
        super().add(letters)


def test_a_damaged_message_that_cannot_be_stored_waits_and_is_never_sent(lives: Lives) -> None:
    first = lives(CrashingFileSystem())
    for n in range(3):
        first.produce(False, {"n": n})
    letters = Failing()
    second = lives(damage(first.files, 1), letters)

    def heal() -> None:
        assert check(second.statistics()).pending == 1
        letters.refuses = False

    second.clock.at(12.0, heal)
    drive(second, seconds=30.0)
    assert arrived(second) == [0, 2]
    assert [letter.reason for letter in letters] == [Reason.CORRUPT]
    assert check(second.statistics()).pending == 0


def test_a_damaged_message_that_could_not_be_stored_before_the_end_is_found_again(lives: Lives) -> None:
    first = lives(CrashingFileSystem())
    for n in range(3):
        first.produce(False, {"n": n})
    second = lives(damage(first.files, 1), Failing())
    report = drive(second, seconds=3.0)
    assert (report.delivered, report.spooled, report.undelivered) == (2, 1, 0)
    third = lives(second.files.kill())
    drive(third)
    assert [letter.reason for letter in third.dead_letters] == [Reason.CORRUPT]


class Ending(MemoryDeadLetters):
    """The process ends right after the letter is stored."""

    engine: Any = None

    def add(self, letters: Sequence[DeadLetter]) -> None:
        super().add(letters)
        self.engine.abandoned = True


def test_a_process_that_ends_between_letter_and_acknowledgement_leaves_both_under_one_id(lives: Lives, tmp_path: Path) -> None:
    first = lives(CrashingFileSystem())
    for n in range(3):
        first.produce(False, {"n": n})
    ending = Ending()
    second = lives(damage(first.files, 1), ending)
    ending.engine = second.engine
    second._worker()
    third = lives(second.files.kill())
    assert third.statistics().pending >= 1
    drive(third)
    with SqliteDeadLetters(tmp_path / "dead.sqlite") as store:
        store.add(list(ending))
        store.add(list(third.dead_letters))
        assert store.statistics().letters == 1


def test_a_receipt_that_somebody_holds_is_told(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("standpipe.producers.spooled_queue.WINDOW_BYTES", 1)
    producer = lives(CrashingFileSystem())
    receipts = [producer.produce(False, {"n": n}) for n in range(4)]
    (start,) = (at for at, record in records(producer.files.read(SEGMENT)) if record.first == 2)
    producer.files.flip(SEGMENT, (start + IN_THE_PAYLOAD) * 8)
    drive(producer)
    assert [receipt.state for receipt in receipts] == [State.DELIVERED, State.DELIVERED, State.DEAD_LETTERED, State.DELIVERED]
