"""`standpipe dead`: looking at dead letters, exporting and purging them."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from standpipe.cli.dead import ReasonName
from standpipe.core.dead_letter import Reason
from standpipe.producers.dead_letters import dead_letter_file
from standpipe.spool.dead_letters import SqliteDeadLetters
from tests.unit.cli.conftest import Call
from tests.unit.spool.letters import letter

HOUR = 3600.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def add(state: Path) -> Callable[..., None]:
    def add(producer: str, *numbers: int, ago: float = 0.0, **changes: Any) -> None:
        with SqliteDeadLetters(dead_letter_file(state, producer)) as store:
            store.add([letter(number, producer=producer, last_attempt_at=time.time() - ago, **changes) for number in numbers])

    return add


Add = Callable[..., None]


def listed(call: Call, *arguments: str) -> list[str]:
    result = call("dead", "list", "--state-dir", "state", "--json", *arguments)
    assert (result.code, result.err) == (0, "")
    return [entry["id"] for entry in json.loads(result.out)["letters"]]


# --- list and show --------------------------------------------------------------------------------------------------------


def test_reasons_on_the_command_line_are_those_there_are() -> None:
    assert [name.value for name in ReasonName] == [reason.value for reason in Reason]


def test_list_shows_those_put_aside_last_first(call: Call, add: Add) -> None:
    add("orders", 1, 2, ago=2 * HOUR)
    add("audit", 3, ago=HOUR, error="x" * 100, reason=Reason.EXPIRED)
    result = call("dead", "list", "--state-dir", "state")
    assert result.code == 0
    header, *rows = result.out.splitlines()
    assert header.split() == ["id", "producer", "reason", "put", "aside", "error", "attempts", "replays"]
    assert [row.split()[:3] for row in rows] == [["m3", "audit", "expired"], ["m2", "orders", "rejected"], ["m1", "orders", "rejected"]]
    assert "x" * 57 + "..." in rows[0]
    assert result.err == "3 dead letters\n"


def test_list_of_nothing(call: Call, state: Path) -> None:
    assert call("dead", "list", "--state-dir", "state") == (0, "", "0 dead letters\n")
    assert call("dead", "list") == (0, "", "0 dead letters\n")
    assert json.loads(call("dead", "list", "--json").out) == {"letters": [], "total": 0, "dropped": 0}
    assert not state.exists()


def test_list_says_when_there_are_more_and_when_some_were_dropped(call: Call, add: Add, state: Path) -> None:
    store = SqliteDeadLetters(dead_letter_file(state, "orders"), max_letters=60)
    store.add([letter(number) for number in range(70)])
    store.close()
    result = call("dead", "list", "--state-dir", "state")
    assert result.out.count("\n") == 51
    assert result.err == (
        "50 of 60 dead letters; --limit 0 shows all\n"
        "note: 10 dead letters dropped since the beginning, as the bounds under `dead_letters` say\n"
    )
    assert call("dead", "list", "--state-dir", "state", "--limit", "0").out.count("\n") == 61


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["m3", "m2", "m1"]),
        (["--producer", "orders"], ["m2", "m1"]),
        (["--producer", "orders", "--producer", "audit"], ["m3", "m2", "m1"]),
        (["--reason", "expired"], ["m2"]),
        (["--reason", "expired", "--reason", "exhausted"], ["m3", "m2"]),
        (["--since", "2h"], ["m3", "m2"]),
        (["--until", "30m"], ["m2", "m1"]),
        (["--since", "90m", "--until", "1s"], ["m2"]),
        (["--since", "2000-01-01"], ["m3", "m2", "m1"]),
        (["--until", "2000-01-01T12:00:00Z"], []),
        (["--text", "TOPIC"], ["m3", "m2", "m1"]),
        (["--text", '"n":2'], ["m2"]),
        (["--limit", "2"], ["m3", "m2"]),
    ],
)
def test_list_finds_by(call: Call, add: Add, arguments: list[str], expected: list[str]) -> None:
    add("orders", 1, ago=3 * HOUR)
    add("orders", 2, ago=HOUR, reason=Reason.EXPIRED)
    add("audit", 3, reason=Reason.EXHAUSTED)
    assert listed(call, *arguments) == expected


def test_the_configuration_says_where_the_letters_are(call: Call, add: Add, write: Callable[[str], Path]) -> None:
    add("orders", 1)
    write("state_dir: state\nproducers: [{type: 'null', name: orders}, {type: 'null', name: other}]\n")
    assert call("dead", "list").err == "1 dead letter\n"
    assert call("dead", "list", "-c", "standpipe.yaml").err == "1 dead letter\n"
    assert call("dead", "list", "--producer", "other").err == "0 dead letters\n"
    assert call("dead", "list", "-c", "standpipe.yaml", "--state-dir", "elsewhere").err == "0 dead letters\n"


def test_show_tells_everything_and_lets_no_message_steer_the_terminal(call: Call, add: Add) -> None:
    add("orders", 1, key="k\x1b[31m", headers={"a": "b"}, response="<h1>no</h1>", payload=b'{"text":"\xc3\xa4\\u001b[31m"}', is_error=True)
    result = call("dead", "show", "m1", "--state-dir", "state")
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out
    for line in ("producer      orders", "reason        rejected", "key           k\\x1b[31m", "header        a: b", "is error      yes"):
        assert line in result.out
    assert '"text": "ä\\u001b[31m"' in result.out
    assert "response:\n  <h1>no</h1>\n" in result.out


def test_show_for_programs_has_the_message_as_json(call: Call, add: Add) -> None:
    add("orders", 1, payload=b'{"a":1.0}')
    add("orders", 1, payload=b'{"a":2}')
    add("orders", 2, payload=b"\xff\x00")
    found = json.loads(call("dead", "show", "m1", "--state-dir", "state", "--json").out)
    assert (found["message"], found["original"], found["times"], found["status"]) == ({"a": 2}, {"a": 1.0}, 2, "waiting")
    odd = json.loads(call("dead", "show", "m2", "--state-dir", "state", "--json").out)
    assert base64.b64decode(odd["message_base64"]) == b"\xff\x00"
    assert "\\xff" in call("dead", "show", "m2", "--state-dir", "state").out


def test_an_id_can_be_cut_short_where_that_is_clear(call: Call, add: Add) -> None:
    add("orders", 1, 12, 345)
    assert "m345" in call("dead", "show", "m3", "--state-dir", "state").out
    assert "id            m1\n" in call("dead", "show", "m1", "--state-dir", "state").out  # exactly this, although m12 begins like it
    assert call("dead", "show", "m", "--state-dir", "state") == (
        2,
        "",
        "standpipe: 'm' is the beginning of several ids (m1, m12, m345); write more of it\n",
    )


# --- export ---------------------------------------------------------------------------------------------------------------


def test_export_writes_a_line_for_each_with_its_message(call: Call, add: Add, tmp_path: Path) -> None:
    add("orders", 1, 2, headers={"a": "b"})
    add("audit", 3, payload=b"odd")
    result = call("dead", "export", "--state-dir", "state")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [(line["id"], line["producer"]) for line in lines] == [("m3", "audit"), ("m1", "orders"), ("m2", "orders")]
    assert lines[0]["message_base64"] == base64.b64encode(b"odd").decode()
    assert (lines[1]["message"], lines[1]["headers"], lines[1]["error"]) == ({"n": 1}, {"a": "b"}, "Reject: no such topic")
    assert result.err == "exported 3 dead letters\n"
    assert call("dead", "export", "--state-dir", "state", "-o", "out.jsonl", "--limit", "2").err == "exported 2 dead letters\n"
    assert (tmp_path / "out.jsonl").read_text().splitlines() == result.out.splitlines()[:2]
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600


def test_export_overwrites_nothing_and_leaves_no_half_file(call: Call, add: Add, tmp_path: Path, state: Path) -> None:
    add("orders", *range(300))
    (tmp_path / "there").write_text("precious")
    result = call("dead", "export", "--state-dir", "state", "-o", "there")
    assert result == (2, "", "standpipe: there exists already and stays as it is; name another file\n")
    assert (tmp_path / "there").read_text() == "precious"
    path = dead_letter_file(state, "orders")
    content = bytearray(path.read_bytes())
    content[20_000:-4096] = b"\xff" * (len(content) - 24_096)
    path.write_bytes(content)
    broken = call("dead", "export", "--state-dir", "state", "-o", "new")
    assert broken.code == 1
    assert "is damaged" in broken.err
    assert not (tmp_path / "new").exists()


def test_export_dry_run_writes_nothing(call: Call, add: Add, tmp_path: Path) -> None:
    add("orders", 1)
    assert call("dead", "export", "--state-dir", "state", "-o", "out", "--dry-run") == (0, "", "would export 1 dead letter (orders: 1)\n")
    assert not (tmp_path / "out").exists()


# --- purge ----------------------------------------------------------------------------------------------------------------


def test_purge_needs_to_be_told_what(call: Call, add: Add) -> None:
    add("orders", 1)
    result = call("dead", "purge", "--state-dir", "state", "--yes")
    assert result.code == 2
    assert result.err == "standpipe: nothing says which dead letters; name ids or filters such as --producer, or --all\n"
    assert listed(call) == ["m1"]


def test_purge_asks_and_without_a_terminal_wants_yes(call: Call, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    add("orders", 1)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    result = call("dead", "purge", "--state-dir", "state", "--all")
    assert result == (2, "", "standpipe: delete 1 dead letter (orders: 1) for good? nobody can be asked here; say --yes\n")
    assert listed(call) == ["m1"]


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, []), ("n\n", 1, ["m1"]), ("\n", 1, ["m1"])])
def test_purge_does_what_is_answered(
    call: Call, add: Add, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: list[str]
) -> None:
    add("orders", 1)
    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", terminal)
    assert call("dead", "purge", "--state-dir", "state", "--all").code == code
    assert listed(call) == left


def test_purge_deletes_exactly_what_is_meant(call: Call, add: Add) -> None:
    add("orders", 1, 12, 2)
    add("audit", 3, reason=Reason.EXPIRED)
    assert call("dead", "purge", "m1", "--state-dir", "state", "--yes").err == "purged 1 dead letter\n"
    assert sorted(listed(call)) == ["m12", "m2", "m3"]
    assert call("dead", "purge", "--reason", "expired", "--state-dir", "state", "--yes", "--json").out == '{\n  "purged": 1\n}\n'
    assert call("dead", "purge", "--limit", "1", "--state-dir", "state", "--yes").err == "purged 1 dead letter\n"
    assert listed(call) == ["m2"]
    assert call("dead", "purge", "--text", "nowhere", "--state-dir", "state", "--yes").err == "there is no such dead letter\n"


def test_purge_dry_run_deletes_nothing(call: Call, add: Add, state: Path) -> None:
    add("orders", 1, 2)
    before = dead_letter_file(state, "orders").read_bytes()
    assert call("dead", "purge", "--all", "--state-dir", "state", "--dry-run") == (0, "", "would purge 2 dead letters (orders: 2)\n")
    assert dead_letter_file(state, "orders").read_bytes() == before


# --- mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["list", "--since", "yesterday"],
            "--since 'yesterday' is no time; write a date and time such as 2026-03-01T14:00, or how long ago",
        ),
        (["list", "--until", "2026-13-01"], "--until '2026-13-01' is no time"),
        (["list", "--producer", "odrers"], "--producer odrers: there is no such producer; did you mean 'orders'?"),
        (["list", "--reason", "sad"], "'sad' is not one of 'rejected', 'expired', 'exhausted', 'corrupt', 'undeliverable'"),
        (["show", "nothing"], "there is no dead letter 'nothing' in state/dead; `standpipe dead list` shows them"),
        (["show", ""], "there is no dead letter ''"),
        (["purge", "m1", "nothing", "--yes"], "there is no dead letter 'nothing'"),
        (["purge", "--limit", "0", "--all"], "invalid value for '--limit'"),
    ],
)
def test_mistakes_are_explained_and_touch_nothing(call: Call, add: Add, arguments: list[str], message: str) -> None:
    add("orders", 1)
    result = call("dead", *arguments, "--state-dir", "state")
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert listed(call) == ["m1"]


def test_a_store_that_cannot_be_read_is_one_line(call: Call, state: Path) -> None:
    path = dead_letter_file(state, "orders")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nonsense")
    result = call("dead", "list", "--state-dir", "state")
    assert result.code == 1
    assert result.err.startswith(f"standpipe: the database of dead letters {path} is damaged (it does not begin as an SQLite database)")
    assert result.err.count("\n") == 1


def test_a_verb_is_needed(call: Call) -> None:
    result = call("dead")
    assert result.code == 2
    assert "replay  Send dead letters again" in result.out
