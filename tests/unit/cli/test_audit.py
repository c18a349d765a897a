from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from standpipe.agents.checkpoint import CheckpointFile
from standpipe.core.dead_letter import DeadLetter
from standpipe.producers.dead_letters import dead_letter_file
from standpipe.spool.dead_letters import SqliteDeadLetters
from standpipe.spool.positions import SNAPSHOT
from tests.unit.cli.conftest import Call
from tests.unit.cli.spools import CONFIGURATION, damage, first_segment, store, unreachable
from tests.unit.spool.letters import letter
from tests.unit.spool.spools import newer_positions

Write = Callable[[str], Path]

PIPELINE = """\
agents:
  - {type: tail, name: log, paths: [in.log], follow: false}
pipelines:
  - {name: lines, from: log, routes: [{to: events}]}
"""


@pytest.fixture
def state(tmp_path: Path, write: Write) -> Path:
    write(CONFIGURATION)
    return tmp_path / "state"


@pytest.fixture
def after_a_run(tmp_path: Path, write: Write, call: Call) -> Path:
    """The state folder of a run that has read a file of 100 lines and delivered them."""
    write(CONFIGURATION + PIPELINE)
    (tmp_path / "in.log").write_text("".join(f"line {number}\n" for number in range(100)))
    assert call("run", "-q").code == 0
    return tmp_path / "state"


def put_aside(state: Path, *letters: DeadLetter, producer: str = "events") -> None:
    with SqliteDeadLetters(dead_letter_file(state, producer)) as dead:
        for each in letters:
            dead.add([each])


def findings(call: Call) -> list[tuple[str, str]]:
    result = call("audit", "--json")
    found = json.loads(result.out)
    assert result.code == (0 if found["clean"] else 1)
    assert found["clean"] == (not found["findings"])
    return [(finding["kind"], finding["where"]) for finding in found["findings"]]


def test_after_a_run_it_adds_up(call: Call, after_a_run: Path) -> None:
    result = call("audit")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1] == "It adds up: every message is accounted for."
    assert ["events", "100", "100", "0", "0", "0", "0"] in [line.split() for line in result.out.splitlines()]
    assert any(line.split()[:2] == ["lines", "log"] and line.endswith(" 0") for line in result.out.splitlines())


def test_what_waits_and_what_is_dead_is_part_of_the_ledger(call: Call, state: Path) -> None:
    store(state, 7)
    put_aside(state, letter(1), letter(2))
    found = json.loads(call("audit", "--json").out)
    row = next(row for row in found["producers"] if row["producer"] == "events")
    assert (row["given_out"], row["settled"], row["waiting"], row["missing"]) == (7, 0, 7, 0)
    assert (row["dead_letters"], row["dead_letter_reasons"]) == (2, {"rejected": 2})
    assert found["clean"]
    assert found["running"] == []


def test_the_audit_changes_nothing(call: Call, after_a_run: Path) -> None:
    store(after_a_run, 3)
    put_aside(after_a_run, letter(1))
    damage(after_a_run / "spool" / "events", b'{"n":1}')
    before = {path: path.read_bytes() for path in after_a_run.rglob("*") if path.is_file()}
    call("audit")
    assert {path: path.read_bytes() for path in after_a_run.rglob("*") if path.is_file()} == before


def test_a_running_producer_is_told_and_not_disturbed(call: Call, state: Path) -> None:
    producer = unreachable(state)
    producer.produce(False, {"n": 1})
    try:
        result = call("audit")
        assert result.code == 0
        assert f"A daemon is at work (process {os.getpid()})" in result.out
        producer.produce(False, {"n": 2})
    finally:
        report = producer.shutdown(0)
    assert report.spooled == 2


def test_a_gap_in_the_numbers_is_a_difference(call: Call, state: Path) -> None:
    for _ in range(3):
        store(state, 5)
    first_segment(state / "spool" / "events").unlink()
    result = call("audit")
    assert result.code == 1
    assert "It does NOT add up: 1 difference." in result.out
    assert "5 messages (numbers 0 to 4) are neither stored nor settled" in result.err


def test_damage_is_a_difference(call: Call, state: Path) -> None:
    store(state, 5)
    damage(state / "spool" / "events", b'{"n":2}')
    assert findings(call) == [("damaged", "events"), ("missing", "events")]


def test_a_spool_of_an_unknown_producer_is_a_difference(call: Call, state: Path) -> None:
    store(state, 5, "stranger")
    result = call("audit")
    assert result.code == 1
    assert "Every message is accounted for, but 1 difference should be looked at." in result.out
    assert "no producer that is configured uses this spool" in result.err
    assert "5 message(s) wait in it" in result.err


def test_without_a_configuration_no_producer_is_unknown(call: Call, state: Path) -> None:
    store(state, 5, "stranger")
    assert call("audit", "--state-dir", "state").code == 0


def test_what_was_set_aside_and_what_a_crash_left_are_differences(call: Call, state: Path) -> None:
    store(state, 5)
    folder = state / "spool" / "events"
    (folder / "0000000000000000.seg.00000080.corrupt").write_bytes(b"damaged")
    (folder / "positions.tmp").write_bytes(b"half")
    assert findings(call) == [("set_aside", "events"), ("leftover", "events")]


def test_a_spool_of_a_newer_version_is_a_difference(call: Call, state: Path) -> None:
    store(state, 5)
    (state / "spool" / "events" / SNAPSHOT).write_bytes(newer_positions())
    assert findings(call) == [("too_new", "events")]


def test_a_message_that_is_dead_and_waits_is_noted(call: Call, state: Path) -> None:
    ids = store(state, 5)
    put_aside(state, letter(0, id=ids[3]))
    result = call("audit")
    assert result.code == 0
    assert "note: events: 1 message(s) are dead letters and wait as well" in result.err


# --- dead letters -----------------------------------------------------------------------------------------------------


def test_damaged_dead_letters_are_a_difference(call: Call, state: Path) -> None:
    put_aside(state, *(letter(number, payload=b'{"n":"%s"}' % (b"x" * 900)) for number in range(50)))
    path = dead_letter_file(state, "events")
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 4)
    assert [kind for kind, _ in findings(call)] == ["dead_letters"]


def test_a_database_that_is_none_is_a_difference(call: Call, state: Path) -> None:
    path = dead_letter_file(state, "events")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database, and long enough to be looked at" * 40)
    assert findings(call) == [("dead_letters", "dead/events.sqlite")]


def test_dead_letters_of_a_running_producer_are_counted(call: Call, state: Path) -> None:
    with SqliteDeadLetters(dead_letter_file(state, "events")) as dead:
        dead.add([letter(1)])
        found = json.loads(call("audit", "--json").out)
        dead.add([letter(2)])
        assert json.loads(call("audit", "--json").out)["producers"][0]["dead_letters"] == 2
    assert found["producers"][0]["dead_letters"] == 1


def test_letters_that_are_not_counted_are_a_difference(call: Call, state: Path) -> None:
    put_aside(state, letter(1), letter(2))
    db = sqlite3.connect(dead_letter_file(state, "events"))
    db.execute("UPDATE totals SET letters = 7")
    db.commit()
    db.close()
    result = call("audit")
    assert result.code == 1
    assert "it holds 2 letters and counts 7" in result.err


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_what_was_appended_since_is_lag(call: Call, after_a_run: Path, tmp_path: Path) -> None:
    with (tmp_path / "in.log").open("a") as file:
        file.write("more\n")
    (checkpoint,) = json.loads(call("audit", "--json").out)["checkpoints"]
    assert (checkpoint["pipeline"], checkpoint["agent"], checkpoint["state"], checkpoint["lag"]) == ("lines", "log", "there", 5)


def test_a_checkpoint_beyond_the_end_of_its_file_is_a_difference(call: Call, after_a_run: Path, tmp_path: Path) -> None:
    os.truncate(tmp_path / "in.log", 10)
    assert findings(call) == [("beyond_end", "checkpoints/lines/log.json")]


def test_what_was_noted_since_the_checkpoint_was_written_counts(call: Call, after_a_run: Path, tmp_path: Path) -> None:
    checkpoint = CheckpointFile(after_a_run / "checkpoints" / "lines", "log")
    state = checkpoint.open()
    assert state is not None
    with (tmp_path / "in.log").open("a") as file:
        file.write("more\n")
    checkpoint.write(state)
    checkpoint.note(state["files"][0] | {"offset": state["files"][0]["offset"] + 5})
    checkpoint.close()
    assert json.loads(call("audit", "--json").out)["checkpoints"][0]["lag"] == 0


def test_a_renamed_file_is_found(call: Call, after_a_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.log").rename(tmp_path / "in.log.1")
    (checkpoint,) = json.loads(call("audit", "--json").out)["checkpoints"]
    assert (checkpoint["state"], checkpoint["lag"]) == ("renamed", 0)


def test_a_file_that_is_gone_is_no_difference(call: Call, after_a_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.log").unlink()
    (checkpoint,) = json.loads(call("audit", "--json").out)["checkpoints"]
    assert (checkpoint["state"], checkpoint["size"]) == ("gone", None)
    assert findings(call) == []


def test_a_file_with_other_content_is_not_taken_for_the_same(call: Call, after_a_run: Path, tmp_path: Path) -> None:
    with (tmp_path / "in.log").open("r+b") as file:
        file.write(b"LINE")
    assert json.loads(call("audit", "--json").out)["checkpoints"][0]["state"] == "replaced"


def test_a_damaged_checkpoint_is_a_difference(call: Call, after_a_run: Path) -> None:
    path = after_a_run / "checkpoints" / "lines" / "log.json"
    path.write_text(path.read_text().replace("log", "lag", 1))
    assert findings(call) == [("damaged", "checkpoints/lines/log.json")]
    assert path.exists()


def test_a_checkpoint_of_a_newer_version_is_a_difference(call: Call, after_a_run: Path) -> None:
    path = after_a_run / "checkpoints" / "lines" / "log.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2', 1))
    assert findings(call) == [("unreadable", "checkpoints/lines/log.json")]


def test_leftover_and_damaged_checkpoint_files_are_differences(call: Call, after_a_run: Path) -> None:
    folder = after_a_run / "checkpoints" / "lines"
    shutil.copy(folder / "log.json", folder / "log.json.corrupt.1")
    (folder / "log.json.tmp").write_text("half")
    assert findings(call) == [("set_aside", "checkpoints/lines/log.json.corrupt.1"), ("leftover", "checkpoints/lines/log.json.tmp")]


def test_a_checkpoint_that_nobody_continues_is_noted(call: Call, after_a_run: Path, write: Write) -> None:
    write(CONFIGURATION)
    result = call("audit")
    assert result.code == 0
    assert "note: checkpoints/lines/log.json: no agent of this name is configured" in result.err


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_an_empty_folder_is_said_to_be_empty(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = call("audit", "--state-dir", "empty")
    assert (result.code, result.out.splitlines()[-1]) == (0, "There is nothing here: no spool, no dead letters, no checkpoint.")


def test_a_folder_that_does_not_exist_is_a_mistake(call: Call) -> None:
    assert call("audit", "--state-dir", "nowhere") == (2, "", "standpipe: --state-dir nowhere: there is no such folder\n")


def test_a_broken_configuration_is_told(call: Call, write: Write) -> None:
    write("producers: 7")
    assert call("audit").code == 78
