"""`standpipe dead replay`: what is sent, what becomes of each letter, and what is left when it goes wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from standpipe.cli.dead_edit import CannotBeSent, Change
from standpipe.cli.exit_codes import CommandFailed
from standpipe.core.dead_letter import Reason
from standpipe.producers.dead_letters import dead_letter_file
from standpipe.spool.dead_letters import SqliteDeadLetters
from standpipe.spool.files import RealFileSystem
from tests.unit.cli.conftest import Call
from tests.unit.cli.dead_destinations import arrived
from tests.unit.spool.letters import letter

CONFIGURATION = """
state_dir: state
producers:
  - {type: "tests.unit.cli.dead_destinations:Moody", name: orders%s}
"""


@pytest.fixture
def store(tmp_path: Path, write: Callable[[str], Path]) -> SqliteDeadLetters:
    write(CONFIGURATION % "")
    return SqliteDeadLetters(dead_letter_file(tmp_path / "state", "orders"))


def fill(store: SqliteDeadLetters, *numbers: int, **changes: Any) -> None:
    store.add([letter(number, **changes) for number in numbers])
    store.close()


def test_letters_are_delivered_as_they_were_and_leave(call: Call, store: SqliteDeadLetters, tmp_path: Path) -> None:
    payload = b'{"n": 1.0,  "big": 12345678901234567890}'  # as it came, not as we would write it
    fill(store, 1, payload=payload, key="k", headers={"a": "ö"}, is_error=True)
    fill(store, 2)
    result = call("dead", "replay")
    assert result == (0, "delivered        m1  orders\ndelivered        m2  orders\n", "2 dead letters: 2 delivered\n")
    first, second = arrived(tmp_path)
    assert (first["id"], first["raw"], first["key"], first["headers"], first["is_error"]) == ("m1", payload.decode(), "k", {"a": "ö"}, True)
    assert (second["id"], second["message"], second["is_error"]) == ("m2", {"n": 2}, False)
    now = store.statistics()
    assert (now.letters, now.replayed) == (0, 2)


def test_a_letter_that_fails_again_goes_back_once_with_its_count_raised(call: Call, store: SqliteDeadLetters, tmp_path: Path) -> None:
    fill(store, 1, payload=b'{"bad":true}')
    fill(store, 2)
    result = call("dead", "replay")
    assert result == (
        1,
        "put aside again  m1  orders  (Reject: bad message; replayed 1 time)\ndelivered        m2  orders\n",
        "2 dead letters: 1 delivered, 1 put aside again\n",
    )
    (left,) = store
    assert (left.id, left.replays, left.times, left.status.value, left.response) == ("m1", 1, 2, "waiting", "<h1>400</h1>")
    assert call("dead", "replay", "m1").code == 1
    assert [(left.replays, left.times) for left in store] == [(2, 3)]
    assert [line["id"] for line in arrived(tmp_path)] == ["m2"]


def test_only_what_is_meant_is_sent_oldest_first(call: Call, store: SqliteDeadLetters, tmp_path: Path) -> None:
    fill(store, 1, reason=Reason.EXPIRED)
    fill(store, 2, 3, 4, 5)
    assert call("dead", "replay", "--reason", "rejected", "--limit", "2").err == "2 dead letters: 2 delivered\n"
    assert [line["id"] for line in arrived(tmp_path)] == ["m2", "m3"]
    assert call("dead", "replay", "m5", "m1").code == 0
    assert [found.id for found in store] == ["m4"]


def test_a_thousand_letters_are_sent_each_once(call: Call, store: SqliteDeadLetters, tmp_path: Path) -> None:
    store.add([letter(number, payload=b'{"bad":true}' if number % 100 == 0 else b'{"n":%d}' % number) for number in range(1200)])
    store.close()
    result = call("dead", "replay", "--json")
    found = json.loads(result.out)
    assert (found["delivered"], found["dead_lettered"], found["undelivered"], found["not_tried"]) == (1188, 12, 0, 0)
    ids = [line["id"] for line in arrived(tmp_path)]
    assert len(ids) == len(set(ids)) == 1188
    assert {left.times for left in store} == {2}
    assert len(store) == 12


def test_a_dead_destination_leaves_everything_as_it_was(
    call: Call, store: SqliteDeadLetters, tmp_path: Path, write: Callable[[str], Path]
) -> None:
    (tmp_path / "down").touch()
    fill(store, *range(600))
    result = call("dead", "replay", "--timeout", "200ms")
    assert result.code == 1
    assert result.out.count("not delivered    m") == 500
    assert "(ConnectionRefusedError: nobody listens)" in result.out
    assert "gave up, nothing was settled for 0.2 s; --timeout gives it more time" in result.err
    assert result.err.endswith("600 dead letters: 500 not delivered, 100 not tried\n")
    assert {left.status.value for left in store} == {"waiting"}
    assert len(store) == 600
    (tmp_path / "down").unlink()
    assert call("dead", "replay").code == 0
    assert len(store) == 0


def test_dry_run_says_what_would_be_sent_and_touches_nothing(call: Call, store: SqliteDeadLetters, tmp_path: Path) -> None:
    fill(store, 1)
    fill(store, 2, payload=b"odd")
    before = {path: path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()}
    result = call("dead", "replay", "--dry-run", "--set", "n=5")
    assert result == (
        1,
        "would send       m1  orders\nnot sent         m2  orders  (--set: the payload is no JSON object; mend it with --edit)\n",
        "would replay 1 of 2 dead letters; nothing was sent or changed\n",
    )
    assert {path: path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()} == before
    assert arrived(tmp_path) == []


def test_fields_can_be_set(call: Call, store: SqliteDeadLetters, tmp_path: Path) -> None:
    fill(store, 1, payload=b'{"bad":true,"user":{"name":"x"},"tags":["a","b"]}')
    changes = ["bad=false", "user.name=Ann", "user.id=7", "new.inner=null", "tags.1=z", 'list=["a=b"]']
    assert call("dead", "replay", *(part for change in changes for part in ("--set", change))).code == 0
    (line,) = arrived(tmp_path)
    assert line["message"] == {
        "bad": False,
        "user": {"name": "Ann", "id": 7},
        "tags": ["a", "z"],
        "new": {"inner": None},
        "list": ["a=b"],
    }


def test_an_edited_letter_that_fails_again_keeps_both_texts(call: Call, store: SqliteDeadLetters) -> None:
    fill(store, 1, payload=b'{"bad":true}')
    assert call("dead", "replay", "--set", "bad=2").code == 1
    (left,) = store
    assert (left.payload, left.original) == (b'{"bad":2}', b'{"bad":true}')


def test_a_letter_that_cannot_be_changed_so_is_not_sent(call: Call, store: SqliteDeadLetters, tmp_path: Path) -> None:
    fill(store, 1)
    fill(store, 2, payload=b'{"n":{}}')
    result = call("dead", "replay", "--set", "n.x=1")
    assert result.code == 1
    assert "not sent         m1  orders  (--set n.x: n has no field 'x' and cannot have one)\n" in result.out
    assert [left.id for left in store] == ["m1"]
    assert store.find()[0].replays == 0


def test_a_payload_that_is_no_json_object_is_not_sent_until_it_is_mended(
    call: Call, store: SqliteDeadLetters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 1, payload=b"\xff\x00 torn", reason=Reason.CORRUPT)
    result = call("dead", "replay")
    assert result.code == 1
    assert result.out == "not sent         m1  orders  (the payload is no JSON object; mend it with --edit)\n"
    assert [(left.payload, left.replays) for left in store] == [(b"\xff\x00 torn", 0)]
    monkeypatch.setenv("EDITOR", _editor(tmp_path, 'echo \'{"mended": true}\' > "$1"'))
    assert call("dead", "replay", "--edit").code == 0
    assert [line["message"] for line in arrived(tmp_path)] == [{"mended": True}]


def test_a_damaged_message_goes_only_when_somebody_has_mended_it_or_says_so(call: Call, store: SqliteDeadLetters, tmp_path: Path) -> None:
    fill(store, 1, payload=b'{"amount":12}', reason=Reason.CORRUPT)
    refused = "m1  orders  (its checksum was wrong: look at it, then mend it with --set or --edit, or send it as it is with --force)\n"
    assert call("dead", "replay") == (1, "not sent         " + refused, "1 dead letter: 1 not sent\n")
    assert call("dead", "replay", "--dry-run").out == "not sent         " + refused
    assert call("dead", "replay", "--set", "amount=72").code == 0
    fill(store, 1, payload=b'{"amount":12}', reason=Reason.CORRUPT)
    assert call("dead", "replay", "--force").code == 0
    assert [line["message"] for line in arrived(tmp_path)] == [{"amount": 72}, {"amount": 12}]


def test_each_message_can_be_edited(call: Call, store: SqliteDeadLetters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", _editor(tmp_path, 'stat -c %a "$1" > mode; sed -i s/true/false/ "$1"'))
    fill(store, 1, payload=b'{"bad":true}')
    fill(store, 2)
    result = call("dead", "replay", "--edit")
    assert result.code == 0
    assert "editing m1 (rejected: Reject: no such topic)\n" in result.err
    assert [line["raw"] for line in arrived(tmp_path)] == ['{"bad":false}', '{"n":2}']
    assert (tmp_path / "mode").read_text() == "600\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "not sent: the editor ended with status 3"),
        ('> "$1"', "not sent: the edited text is empty"),
        ('echo "[1" > "$1"', "the edited text is no JSON object; it is kept in "),
    ],
)
def test_an_edit_that_goes_wrong_leaves_the_letter(
    call: Call, store: SqliteDeadLetters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("VISUAL", _editor(tmp_path, script))
    fill(store, 1)
    result = call("dead", "replay", "--edit")
    assert result.code == 1
    assert message in result.out
    assert len(list(tmp_path.glob("standpipe-orders-*.json"))) == ("kept in" in message)
    assert [left.replays for left in store] == [0]


def test_without_an_editor_it_says_so(call: Call, store: SqliteDeadLetters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "no-such-editor")
    monkeypatch.delenv("VISUAL", raising=False)
    result = call("dead", "replay", "--edit")
    assert result == (2, "", "standpipe: --edit: there is no editor 'no-such-editor'; name yours in the environment variable EDITOR\n")


def test_the_rate_is_kept(call: Call, store: SqliteDeadLetters, tmp_path: Path) -> None:
    fill(store, *range(6))
    assert call("dead", "replay", "--rate", "20", "--timeout", "10ms").code == 0
    times = [line["at"] for line in arrived(tmp_path)]
    assert times[-1] - times[0] >= 0.2


def test_a_producer_that_is_no_longer_configured_keeps_its_letters(call: Call, store: SqliteDeadLetters, tmp_path: Path) -> None:
    other = SqliteDeadLetters(dead_letter_file(tmp_path / "state", "gone"))
    fill(other, 1)
    fill(store, 2)
    result = call("dead", "replay")
    assert result.code == 1
    assert "standpipe: standpipe.yaml: there is no producer named 'gone' any more; its dead letters stay\n" in result.err
    assert result.err.endswith("2 dead letters: 1 delivered, 1 not tried\n")
    assert (len(other), len(store)) == (1, 0)


def test_a_spool_is_left_alone_also_while_another_process_owns_it(
    call: Call, store: SqliteDeadLetters, tmp_path: Path, write: Callable[[str], Path]
) -> None:
    write(CONFIGURATION % ", queue: {type: spool}")
    spool = RealFileSystem(tmp_path / "state" / "spool" / "orders")
    spool.prepare()
    assert spool.lock("lock") is None
    fill(store, 1)
    result = call("dead", "replay")
    spool.unlock()
    assert result.code == 0
    assert "orders: sending from a queue in memory, its spool is left alone; what is not delivered stays a dead letter\n" in result.err
    assert [line["id"] for line in arrived(tmp_path)] == ["m1"]
    assert spool.names() == ["lock"]


def test_letters_in_memory_are_not_where_failures_of_a_replay_go(
    call: Call, store: SqliteDeadLetters, write: Callable[[str], Path]
) -> None:
    write(CONFIGURATION % ", dead_letters: {type: memory}, deadline: 1h, queue: {max_messages: 1, on_full: drop_newest}")
    fill(store, 1, 2, payload=b'{"bad":true}')
    assert call("dead", "replay").code == 1
    assert [(left.id, left.times, left.replays) for left in store] == [("m1", 2, 1), ("m2", 2, 1)]


def test_two_replays_at_once_do_not_send_twice(call: Call, store: SqliteDeadLetters, tmp_path: Path) -> None:
    fill(store, 1)
    files = RealFileSystem(store.path.parent)
    files.lock("orders.replay.lock")
    result = call("dead", "replay")
    files.unlock()
    assert result.code == 1
    assert "orders: another replay of its dead letters is under way (process " in result.err
    assert arrived(tmp_path) == []
    assert call("dead", "replay").code == 0


def test_nothing_to_replay_is_no_failure(call: Call, store: SqliteDeadLetters) -> None:
    assert call("dead", "replay") == (0, "", "0 dead letters\n")
    assert json.loads(call("dead", "replay", "--json").out)["results"] == []


def test_an_interruption_leaves_what_was_not_delivered(
    call: Call, store: SqliteDeadLetters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "down").touch()
    fill(store, 1, 2)
    begun = time.monotonic()

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("standpipe.cli.dead_replay.Replay._all_settled", interrupted)
    assert call("dead", "replay").code == 130
    assert time.monotonic() - begun < 5
    assert [(left.id, left.status.value) for left in store] == [("m1", "waiting"), ("m2", "waiting")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "n"], "--set 'n' has no field and value; write --set field=value or --set field.inner=value"),
        (["--set", "a..b=1"], "--set 'a..b=1' has no field and value"),
        (["--rate", "0"], "--rate 0: write a number of messages a second, more than 0"),
        (["--rate", "nan"], "--rate nan: write a number"),
        (["--timeout", "soon"], "--timeout: 'soon' is not a duration"),
    ],
)
def test_mistakes_are_explained_and_send_nothing(
    call: Call, store: SqliteDeadLetters, tmp_path: Path, arguments: list[str], message: str
) -> None:
    fill(store, 1)
    result = call("dead", "replay", *arguments)
    assert result.code == 2
    assert message in result.err
    assert arrived(tmp_path) == []


def test_replay_needs_a_configuration(call: Call) -> None:
    assert call("dead", "replay", "--state-dir", "state").code == 78


def test_a_change_without_a_place_is_refused() -> None:
    with pytest.raises(CommandFailed):
        Change.parse("=1")
    with pytest.raises(CannotBeSent, match="n has no field '5' and cannot have one"):
        Change.parse("n.5=1").apply({"n": [1]})


def _editor(folder: Path, script: str) -> str:
    path = folder / "editor.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)
