from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.cli.conftest import Call

CONFIGURATION = """\
agents:
  - {type: tail, name: never-opened, paths: [/nowhere/*.log]}
producers:
  - {type: file, name: events, path: events.jsonl, fields: [id, key, headers, is_error]}
  - {type: "tests.unit.cli.destinations:Picky", name: picky}
  - {type: "tests.unit.cli.destinations:Hesitant", name: hesitant, retry: {initial: 1ms}}
  - {type: "tests.unit.cli.destinations:Unreachable", name: unreachable, retry: {initial: 1ms}, reconnect_wait: 1ms}
pipelines:
  - {name: p, from: never-opened, routes: [{to: unreachable}]}
"""


@pytest.fixture(autouse=True)
def configuration(write: Callable[[str], Path]) -> None:
    write(CONFIGURATION)


def test_one_message_is_delivered_with_all_its_details(call: Call, tmp_path: Path) -> None:
    details = ["--error", "--key", "k", "--header", "a=1", "--header", "b=x=y", "--id", "m-1"]
    result = call("send", "events", *details, "--json", '{"hello": "wörld"}')
    assert result.out == "delivered at the first attempt to file:events.jsonl; id m-1\n"
    assert (result.code, result.err) == (0, "")
    written = json.loads((tmp_path / "events.jsonl").read_text(encoding="utf-8"))
    assert written == {"id": "m-1", "key": "k", "headers": {"a": "1", "b": "x=y"}, "is_error": True, "hello": "wörld"}


def test_the_message_can_come_from_standard_input(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b'{"piped": true}\n')))
    assert call("send", "events", "--json", "-").code == 0
    assert json.loads((tmp_path / "events.jsonl").read_text())["piped"] is True


def test_the_receipt_is_json_for_programs(call: Call) -> None:
    result = call("send", "hesitant", "--json", "{}", "--id", "m-1", "--output", "json")
    assert json.loads(result.out) == {
        "state": "delivered",
        "id": "m-1",
        "producer": "hesitant",
        "destination": "tests.unit.cli.destinations:Hesitant:hesitant",
        "attempts": 3,
        "error": None,
        "detail": None,
    }
    assert (result.code, result.err) == (0, "")


def test_a_rejected_message_says_why(call: Call) -> None:
    result = call("send", "picky", "--error", "--json", "{}", "--id", "m-1")
    assert result == (
        1,
        "dead-lettered; id m-1\n",
        "standpipe: picky: the message was put aside: Reject: no errors, please\n",
    )


def test_what_cannot_be_delivered_in_time_says_why_and_what_to_do(call: Call) -> None:
    result = call("send", "unreachable", "--json", "{}", "--id", "m-1", "--timeout", "50ms")
    assert result == (
        1,
        "undelivered; id m-1\n",
        (
            "standpipe: unreachable: not delivered within 0.05 s; the last error was ConnectionRefusedError: nobody listens; "
            "nothing is kept: send it again with --id m-1\n"
        ),
    )


def test_a_message_id_that_cannot_be_one_is_a_bad_command_line(call: Call) -> None:
    result = call("send", "events", "--json", "{}", "--id", "")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("standpipe: events: ")
    assert "message id" in result.err


def test_only_the_named_producer_is_made(call: Call, tmp_path: Path) -> None:
    assert call("send", "picky", "--json", "{}").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["standpipe.yaml"]
