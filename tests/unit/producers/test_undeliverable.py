"""What is left at a shutdown: handed back, unless nobody could take it back; then it is put aside where that outlasts the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from standpipe.core.dead_letter import Reason
from standpipe.core.errors import SendError
from standpipe.delivery.dead_letters import MemoryDeadLetters
from standpipe.delivery.receipt import State
from standpipe.spool.dead_letters import SqliteDeadLetters
from tests.unit.delivery.scripted import Scripted, check, drive

Make = Callable[..., Any]


@pytest.fixture
def letters(tmp_path: Path) -> SqliteDeadLetters:
    return SqliteDeadLetters(tmp_path / "dead.sqlite")


def down(dead_letters: Any) -> Scripted:
    """A producer whose destination never answers."""
    return Scripted(dead_letters=dead_letters, sends=[SendError("nobody listens")] * 1000)


def test_an_only_copy_is_put_aside_and_others_are_handed_back(letters: SqliteDeadLetters) -> None:
    producer = down(letters)
    taken_back = producer.produce(False, {"n": 0})
    only = producer.produce_encoded(True, b'{"n":1}\n{"n":2}', 2, keys=["a", None], only_copy=True)
    report = drive(producer, seconds=5.0, timeout=1.0)
    assert [message.payload for message in report.messages] == [b'{"n":0}']
    assert (report.dead_lettered, report.undelivered, report.spooled) == (2, 1, 0)
    assert (taken_back.state, only.state) == (State.UNDELIVERED, State.DEAD_LETTERED)
    assert [(letter.id, letter.payload, letter.key, letter.is_error) for letter in letters] == [
        (only.message_ids[0], b'{"n":1}', "a", True),
        (only.message_ids[1], b'{"n":2}', None, True),
    ]
    assert {(letter.reason, letter.error) for letter in letters} == {(Reason.UNDELIVERABLE, "SendError: nobody listens")}
    now = check(producer.statistics())
    assert (now.accepted, now.dead_lettered, now.pending) == (3, 2, 1)


def test_how_often_it_was_tried_is_told(letters: SqliteDeadLetters) -> None:
    producer = down(letters)
    producer.produce_encoded(False, b'{"n":0}', 1, only_copy=True)
    drive(producer, seconds=5.0, timeout=1.0)
    (letter,) = letters
    assert letter.attempts == len(producer.times("send")) > 1
    assert letter.first_attempt_at is not None


def test_its_watchers_are_told_once(letters: SqliteDeadLetters) -> None:
    producer = down(letters)
    told: list[State] = []
    producer.produce_encoded(False, b'{"n":0}', 1, only_copy=True).add_done_callback(lambda receipt: told.append(receipt.state))
    drive(producer, seconds=5.0, timeout=1.0)
    assert told == [State.DEAD_LETTERED]


def test_what_was_delivered_in_time_is_no_dead_letter(letters: SqliteDeadLetters) -> None:
    producer = Scripted(dead_letters=letters)
    producer.produce_encoded(False, b'{"n":0}', 1, only_copy=True)
    assert drive(producer).delivered == 1
    assert len(letters) == 0


def test_dead_letters_that_end_with_the_process_are_no_place_for_it() -> None:
    store = MemoryDeadLetters()
    producer = down(store)
    producer.produce_encoded(False, b'{"n":0}', 1, only_copy=True)
    report = drive(producer, seconds=5.0, timeout=1.0)
    assert (report.dead_lettered, report.undelivered, len(report.messages), len(store)) == (0, 1, 1, 0)


class Full(MemoryDeadLetters):
    """A store on a full disk."""

    outlasts_the_process = True

    def add(self, letters: Any) -> None:
        raise OSError("no space left")


def test_what_cannot_be_put_aside_is_handed_back_after_all() -> None:
    producer = down(Full())
    receipt = producer.produce_encoded(False, b'{"n":0}', 1, only_copy=True)
    report = drive(producer, seconds=5.0, timeout=1.0)
    assert (report.dead_lettered, report.undelivered, receipt.state) == (0, 1, State.UNDELIVERED)
    assert len(report.messages) == 1
    check(producer.statistics())
