"""Runs that end by themselves, in this process; signals are in tests/integration/cli."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Call

Write = Callable[[str], Path]


def configuration(producer: str, *, steps: str = "[]", routes: str = "[{to: out}]", count: int = 1000) -> str:
    return f"""\
state_dir: state
agents:
  - {{type: generator, name: visits, rate: 0, count: {count}, error_ratio: 0.1, seed: 7}}
producers:
  - {producer}
pipelines:
  - {{name: access, from: visits, steps: {steps}, routes: {routes}}}
"""


NULL = '{type: "null", name: out}'
PICKY = '{type: "tests.unit.cli.destinations:Picky", name: out}'
FORGETFUL = '{type: "tests.unit.cli.destinations:Picky", name: out, dead_letters: {type: memory}}'
PARSED = "[{parse: {preset: nginx_combined, types: {code: int}}}, {set: {is_error: code >= 500}}]"


def test_the_ledger_is_told_to_people(call: Call, write: Write) -> None:
    write(configuration(NULL))
    result = call("run", "--log-level", "error")
    assert result == (
        0,
        "",
        """
producer  accepted  delivered  dead-lettered  dropped  pending
out          1,000      1,000              0        0        0

pipeline  agent    read  left out  unrouted
access    visits  1,000         0         0

It adds up: every accepted message is accounted for, and all were delivered.
""",
    )


def test_the_ledger_is_json_on_standard_output_for_programs(call: Call, write: Write) -> None:
    write(configuration(NULL))
    result = call("run", "--json", "--quiet")
    found = json.loads(result.out)
    assert result.out.count("\n") == 1, "one line"
    assert (result.code, result.err) == (0, "")
    assert found["producers"] == [{"producer": "out", "accepted": 1000, "delivered": 1000, "dead_lettered": 0, "dropped": 0, "pending": 0}]
    assert (found["pipelines"][0]["read"], found["adds_up"], found["all_delivered"]) == (1000, True, True)


def test_quiet_says_nothing_when_all_is_well(call: Call, write: Write) -> None:
    write(configuration(NULL))
    assert call("run", "-q") == (0, "", "")


def test_dead_letters_in_memory_are_kept_told_and_make_the_run_fail(call: Call, write: Write, tmp_path: Path) -> None:
    write(configuration(FORGETFUL, steps=PARSED, count=200))
    result = call("run", "-q", "--log-level", "error")
    kept = [json.loads(line) for line in (tmp_path / "state" / "dead-letters.jsonl").read_text().split("\n") if line]
    assert result.code == 1
    assert result.err == (
        f"standpipe: producer 'out' dead-lettered {len(kept)} messages ({len(kept)} rejected: Reject: no errors, please)\n"
        f"standpipe: {len(kept)} dead letters with the reason and the message of each: {tmp_path}/state/dead-letters.jsonl\n"
    )
    assert all(letter["message"]["code"] >= 500 and letter["reason"] == "rejected" and letter["is_error"] for letter in kept)
    assert (tmp_path / "state" / "dead-letters.jsonl").stat().st_mode & 0o777 == 0o600


def test_dead_letters_of_the_next_run_are_added(call: Call, write: Write, tmp_path: Path) -> None:
    write(configuration(FORGETFUL, steps=PARSED, count=200))
    call("run", "-q")
    before = (tmp_path / "state" / "dead-letters.jsonl").read_bytes()
    call("run", "-q")
    after = (tmp_path / "state" / "dead-letters.jsonl").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 2 * before.count(b"\n")


def test_dead_letters_that_cannot_be_kept_are_told(call: Call, write: Write, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    write(configuration(FORGETFUL, steps=PARSED, count=200))
    result = call("run", "-q", "--log-level", "error")
    assert result.code == 1
    assert f"dead letters could not be written to {tmp_path}/state (File exists) and are gone" in result.err


def test_messages_that_were_dropped_make_the_run_fail_and_name_the_policy(call: Call, write: Write) -> None:
    queue = "queue: {max_messages: 10, on_full: drop_newest}"
    producer = f'{{type: "tests.unit.cli.destinations:Hesitant", name: out, retry: {{initial: 200ms}}, {queue}}}'
    write(configuration(producer))
    result = call("run", "-q", "--log-level", "error")
    assert result.code == 1
    assert "standpipe: producer 'out' dropped " in result.err
    assert "as its queue's `on_full: drop_newest` says; a larger queue or `on_full: block` drops none\n" in result.err


def test_messages_that_take_no_route_or_do_not_parse_are_noted(call: Call, write: Write) -> None:
    steps = "[{parse: {format: json}}]"
    write(configuration(NULL, steps=steps, routes="[{to: out, when: not is_error}]", count=30))
    result = call("run", "--log-level", "error")
    assert "note: access: 30 messages took no route; a last route with `otherwise: true` takes them\n" in result.err
    assert "note: access: 30 messages could not be parsed\n" in result.err
    assert result.code == 0


def test_the_log_can_be_json_and_then_ends_with_the_ledger(call: Call, write: Write) -> None:
    write(configuration(PICKY, steps=PARSED, count=200))
    result = call("run", "--log-format", "json")
    entries = [json.loads(line) for line in result.err.split("\n") if line]
    ledger = next(entry["ledger"] for entry in entries if "ledger" in entry)
    assert ledger["producers"][0]["accepted"] == 200
    assert [entry["level"] for entry in entries[-2:]] == ["error", "error"]
    assert result.code == 1


def test_warnings_about_the_configuration_are_logged(call: Call, write: Write) -> None:
    write(configuration(NULL + '\n  - {type: "null", name: idle}'))
    assert "warning  standpipe.yaml: no route leads to producer 'idle'\n" in call("run").err


def test_the_state_folder_can_be_chosen(call: Call, write: Write, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("one\ntwo\n")
    write(configuration(NULL).replace("{type: generator", "{type: tail, name: log, paths: a.log, follow: false}\n  - {type: generator"))
    text = (tmp_path / "standpipe.yaml").read_text().replace("from: visits", "from: [visits, log]")
    (tmp_path / "standpipe.yaml").write_text(text)
    assert call("run", "-q", "--state-dir", "elsewhere").code == 0
    assert (tmp_path / "elsewhere" / "checkpoints" / "access").is_dir()
    assert not (tmp_path / "state").exists()


def test_logging_is_afterwards_as_it_was(call: Call, write: Write) -> None:
    write(configuration(NULL))
    logger = logging.getLogger("standpipe")
    before = logger.level, logger.propagate, list(logger.handlers)
    call("run")
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


def test_a_pipeline_that_fails_makes_the_run_fail_and_says_why(call: Call, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(configuration(NULL).replace("{type: generator, name: visits, rate: 0, count: 1000, error_ratio: 0.1, seed: 7}",
                                      "{type: 'tests.unit.cli.sources:Exploding', name: visits}"))  # fmt: skip
    result = call("run", "-q", "--log-level", "error")
    assert result.code == 1
    assert "standpipe: pipeline 'access' stopped reading 'visits': RuntimeError: the source exploded\n" in result.err
