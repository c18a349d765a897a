"""Command lines that cannot be understood: one line on standard error, status 2, nothing on standard output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from standpipe.cli.exit_codes import MEANINGS
from tests.unit.cli.conftest import Call

CONFIGURATION = """\
producers:
  - {type: "null", name: events}
  - {type: "null", name: alerts}
"""

BAD = {
    "rnu": "standpipe: no such command 'rnu'; did you mean 'run'? see `standpipe --help`",
    "run a b": "standpipe: unexpected argument b; see `standpipe run --help`",
    "send f.yaml events --json {}": (
        "standpipe: unexpected argument events; name the configuration with --config; see `standpipe send --help`"
    ),
    "run --tiemout 3": "standpipe: no such option: --tiemout (Possible options: --quiet, --timeout); see `standpipe run --help`",
    "run --timeout": "standpipe: option '--timeout' requires an argument; see `standpipe --help`",
    "run --timeout soon": (
        "standpipe: --timeout: 'soon' is not a duration; write seconds as a number, or with a unit: 500ms, 5s, 2m, 1h, 1d"
    ),
    "run --timeout -1": "standpipe: --timeout: '-1' is not a duration; write seconds as a number, or with a unit: 500ms, 5s, 2m, 1h, 1d",
    "run --log-format xml": (
        "standpipe: invalid value for '--log-format': 'xml' is not one of 'human', 'json'; see `standpipe run --help`"
    ),
    "run": (
        "standpipe: standpipe.yaml: there is nothing to run: no pipeline leads from an agent to a producer; add one under `pipelines:` "
        "(`standpipe init` writes an example), or send single messages with `standpipe send`"
    ),
    "init": "standpipe: standpipe.yaml exists already and stays as it is; name another file, or replace it with --force",
    "send": "standpipe: missing argument 'PRODUCER'; see `standpipe send --help`",
    "send events": "standpipe: missing option '--json'; see `standpipe send --help`",
    "send event --json {}": "standpipe: standpipe.yaml: there is no producer named 'event'; did you mean 'events'?",
    "send nothing-like-it --json {}": "standpipe: standpipe.yaml: there is no producer named 'nothing-like-it'; there are: events, alerts",
    "send events --json {": (
        "standpipe: --json is not JSON: unexpected end of data: line 1 column 2 (char 1); "
        "give an object such as '{\"hello\": \"world\"}'"
    ),
    "send events --json [1]": "standpipe: --json is a list; a message is an object such as '{\"hello\": \"world\"}'",
    "send events --json 7": "standpipe: --json is a number; a message is an object such as '{\"hello\": \"world\"}'",
    "send events --json {} --header a": "standpipe: --header 'a' has no name and value; write --header name=value",
    "send events --json {} --header =b": "standpipe: --header '=b' has no name and value; write --header name=value",
    "send events --json {} --header a=1 --header a=2": "standpipe: --header 'a' is given twice; give each header once",
    "send events --json {} --timeout never": (
        "standpipe: --timeout: 'never' is not a duration; write seconds as a number, or with a unit: 500ms, 5s, 2m, 1h, 1d"
    ),
    "list pipes": (
        "standpipe: invalid value for '[producers|agents|steps]': 'pipes' is not one of 'producers', 'agents', 'steps'; "
        "see `standpipe list --help`"
    ),
    "new producer": "standpipe: missing argument 'NAME'; see `standpipe new producer --help`",
    "new producer My_Service": (
        "standpipe: 'My_Service' cannot name a producer; use up to 40 lower-case letters, digits and '-', beginning with a letter, "
        "such as my-service"
    ),
    "new producer ../up": (
        "standpipe: '../up' cannot name a producer; use up to 40 lower-case letters, digits and '-', beginning with a letter, "
        "such as my-service"
    ),
    "new producer file": "standpipe: 'file' is a built-in producer; choose another name, such as my-file",
    "new producer pager --directory standpipe.yaml": (
        "standpipe: standpipe.yaml is not a folder; name another one with --directory"
    ),
    "new producer pager --directory .": "standpipe: . is not empty and stays as it is; name another folder with --directory",
    "demo --seconds 600": "standpipe: --seconds 600: the demo takes 8 to 45 whole seconds",
    "demo --keep .": "standpipe: --keep .: there is something already; name a new folder",
    "demo --seconds soon": "standpipe: --seconds soon: the demo takes 8 to 45 whole seconds",
}  # fmt: skip


@pytest.mark.parametrize("line", BAD)
def test_a_bad_command_line_is_answered_with_one_line(line: str, call: Call, write: Callable[[str], Path]) -> None:
    written = write(CONFIGURATION)
    result = call(*line.split(" "))
    assert result.err == BAD[line] + "\n"
    assert result.code == 2
    assert result.out == ""
    assert [path.name for path in written.parent.iterdir()] == ["standpipe.yaml"], "nothing is made"


@pytest.mark.parametrize("arguments", [[], ["new"]])
def test_without_a_verb_the_help_is_shown_and_the_status_is_that_of_a_bad_command_line(arguments: list[str], call: Call) -> None:
    result = call(*arguments)
    assert result.out.startswith("Usage: standpipe")
    assert (result.err, result.code) == ("", 2)


def test_the_help_names_every_verb_in_one_line_each_and_every_exit_status(call: Call) -> None:
    result = call("--help")
    verbs = ["run", "check", "init", "send", "list", "schema", "conformance", "demo", "version", "new"]
    lines = result.out.split("\n")
    for verb in verbs:
        assert [line for line in lines if line.startswith(f"  {verb} ") and line.endswith(".") and not line.endswith("...")], verb
    for code, meaning in MEANINGS.items():
        assert any(line.split(maxsplit=1) == [str(code.value), meaning] for line in lines)
    assert (result.code, result.err) == (0, "")


def test_a_fault_of_ours_is_one_line_without_debug_and_a_traceback_with_it(call: Call, write: Callable[[str], Path]) -> None:
    write('producers: [{type: "tests.unit.cli.destinations:Broken", name: broken}]')
    result = call("send", "broken", "--json", "{}")
    assert result.code == 1
    assert result.err == (
        "standpipe: internal error: ZeroDivisionError: a bug; `standpipe --debug ...` shows where, please report it\n"
    )  # fmt: skip
    assert "Traceback" in call("--debug", "send", "broken", "--json", "{}").err


def test_a_configuration_that_is_missing_is_a_configuration_problem(call: Call) -> None:
    for line in ("run", "check", "send events --json {}"):
        result = call(*line.split(" "))
        assert result.code == 78
        assert result.err.startswith("standpipe.yaml: no such file; check the path; it is taken relative to ")
        assert result.err.endswith("\nstandpipe: the configuration has 1 problem; nothing was started\n")


def test_a_file_name_cannot_steer_the_terminal(call: Call) -> None:
    result = call("check", "\x1b[31mred.yaml")
    assert "\x1b" not in result.err
    assert "\\x1b[31mred.yaml: no such file" in result.err


def test_an_interruption_ends_quietly_with_its_own_status(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("standpipe.cli.version._own_version", interrupted)
    assert call("version") == (130, "", "")


@pytest.mark.parametrize("group", ["", "dead", "spool", "new"])
def test_no_line_of_a_list_of_verbs_is_cut_off(call: Call, group: str) -> None:
    verbs = call(*group.split(), "--help").out.partition("Commands:")[2].partition("Exit status:")[0]
    assert len(verbs.split("\n")) > 1
    assert "..." not in verbs
