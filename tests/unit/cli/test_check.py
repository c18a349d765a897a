from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.unit.cli.conftest import Call

Write = Callable[[str], Path]

BAD = """\
producers:
  - {type: fiel, name: a}
  - {type: "null", name: b, max_retires: 3}
"""
MISREAD = """\
producers:
  - {type: "null", name: a, queue: {type: spol}}
  - {type: "null", name: b, queue: spool}
  - {type: kafka, name: c, servers: h, topic: t, tls: true, auth: {user: u}}
  - {type: file, name: d, path: x, fields: [id, ie_error]}
  - {type: http, name: e}
"""
TANGLED = """\
producers:
  - {type: "null", name: used}
agents:
  - {type: generator, name: visits}
pipelines:
  - {name: p, from: [visits, vists], routes: [{to: used, when: "a =="}, {to: usd}, {to: 3}, 4]}
"""
UNUSED = """\
producers:
  - {type: "null", name: used}
  - {type: "null", name: idle}
agents:
  - {type: generator, name: visits}
pipelines:
  - {name: p, from: visits, routes: [{to: used}]}
"""


def test_a_valid_configuration_is_counted(call: Call, write: Write) -> None:
    write(UNUSED.replace('  - {type: "null", name: idle}\n', ""))
    assert call("check") == (0, "standpipe.yaml: valid: 1 producer, 1 agent, 1 pipeline\n", "")


def test_every_problem_is_a_line_with_its_place(call: Call, write: Write) -> None:
    write(BAD)
    result = call("check", "standpipe.yaml")
    lines = result.err.split("\n")
    assert lines[0].startswith("standpipe.yaml:2:12: producers[0].type: unknown producer type 'fiel'; did you mean 'file'?")
    assert lines[1] == "standpipe.yaml:3:29: producers[1].max_retires: unknown field; did you mean 'max_retries'?"
    assert lines[2:] == ["standpipe: the configuration has 2 problems; nothing was started", ""]
    assert (result.code, result.out) == (78, "")


def test_a_problem_of_a_pipeline_hides_no_wrong_name(call: Call, write: Write) -> None:
    write(TANGLED)
    assert [line.partition(" ")[2] for line in call("check").err.split("\n")[:5]] == [
        "pipelines[0].from[1]: there is no agent named 'vists'; did you mean 'visits'?",
        "pipelines[0].routes[0].when: expression 'a ==', column 1: is not an expression: invalid syntax",
        "pipelines[0].routes[1].to: there is no producer named 'usd'; did you mean 'used'?",
        'pipelines[0].routes[2].to: expected text, found the number 3; write it in quotes: "3"',
        "pipelines[0].routes[3]: expected a mapping, found the number 4",
    ]


def test_what_was_meant_is_said_once_and_with_its_remedy(call: Call, write: Write) -> None:
    write(MISREAD)
    logins = "plain, scram-sha-256, scram-sha-512, oauth, token"
    example = "`https://api.example.com/orders/{region}?user={user.id}`"
    assert [line.partition(" ")[2] for line in call("check").err.split("\n")[:6]] == [
        "producers[0].queue.type: unknown value 'spol'; did you mean 'spool'? there are: memory, spool",
        "producers[1].queue: expected a mapping, found text 'spool'; write {type: spool}",
        "producers[2].tls: expected a mapping, found true; write {} to leave everything at its default",
        f"producers[2].auth.type: missing field; add 'type: ...', there are: {logins}",
        "producers[3].fields[1]: unknown value 'ie_error'; did you mean 'is_error'? there are: is_error, id, key, time, headers",
        f"producers[4].url: missing field; add 'url: ...' (where requests go: {example})",
    ]


def test_programs_get_the_problems_as_json(call: Call, write: Write) -> None:
    write(BAD)
    result = call("check", "--json")
    found = json.loads(result.out)
    assert (result.code, result.err, found["valid"]) == (78, "", False)
    assert found["problems"][1] == {
        "file": "standpipe.yaml",
        "line": 3,
        "column": 29,
        "path": "producers[1].max_retires",
        "message": "unknown field",
        "remedy": "did you mean 'max_retries'?",
    }


def test_warnings_change_nothing_but_are_told(call: Call, write: Write) -> None:
    write(UNUSED)
    result = call("check")
    assert result == (
        0,
        "standpipe.yaml: valid: 2 producers, 1 agent, 1 pipeline\n",
        "standpipe.yaml: warning: no route leads to producer 'idle'\n",
    )
    found = json.loads(call("check", "--json").out)
    assert found["warnings"] == ["no route leads to producer 'idle'"]
    assert (found["producers"], found["agents"], found["pipelines"], found["problems"]) == (2, 1, 1, [])


def test_the_printed_configuration_can_be_read_again_and_hides_secrets(call: Call, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_FOLDER", "hunter2hunter2")
    write('producers: [{type: file, name: a, path: "${env:SECRET_FOLDER}/x.jsonl"}]')
    result = call("check", "--print")
    assert "hunter2" not in result.out + result.err
    assert yaml.safe_load(result.out) == {"producers": [{"type": "file", "name": "a", "path": "**********"}]}
    assert "hunter2" not in call("check", "--print", "--json").out


def test_checking_touches_nothing(call: Call, write: Write, tmp_path: Path) -> None:
    write("state_dir: state\n" + UNUSED + "  - {name: q, from: visits, routes: [{to: idle}]}\n")
    assert call("check").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["standpipe.yaml"]
