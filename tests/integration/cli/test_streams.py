"""The surroundings of a process: pipes, closed and full outputs, encodings, terminals, and what `--help` imports."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.process import STANDPIPE, environment

FINITE = """\
agents:
  - {type: generator, name: visits, rate: 400, count: 300}
producers:
  - {type: %s, name: out}
pipelines:
  - {name: access, from: visits, routes: [{to: out}]}
"""


LINES = """\
agents: [{type: stdin, name: lines}]
producers: [{type: console, name: out, format: jsonl}]
pipelines: [{name: p, from: lines, routes: [{to: out}]}]
"""


def _shell(command: str, folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `standpipe` is ours."""
    path = f"{Path(STANDPIPE[0]).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(PATH=path, **changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        encoding="utf-8",
    )


def test_a_reader_that_goes_away_is_no_error_worth_a_word(tmp_path: Path) -> None:
    result = _shell("standpipe schema | head -c 10", tmp_path)
    assert result.stdout == '{\n  "$sche'
    assert result.stderr == ""


@pytest.mark.parametrize("verb", ["version", "schema", "list", "--help"])
def test_a_closed_standard_output_is_no_error(verb: str, tmp_path: Path) -> None:
    result = _shell(f"standpipe {verb} >&-", tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_nothing_is_written_into_a_file_that_took_the_place_of_a_closed_output(tmp_path: Path) -> None:
    (tmp_path / "standpipe.yaml").write_text(FINITE.replace("%s", "file, path: out.jsonl").replace("rate: 400", "rate: 0"))
    result = _shell("standpipe run --json >&- 2>&-", tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    lines = (tmp_path / "out.jsonl").read_text().split("\n")
    assert len(lines) == 301
    assert all("message" in json.loads(line) for line in lines[:-1])


def test_closed_streams_are_taken_so_that_no_file_opened_later_becomes_one(tmp_path: Path) -> None:
    code = (
        "import os; from standpipe.cli.output import prepare_streams; prepare_streams(); "
        "report = os.open('report', os.O_WRONLY | os.O_CREAT); "
        "os.write(report, str([os.path.sameopenfile(n, os.open(os.devnull, 0)) for n in (0, 1, 2)]).encode())"
    )
    assert _shell(f"'{sys.executable}' -c \"{code}\" <&- >&- 2>&-", tmp_path).returncode == 0
    assert (tmp_path / "report").read_text() == "[True, True, True]"


def test_a_closed_standard_input_is_told(tmp_path: Path) -> None:
    (tmp_path / "standpipe.yaml").write_text(LINES)
    result = _shell("standpipe run --log-level error <&-", tmp_path)
    assert (
        "agent 'lines' met 1 problem; the last: standard input: cannot be read (Bad file descriptor); taken as its end\n" in result.stderr
    )
    result = _shell("standpipe send out --json - <&-", tmp_path)
    assert (result.returncode, result.stderr) == (2, "standpipe: standard input is closed; give the message with --json\n")


def test_messages_for_a_closed_standard_output_are_not_delivered(tmp_path: Path) -> None:
    (tmp_path / "standpipe.yaml").write_text(LINES)
    result = _shell("echo one | standpipe run >&-", tmp_path)
    assert result.returncode == 1
    assert (
        "standpipe: producer 'out' left 1 message undelivered; the last error was Disconnected: the process has no stdout" in result.stderr
    )


@pytest.mark.parametrize("source", ["yes", "seq 2000000"])
def test_when_the_reader_goes_away_the_run_ends_and_what_goes_elsewhere_is_delivered(source: str, tmp_path: Path) -> None:
    text = LINES.replace("}]\npipelines", "}, {type: file, name: file, path: out.jsonl}]\npipelines").replace(
        "{to: out}", "{to: out}, {to: file}"
    )
    (tmp_path / "standpipe.yaml").write_text(text)
    result = _shell(f"{source} | standpipe run | head -n 1", tmp_path)
    assert result.stdout.count("\n") == 1
    assert "nobody reads the standard output any more: stopping\n" in result.stderr
    assert "standpipe: producer 'out' left " in result.stderr
    assert "producer 'file' left" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_full_disk_behind_standard_output_is_told(tmp_path: Path) -> None:
    result = _shell("standpipe schema >/dev/full", tmp_path)
    assert (result.returncode, result.stderr) == (1, "standpipe: no space left on device\n")


def test_characters_that_the_terminal_cannot_show_are_escaped(tmp_path: Path) -> None:
    result = _shell("standpipe check grün.yaml", tmp_path, PYTHONIOENCODING="ascii")
    assert result.returncode == 78
    assert result.stderr.startswith("gr\\xfcn.yaml: no such file")


def test_lines_from_standard_input_end_the_run_with_their_end(tmp_path: Path) -> None:
    (tmp_path / "standpipe.yaml").write_text(LINES)
    result = _shell("printf 'one\\ntwo' | standpipe run --quiet", tmp_path)
    assert [json.loads(line)["message"] for line in result.stdout.split("\n") if line] == ["one", "two"]
    assert (result.returncode, result.stderr) == (0, "")


def test_help_imports_nothing_that_takes_long(tmp_path: Path) -> None:
    slow = ("pydantic", "orjson", "yaml", "rich", "asyncio", "standpipe.app", "standpipe.producers.base", "importlib.metadata")
    code = f"import sys; from standpipe.cli.main import main; main(['--help']); print([m for m in {slow} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.endswith("\n[]\n")


def test_on_a_terminal_the_progress_is_live_and_gone_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "standpipe.yaml").write_text(FINITE.replace("%s", '"null"'))
    screen = _on_a_terminal(["run"], tmp_path)
    assert "per second" in screen
    assert "shutting down" not in screen, "routine log lines are not needed beside the table"
    assert "It adds up: every accepted message is accounted for, and all were delivered." in screen


@pytest.mark.parametrize(
    ("arguments", "changes"), [(["run", "--quiet"], {}), (["run"], {"TERM": "dumb"}), (["run", "--log-format", "json"], {})]
)
def test_no_live_progress_where_it_is_not_wanted_or_cannot_be_shown(arguments: list[str], changes: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "standpipe.yaml").write_text(FINITE.replace("%s", '"null"'))
    screen = _on_a_terminal(arguments, tmp_path, **changes)
    assert "per second" not in screen
    assert "\x1b" not in screen


def test_no_live_progress_while_a_producer_writes_to_the_same_terminal(tmp_path: Path) -> None:
    (tmp_path / "standpipe.yaml").write_text(FINITE.replace("%s", "console"))
    assert "per second" not in _on_a_terminal(["run"], tmp_path)


def test_there_are_no_colours_where_they_are_not_wanted(tmp_path: Path) -> None:
    unreachable = "'tests.unit.cli.destinations:Picky'"
    (tmp_path / "standpipe.yaml").write_text(FINITE.replace("%s", unreachable))
    assert "\x1b[31m" not in _on_a_terminal(["run"], tmp_path, NO_COLOR="1")


def _on_a_terminal(arguments: list[str], folder: Path, **changes: str) -> str:
    """Everything that a terminal of 80 columns was sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*STANDPIPE, *arguments], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(COLUMNS="80", **changes)
    )
    os.close(theirs)
    screen = b""
    try:
        while chunk := os.read(ours, 65536):
            screen += chunk
    except OSError:  # Linux says so when the last writer has closed its end
        pass
    finally:
        os.close(ours)
        assert process.wait(30) == 0
    return screen.decode()
