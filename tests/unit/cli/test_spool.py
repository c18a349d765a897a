from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from standpipe.spool.positions import SNAPSHOT
from tests.unit.cli.conftest import Call
from tests.unit.cli.spools import CONFIGURATION, damage, first_segment, store, unreachable
from tests.unit.spool.spools import newer_positions

Write = Callable[[str], Path]


@pytest.fixture
def state(tmp_path: Path, write: Write) -> Path:
    write(CONFIGURATION)
    return tmp_path / "state"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- list -------------------------------------------------------------------------------------------------------------


def test_list_says_what_waits_and_that_nobody_uses_it(call: Call, state: Path) -> None:
    store(state, 3)
    result = call("spool", "list")
    assert result.code == 0
    header, row = result.out.splitlines()
    assert header.split("  ")[0] == "producer"
    assert row.split()[:2] == ["events", "nobody"]
    assert "3" in row.split()


def test_list_says_which_process_uses_a_spool(call: Call, state: Path) -> None:
    producer = unreachable(state)
    producer.produce(False, {"n": 1})
    try:
        assert f"process {os.getpid()}" in call("spool", "list").out
    finally:
        producer.shutdown(0)


def test_list_for_programs(call: Call, state: Path) -> None:
    store(state, 3)
    found = json.loads(call("spool", "list", "--json").out)
    (spool,) = found["spools"]
    assert {name: spool[name] for name in ("producer", "messages", "bytes", "owner", "configured", "sound")} == {
        "producer": "events",
        "messages": 3,
        "bytes": len('{"n":1}') * 3,
        "owner": None,
        "configured": True,
        "sound": True,
    }
    assert Path(spool["folder"]) == Path("state/spool/events")
    assert spool["oldest"] > 1.7e9


def test_list_finds_spools_of_producers_that_are_not_configured(call: Call, state: Path) -> None:
    store(state, 2, "stranger")
    result = call("spool", "list")
    assert "stranger" in result.out
    assert "no producer of this name with a spool is configured" in result.err


def test_list_finds_spools_by_the_folder_alone(call: Call, tmp_path: Path) -> None:
    store(tmp_path / "elsewhere", 2)
    assert "events" in call("spool", "list", "--state-dir", "elsewhere").out


def test_list_says_that_there_is_none(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert call("spool", "list", "--state-dir", "empty") == (0, "", "there is no spool in empty and none is configured\n")


def test_a_folder_that_does_not_exist_is_a_mistake(call: Call) -> None:
    result = call("spool", "list", "--state-dir", "nowhere")
    assert (result.code, result.err) == (2, "standpipe: --state-dir nowhere: there is no such folder\n")


def test_both_spools_of_a_queue_that_spills_are_listed_and_shown(call: Call, tmp_path: Path, write: Write) -> None:
    write(CONFIGURATION.replace("{type: spool, segment_bytes: 64KiB}", "{max_messages: 2, on_full: spill}"))
    producer = unreachable(tmp_path / "state", type="memory", max_messages=2, on_full="spill")
    ids = [producer.produce(False, {"n": number}).message_id for number in range(5)]
    producer.shutdown(0)
    listed = call("spool", "list").out
    assert "events (left)" in listed
    assert "events (spill)" in listed
    shown = [json.loads(line)["id"] for line in call("spool", "show", "events", "--json").out.splitlines()]
    assert shown == ids
    assert call("spool", "verify").code == 0
    assert call("spool", "drain", "events").code == 0
    assert [json.loads(line)["n"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == list(range(5))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_spool_of_another_user_is_told(call: Call, state: Path) -> None:
    store(state, 1)
    (state / "spool" / "events").chmod(0)
    try:
        result = call("spool", "list")
    finally:
        (state / "spool" / "events").chmod(stat.S_IRWXU)
    assert result.code == 1
    assert "permission denied" in result.err


# --- show -------------------------------------------------------------------------------------------------------------


def test_show_shows_the_oldest_messages_and_changes_nothing(call: Call, state: Path) -> None:
    ids = store(state, 5)
    before = contents(state)
    result = call("spool", "show", "events", "--limit", "2")
    assert result.code == 0
    assert result.out.count("\n  {") == 2
    assert ids[0] in result.out
    assert '{"n":1}' in result.out
    assert "key k1" in result.out
    assert result.err == "2 messages shown, more are waiting; --limit 0 shows all\n"
    assert contents(state) == before


def test_show_for_programs_is_a_line_for_each_message(call: Call, state: Path) -> None:
    producer = unreachable(state)
    producer.produce(True, {"n": 1}, headers={"a": "b"}, message_id="mine")
    producer.produce_many(False, [{"m": 1}, {"m": 2}])
    producer.shutdown(0)
    first, second, third = (json.loads(line) for line in call("spool", "show", "events", "--json", "--limit", "0").out.splitlines())
    assert (first["id"], first["is_error"], first["headers"], first["message"]) == ("mine", True, {"a": "b"}, {"n": 1})
    assert (second["message"], third["message"]) == ({"m": 1}, {"m": 2})
    assert third["number"] == second["number"] + 1 == 2
    assert third["id"] != second["id"]


def test_show_works_while_the_producer_runs_and_does_not_disturb_it(call: Call, state: Path) -> None:
    producer = unreachable(state)
    producer.produce(False, {"n": 1})
    try:
        assert '{"n":1}' in call("spool", "show", "events").out
        producer.produce(False, {"n": 2})
        assert '{"n":2}' in call("spool", "show", "events").out
    finally:
        producer.shutdown(0)


def test_show_says_that_nothing_waits(call: Call, state: Path) -> None:
    assert call("spool", "show", "events") == (0, "", "events: no message waits\n")


def test_show_does_not_let_a_message_steer_the_terminal(call: Call, state: Path) -> None:
    producer = unreachable(state)
    producer.produce(False, {"n": 1}, key="\x1b[2J\n")
    producer.shutdown(0)
    assert "\x1b" not in call("spool", "show", "events").out


@pytest.mark.parametrize("verb", ["show", "verify", "repair"])
def test_an_unknown_producer_is_told_with_the_nearest_name(call: Call, state: Path, verb: str) -> None:
    store(state, 1)
    result = call("spool", verb, "evnts")
    assert (result.code, result.err) == (2, "standpipe: there is no spool of a producer 'evnts'; did you mean 'events'?\n")


def test_a_producer_with_a_queue_in_memory_has_no_spool(call: Call, state: Path) -> None:
    result = call("spool", "show", "plain")
    assert result.code == 2
    assert result.err == "standpipe: plain: its queue is in memory, there is no spool; `queue: {type: spool}` gives it one\n"


def test_spool_without_a_verb_shows_the_help(call: Call) -> None:
    result = call("spool")
    assert result.code == 2
    assert "verify" in result.out


# --- verify -----------------------------------------------------------------------------------------------------------


def test_verify_finds_a_sound_spool_sound(call: Call, state: Path) -> None:
    store(state, 4)
    assert call("spool", "verify") == (0, "events: sound: 1 segment, 4 records, 4 messages waiting\n", "")


def test_verify_of_a_spool_that_was_never_used(call: Call, state: Path) -> None:
    assert call("spool", "verify", "events") == (0, "events: sound: nothing was stored yet\n", "")


def test_verify_tells_damage_with_its_place_and_the_remedy(call: Call, state: Path) -> None:
    store(state, 9)
    damage(state / "spool" / "events", b'{"n":4}')
    before = contents(state)
    result = call("spool", "verify")
    assert result.code == 1
    assert result.out.startswith("events: damaged: 1 segment, 8 records, 8 messages waiting, 1 missing, ")
    assert f"  {first_segment(state / 'spool' / 'events').name} at offset " in result.out
    assert "`standpipe spool repair events`" in result.out
    assert contents(state) == before


def test_verify_for_programs(call: Call, state: Path) -> None:
    store(state, 9)
    damage(state / "spool" / "events", b'{"n":4}')
    result = call("spool", "verify", "--json")
    found = json.loads(result.out)
    assert (result.code, found["sound"]) == (1, False)
    assert [problem["kind"] for problem in found["spools"][0]["problems"]] == ["damaged", "missing"]


@pytest.mark.parametrize("verb", ["verify", "show", "repair"])
def test_a_newer_version_is_refused_untouched(call: Call, state: Path, verb: str) -> None:
    store(state, 1)
    (state / "spool" / "events" / SNAPSHOT).write_bytes(newer_positions())
    before = contents(state / "spool")
    result = call("spool", verb, "events")
    assert result.code == 78
    assert "of version 2" in result.out + result.err
    assert {path: data for path, data in contents(state / "spool").items() if path.name != "lock"} == {
        path: data for path, data in before.items() if path.name != "lock"
    }


# --- repair -----------------------------------------------------------------------------------------------------------


def test_repair_keeps_everything_readable_and_deletes_nothing(call: Call, state: Path) -> None:
    store(state, 9)
    damage(state / "spool" / "events", b'{"n":4}')
    result = call("spool", "repair", "events")
    assert result.code == 0
    assert result.out.splitlines()[-1] == "events: sound again: 8 messages waiting"
    assert result.err == "standpipe: events: 1 message cannot be read any more and will not be delivered\n"
    (aside,) = (state / "spool" / "events").glob("*.corrupt")
    assert b'#"n":4}' in aside.read_bytes()
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert call("spool", "verify").code == 0
    assert call("spool", "repair", "events").out == "events: nothing to repair: 8 messages waiting\n"


def test_repair_for_programs(call: Call, state: Path) -> None:
    store(state, 9)
    damage(state / "spool" / "events", b'{"n":4}')
    (found,) = json.loads(call("spool", "repair", "events", "--json").out)["spools"]
    assert (found["written_off"], found["messages"], found["sound"]) == (1, 8, True)


def test_repair_of_a_spool_in_use_names_the_process(call: Call, state: Path) -> None:
    producer = unreachable(state)
    producer.produce(False, {"n": 1})
    try:
        result = call("spool", "repair", "events")
    finally:
        producer.shutdown(0)
    assert result.code == 78
    assert result.err == f"standpipe: events: the spool is used by process {os.getpid()}; stop it, then repair\n"


def test_repair_of_a_spool_that_was_never_used_makes_none(call: Call, state: Path) -> None:
    assert call("spool", "repair", "events") == (0, "events: nothing to repair: nothing was stored yet\n", "")
    assert not state.exists()


# --- drain ------------------------------------------------------------------------------------------------------------


def test_drain_delivers_the_backlog_and_nothing_else(call: Call, state: Path, tmp_path: Path) -> None:
    store(state, 20)
    result = call("spool", "drain", "events")
    assert result == (0, "events: 20 delivered, the spool is empty\n", "events: 20 messages waiting, delivering them\n")
    assert [json.loads(line)["n"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == list(range(20))
    assert not (tmp_path / "plain.jsonl").exists()
    assert call("spool", "drain", "events").out == "events: 0 delivered, the spool is empty\n"


def test_drain_gives_up_in_time_and_loses_nothing(call: Call, state: Path, write: Write) -> None:
    store(state, 3)
    write(CONFIGURATION.replace("path: out.jsonl", "path: /proc/nowhere/out.jsonl"))
    result = call("spool", "drain", "events", "--timeout", "200ms")
    assert result.code == 1
    assert result.out == "events: 0 delivered, 3 left\n"
    assert "3 messages left, kept in the spool; the last error was " in result.err
    assert "3 messages waiting" in call("spool", "verify", "events").out


def test_drain_for_programs(call: Call, state: Path) -> None:
    store(state, 3)
    found = json.loads(call("spool", "drain", "events", "--json").out)
    assert (found["waiting"], found["delivered"], found["left"], found["dropped"]) == (3, 3, 0, 0)


def test_drain_of_a_spool_in_use_names_the_process(call: Call, state: Path) -> None:
    producer = unreachable(state)
    producer.produce(False, {"n": 1})
    try:
        result = call("spool", "drain", "events")
    finally:
        producer.shutdown(0)
    assert result.code == 78
    assert f"used by process {os.getpid()}" in result.err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("evnts", "standpipe.yaml: there is no producer named 'evnts'; did you mean 'events'?"),
        ("plain", "plain: its queue is in memory, there is nothing to drain"),
    ],
)
def test_drain_of_what_cannot_be_drained(call: Call, state: Path, name: str, message: str) -> None:
    assert call("spool", "drain", name) == (2, "", f"standpipe: {message}\n")
