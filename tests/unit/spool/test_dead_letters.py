"""Dead letters on disk: what is kept, how it is asked for, what the bounds do, and what several users do to each other."""

from __future__ import annotations

import dataclasses
import logging
import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standpipe.core.dead_letter import DeadLetter, Reason
from standpipe.spool.dead_letter_table import ROW_BYTES, LetterFilter, Status, StoredLetter
from standpipe.spool.dead_letters import SqliteDeadLetters
from standpipe.testing import ManualClock
from tests.unit.spool.letters import LETTER, NOW, integrity, letter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "dead" / "orders.sqlite"


@pytest.fixture
def store(path: Path) -> SqliteDeadLetters:
    return SqliteDeadLetters(path)


def ids(store: SqliteDeadLetters, wanted: LetterFilter | None = None) -> list[str]:
    return [found.id for found in store.find(wanted or LetterFilter())]


def plain(stored: StoredLetter) -> DeadLetter:
    return DeadLetter(**{field.name: getattr(stored, field.name) for field in dataclasses.fields(DeadLetter)})


# --- keeping -----------------------------------------------------------------------------------------------------------


def test_every_field_of_a_letter_comes_back_as_it_was(store: SqliteDeadLetters) -> None:
    full = letter(1, is_error=True, key="käy", headers={"a": "ö", "b": ""}, response="<html>", traceback="T", reason=Reason.EXHAUSTED)
    store.add([full, letter(2, error=None, traceback=None, first_attempt_at=None)])
    first, second = store
    assert plain(first) == full
    assert plain(second) == letter(2, error=None, traceback=None, first_attempt_at=None)
    assert (first.times, first.replays, first.status, first.original) == (1, 0, Status.WAITING, None)
    assert first.content() == {"n": 1}


@given(st.binary(max_size=300), st.text(max_size=30), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_any_payload_key_and_headers_come_back(
    tmp_path_factory: pytest.TempPathFactory, payload: bytes, key: str, headers: dict[str, str]
) -> None:
    with SqliteDeadLetters(tmp_path_factory.mktemp("dead") / "x.sqlite") as store:
        store.add([letter(1, payload=payload, key=key, headers=headers)])
        (found,) = store
        assert (found.payload, found.key, found.headers) == (payload, key, headers)


def test_texts_that_are_no_unicode_do_not_keep_a_letter_from_being_stored(store: SqliteDeadLetters) -> None:
    store.add([letter(1, key="\ud800", error="no file \udcff", headers={"a": "\ud800"})])
    (found,) = store
    assert (found.key, found.error, found.headers) == ("\\ud800", "no file \\udcff", {"a": "\\ud800"})


def test_the_size_of_a_letter_is_that_of_its_bytes(store: SqliteDeadLetters) -> None:
    store.add([letter(1), letter(2, key="k\u00fc", headers={"a": "\u00fc"})])
    plain, more = store
    assert more.size - plain.size == len(b"k\xc3\xbc") + len(b'{"a": "\xc3\xbc"}')


def test_what_a_statement_may_have_to_undo_is_kept_in_memory(store: SqliteDeadLetters) -> None:
    """In a file 100,000 letters at the end of a process take twice as long."""
    with store._file.writing() as db:
        assert db.execute("PRAGMA temp_store").fetchone()[0] == 2


def test_a_payload_of_many_megabytes_is_kept(store: SqliteDeadLetters) -> None:
    payload = os.urandom(20 * 2**20)
    store.add([letter(1, payload=payload)])
    found = store.get("m1")
    assert found is not None
    assert found.payload == payload


def test_no_file_is_made_before_the_first_letter_nor_by_looking(path: Path, store: SqliteDeadLetters) -> None:
    assert (list(store), store.get("m1"), store.take_for_replay([])) == ([], None, [])
    assert {len(store), store.count(), store.newest(), store.sweep(), store.dropped, store.purge(LetterFilter())} == {0}
    store.close()
    assert not path.parent.parent.exists()


def test_files_and_folder_are_their_owners_alone(path: Path, store: SqliteDeadLetters) -> None:
    before = os.umask(0)
    try:
        store.add([letter(1)])
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"orders.sqlite": 0o600, "orders.sqlite-wal": 0o600, "orders.sqlite-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_letter_is_committed_and_synced_when_add_returns(path: Path, store: SqliteDeadLetters) -> None:
    store.add([letter(1)])
    db = store._file._db
    assert db is not None
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert not db.in_transaction
    other = sqlite3.connect(path)
    assert other.execute("SELECT id FROM letters").fetchall() == [("m1",)]
    other.close()


def test_a_call_that_fails_keeps_none_of_its_letters(store: SqliteDeadLetters) -> None:
    broken = letter(2, attempts="many" * 10**3, accepted_at=object())
    with pytest.raises(Exception, match="type 'object' is not supported"):
        store.add([letter(1), broken])
    assert len(store) == 0
    store.add([letter(3)])
    assert ids(store) == ["m3"]


# --- the same message again ------------------------------------------------------------------------------------------------


def test_the_same_message_again_raises_the_counts_of_its_letter(store: SqliteDeadLetters) -> None:
    store.add([letter(1), letter(2)])
    again = letter(1, reason=Reason.EXPIRED, error="late", attempts=2, accepted_at=NOW, first_attempt_at=NOW + 1, last_attempt_at=NOW + 9)
    store.add([again])
    assert ids(store) == ["m1", "m2"]
    (found, _) = store
    assert (found.times, found.attempts, found.reason, found.error) == (2, 5, Reason.EXPIRED, "late")
    assert (found.accepted_at, found.first_attempt_at, found.last_attempt_at) == (NOW - 10, NOW - 5, NOW + 9)
    assert store.statistics().added == 2


def test_the_same_id_of_another_producer_is_another_message(store: SqliteDeadLetters) -> None:
    store.add([letter(1), letter(1, producer="audit")])
    assert len(store) == 2


def test_the_same_message_twice_in_one_call_is_one_letter(store: SqliteDeadLetters) -> None:
    store.add([letter(1), letter(1)])
    (found,) = store
    assert found.times == 2


def test_an_edited_message_that_fails_again_keeps_what_it_was_first(store: SqliteDeadLetters) -> None:
    store.add([letter(1, payload=b'{"n":1}')])
    store.add([letter(1, payload=b'{"n":22}')])
    store.add([letter(1, payload=b'{"n":333}')])
    (found,) = store
    assert (found.payload, found.original) == (b'{"n":333}', b'{"n":1}')
    texts = sum(len(text or "") for text in (LETTER.id, LETTER.producer, LETTER.destination, LETTER.error, LETTER.traceback))
    assert found.size == store.statistics().bytes == ROW_BYTES + texts + len(b'{"n":333}') + len(b'{"n":1}')


# --- asking ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (LetterFilter(), [1, 2, 3, 4]),
        (LetterFilter(producer="orders"), [1, 2, 3]),
        (LetterFilter(reasons=(Reason.EXPIRED, Reason.CORRUPT)), [2, 3]),
        (LetterFilter(since=NOW + 2), [2, 3, 4]),
        (LetterFilter(until=NOW + 2), [1]),
        (LetterFilter(since=NOW + 2, until=NOW + 4), [2, 3]),
        (LetterFilter(text="ÄPFEL"), [1]),
        (LetterFilter(text='say "hi"'), [2]),
        (LetterFilter(text="timed OUT"), [3]),
        (LetterFilter(text="customer-9"), [4]),
        (LetterFilter(text="%"), []),
        (LetterFilter(ids=("m1", "m4")), [1, 4]),
        (LetterFilter(ids=("m",)), []),
        (LetterFilter(id_start="m"), [1, 2, 3, 4]),
        (LetterFilter(id_start="M"), []),
        (LetterFilter(id_start="m", text="äpfel", reasons=(Reason.REJECTED,)), [1]),
        (LetterFilter(ids=("'; DROP TABLE letters; --",)), []),
    ],
)
def test_letters_are_found_by(store: SqliteDeadLetters, wanted: LetterFilter, expected: list[int]) -> None:
    store.add(
        [
            letter(1, payload='{"fruit":"Äpfel"}'.encode(), last_attempt_at=NOW + 1),
            letter(2, payload=b'{"x":"say \\"hi\\""}', reason=Reason.EXPIRED, last_attempt_at=NOW + 2),
            letter(3, payload=b"\xff\x00 odd", reason=Reason.CORRUPT, error="it timed out", last_attempt_at=NOW + 3),
            letter(4, producer="audit", key="customer-9", last_attempt_at=NOW + 4),
        ]
    )
    assert ids(store, wanted) == [f"m{number}" for number in expected]
    assert store.count(wanted) == len(expected)


def test_many_letters_come_in_order_each_once_and_as_many_as_asked_for(store: SqliteDeadLetters) -> None:
    store.add([letter(number) for number in range(350)])
    assert ids(store) == [f"m{number}" for number in range(350)]
    assert [found.id for found in store.find(limit=120)] == [f"m{number}" for number in range(120)]
    assert [found.id for found in store.find(limit=230, newest_first=True)] == [f"m{349 - number}" for number in range(230)]
    assert store.find(limit=0) == []


def test_letters_that_come_while_somebody_reads_are_not_among_those_read(store: SqliteDeadLetters) -> None:
    store.add([letter(number) for number in range(150)])
    seen = []
    for found in store.select():
        seen.append(found.id)
        store.add([letter(1000 + len(seen)), letter(3)])  # a new one, and one that comes again
    assert seen == [f"m{number}" for number in range(150)]


# --- bounds -------------------------------------------------------------------------------------------------------------


def test_too_many_letters_drop_the_oldest_and_are_counted(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SqliteDeadLetters(path, max_letters=3)
    store.add([letter(1), letter(2)])
    with caplog.at_level(logging.WARNING, "standpipe.spool"):
        store.add([letter(3), letter(4), letter(5)])
    assert ids(store) == ["m3", "m4", "m5"]
    assert "2 dead letter(s) dropped" in caplog.text
    now = SqliteDeadLetters(path).statistics()
    assert (now.letters, now.letters_max, now.added, now.dropped) == (3, 3, 5, 2)


def test_too_many_bytes_drop_the_oldest(path: Path) -> None:
    size = 10_000
    store = SqliteDeadLetters(path, max_bytes=3 * (size + 500))
    for number in range(5):
        store.add([letter(number, payload=b"x" * size)])
    assert ids(store) == ["m2", "m3", "m4"]
    assert store.dropped == 2
    assert store.statistics().bytes <= store.max_bytes


def test_drop_newest_keeps_those_that_are_there_and_lets_them_come_again(path: Path) -> None:
    store = SqliteDeadLetters(path, max_letters=2, on_full="drop_newest")
    store.add([letter(1), letter(2), letter(3)])
    store.add([letter(1), letter(4)])
    assert [(found.id, found.times) for found in store] == [("m1", 2), ("m2", 1)]
    now = store.statistics()
    assert (now.added, now.dropped, now.letters) == (4, 2, 2)


def test_drop_newest_minds_the_bytes(path: Path) -> None:
    store = SqliteDeadLetters(path, max_bytes=2000, on_full="drop_newest")
    store.add([letter(1, payload=b"x" * 1000), letter(2, payload=b"x" * 1000), letter(3, payload=b"x")])
    assert ids(store) == ["m1", "m3"]


def test_a_letter_larger_than_the_bound_does_not_push_the_others_out(path: Path) -> None:
    store = SqliteDeadLetters(path, max_bytes=5000)
    store.add([letter(1), letter(2, payload=b"x" * 5000), letter(3)])
    assert ids(store) == ["m1", "m3"]
    assert store.dropped == 1


def test_letters_that_are_too_old_go(path: Path) -> None:
    clock = ManualClock()
    now = clock.time()
    store = SqliteDeadLetters(path, max_age=100, clock=clock)
    store.add([letter(1, last_attempt_at=now - 99), letter(2, last_attempt_at=now)])
    clock.advance(50)
    assert store.sweep() == 1
    clock.advance(60)
    store.add([letter(3, last_attempt_at=now + 110)])
    assert ids(store) == ["m3"]
    assert store.dropped == 2


def test_what_became_of_every_letter_adds_up(path: Path) -> None:
    store = SqliteDeadLetters(path, max_letters=6)
    store.add([letter(number) for number in range(10)])
    store.purge(LetterFilter(ids=("m4",)))
    store.replayed(store.take_for_replay(store.find(limit=2)))
    now = store.statistics()
    assert (now.added, now.letters, now.dropped, now.replayed, now.purged) == (10, 3, 4, 2, 1)
    assert now.added == now.letters + now.dropped + now.replayed + now.purged


def test_rows_deleted_by_hand_are_not_counted_as_there(path: Path, store: SqliteDeadLetters) -> None:
    store.add([letter(1), letter(2)])
    db = sqlite3.connect(path)
    db.execute("DELETE FROM letters WHERE id = 'm1'")
    db.commit()
    db.close()
    now = store.statistics()
    assert (len(store), now.letters, now.bytes) == (1, 1, store.find()[0].size)


# --- purge and replay ---------------------------------------------------------------------------------------------------


def test_purge_deletes_what_is_meant_and_gives_the_room_back(path: Path, store: SqliteDeadLetters) -> None:
    store.add([letter(number, payload=b"x" * 10_000, reason=Reason.EXPIRED if number % 2 else Reason.REJECTED) for number in range(100)])
    store.close()
    before = path.stat().st_size
    assert store.purge(LetterFilter(reasons=(Reason.EXPIRED,)), limit=10) == 10
    assert store.purge(LetterFilter(reasons=(Reason.EXPIRED,))) == 40
    assert {found.reason for found in store} == {Reason.REJECTED}
    assert path.stat().st_size < before * 0.7
    assert integrity(path) == "ok"


def test_a_letter_leaves_only_when_it_was_delivered(store: SqliteDeadLetters) -> None:
    store.add([letter(1), letter(2)])
    taken = store.take_for_replay(store.find())
    assert [(found.id, found.status, found.replays) for found in store] == [("m1", Status.REPLAYING, 1), ("m2", Status.REPLAYING, 1)]
    assert store.replayed(taken[:1]) == 1
    assert store.give_back(taken[1:]) == 1
    assert [(found.id, found.status, found.replays) for found in store] == [("m2", Status.WAITING, 1)]


def test_a_letter_that_came_again_during_its_replay_is_not_deleted_with_it(store: SqliteDeadLetters) -> None:
    store.add([letter(1)])
    taken = store.take_for_replay(store.find())
    store.add([letter(1)])
    assert store.replayed(taken) == 0
    (found,) = store
    assert (found.times, found.replays, found.status) == (2, 1, Status.WAITING)


def test_a_letter_that_is_gone_is_not_taken(store: SqliteDeadLetters) -> None:
    store.add([letter(1), letter(2)])
    seen = store.find()
    store.purge(LetterFilter(ids=("m1",)))
    assert [found.id for found in store.take_for_replay(seen)] == ["m2"]


# --- several users -------------------------------------------------------------------------------------------------------


def test_threads_and_connections_add_and_purge_at_the_same_time(path: Path) -> None:
    stores = [SqliteDeadLetters(path) for _ in range(3)]

    def work(number: int) -> None:
        for n in range(20):
            stores[number % 3].add([letter(number * 1000 + n)])
            stores[(number + 1) % 3].purge(LetterFilter(ids=(f"m{number * 1000 + n - 10}",)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = stores[0].statistics()
    assert now.added == 120
    assert now.letters + now.purged == 120
    assert integrity(path) == "ok"
    for store in stores:
        store.close()


def test_a_store_that_was_closed_can_be_read_and_added_to(store: SqliteDeadLetters) -> None:
    store.add([letter(1)])
    store.close()
    store.close()
    assert ids(store) == ["m1"]
    store.add([letter(2)])
    assert store._file._db is None
    assert ids(store) == ["m1", "m2"]


def test_a_file_deleted_under_an_open_store_is_made_anew(path: Path, store: SqliteDeadLetters) -> None:
    store.add([letter(1)])
    for file in path.parent.iterdir():
        file.unlink()
    store.add([letter(2)])
    assert ids(SqliteDeadLetters(path)) == ["m2"]
