"""The console producer shows messages to people and programs, and nothing in them can act on the terminal."""

from __future__ import annotations

import array
import fcntl
import io
import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from standpipe.core.payload import encode
from standpipe.delivery.batch import Batch
from standpipe.delivery.receipt import Origin, Receipt
from standpipe.producers.config import BaseProducerConfig
from standpipe.producers.console import ConsoleProducer, ConsoleProducerConfig
from standpipe.producers.console_text import pretty
from standpipe.testing.clock import ManualClock
from tests.unit.producers.reading import wait_until

NASTY = {"text": "\x1b[2J\x9b31m\u202egnp.exe\u2028\r\x7f", "\x1b]0;owned\x07": 1}

PROGRAM = """
import ast
import sys
from standpipe.producers.console import ConsoleProducer, ConsoleProducerConfig
settings = ast.literal_eval(sys.argv[1])
print("before")
with ConsoleProducer(ConsoleProducerConfig(name="console", **settings)) as out:
    for number in range(int(sys.argv[2])):
        out.produce(number % 2 == 1, {"n": number})
left = out.statistics()
print(left.delivered, left.pending, left.last_error, file=sys.stderr)
"""


def run(settings: dict[str, Any], count: int, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, repr(settings), str(count)], **options)


def shown_on_a_terminal(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *messages: tuple[bool, dict[str, Any]]) -> str:
    """What a terminal gets to see."""
    leader, follower = pty.openpty()
    with open(follower, "w", encoding="utf-8", closefd=False) as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        out = ConsoleProducer(ConsoleProducerConfig(name="console", **settings), clock=ManualClock(wall=1_800_000_000.25))
        for is_error, message in messages:
            _produce_now(out, is_error, message)
        monkeypatch.undo()
    text = b""
    try:
        while text.count(b"\n") < len(messages):  # a terminal hands over what it has, not all that was written
            text += os.read(leader, 65536)
        return text.decode().replace("\r\n", "\n")
    finally:
        os.close(leader)
        os.close(follower)


def _produce_now(out: ConsoleProducer, is_error: bool, message: dict[str, Any]) -> None:
    receipt = Receipt(Origin("console", "x", ManualClock(wall=1_800_000_000.25)), is_error, encode(message), 1, 1, None, 0.0)
    batch = Batch([(receipt, 0, 1)], 1)
    out._connect()
    assert out._send_batch(batch) == batch.delivered()


def test_a_pipe_gets_json_lines_after_what_the_program_printed_itself() -> None:
    process = run({}, 4, stdout=subprocess.PIPE)
    text, _ = process.communicate(timeout=20)
    lines = text.split(b"\n")
    assert lines[0] == b"before"
    assert [orjson.loads(line) for line in lines[1:-1]] == [{"is_error": number % 2 == 1, "n": number} for number in range(4)]


def test_errors_go_to_stderr_when_asked_for() -> None:
    process = run({"errors_to": "stderr"}, 5, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    text, errors = process.communicate(timeout=20)
    assert text == b'before\n{"n":0}\n{"n":2}\n{"n":4}\n'
    assert errors == b'{"n":1}\n{"n":3}\n5 0 None\n'


def test_a_reader_that_goes_away_is_one_clear_error_and_no_traceback() -> None:
    """As `program | head -2`."""
    process = run({"shutdown_timeout": "300ms"}, 50_000, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"before\n"
    assert process.stdout.readline() == b'{"is_error":false,"n":0}\n'
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    process.wait(20)
    assert "nobody reads the stdout of this process any more; start it again with a reader" in errors
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    delivered, pending = map(int, errors.split("\n")[-2].split()[:2])
    assert delivered + pending == 50_000
    assert pending > 0


def test_a_terminal_gets_colours_and_errors_stand_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = shown_on_a_terminal({}, monkeypatch, (False, {"service": "pay", "path": "/a b"}), (True, {"n": 1}))
    assert text == (
        "\x1b[2m08:00:00.250\x1b[0m \x1b[36mservice\x1b[0m=pay \x1b[36mpath\x1b[0m=\"/a b\"\n"
        "\x1b[2m08:00:00.250\x1b[0m \x1b[31;1mERROR\x1b[0m \x1b[36mn\x1b[0m=1\n"
    )  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert shown_on_a_terminal({}, monkeypatch, (True, {"n": 1})) == "08:00:00.250 ERROR n=1\n"


@pytest.mark.parametrize("style", ["pretty", "jsonl"])
def test_nothing_in_a_message_can_act_on_the_terminal(monkeypatch: pytest.MonkeyPatch, style: str) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown_on_a_terminal({"format": style}, monkeypatch, (False, NASTY))
    assert text.isascii()
    assert text.rstrip("\n").isprintable()
    for escape in ("\\u001b[2J", "\\u009b31m", "\\u202e", "\\u2028", "\\r", "\\u007f", "\\u0007"):
        assert escape in text
    if style == "jsonl":
        assert orjson.loads(text) == {"is_error": False, **NASTY}


@pytest.mark.parametrize(
    ("message", "key", "line"),
    [
        ({"a": 1, "b": None, "c": [1, {"d": "e"}]}, None, '08:00:00.000 a=1 b=null c=[1,{"d":"e"}]'),
        ({"a": "", "b": "x=y", "c d": "plain"}, "k1", '08:00:00.000 [k1] a="" b="x=y" "c d"=plain'),
        ({"t": "zwölf"}, "two words", '08:00:00.000 ["two words"] t=zwölf'),
        ({}, None, "08:00:00.000"),
    ],
)
def test_a_pretty_line_can_be_read_in_one_way_only(message: dict[str, Any], key: str | None, line: str) -> None:
    assert pretty(message, False, key, 1_800_000_000.0, colours=False) == line


def test_a_program_that_replaced_stdout_gets_the_messages_there(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = io.StringIO()
    monkeypatch.setattr(sys, "stdout", replaced)
    with ConsoleProducer(ConsoleProducerConfig(name="console")) as out:
        out.produce(False, {"n": 1})
    assert replaced.getvalue() == '{"is_error":false,"n":1}\n'


def test_a_process_without_stdout_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(Exception, match="the process has no stdout; use type file instead"):
        ConsoleProducer(ConsoleProducerConfig(name="console"))._connect()


def test_a_slow_reader_of_a_non_blocking_pipe_gets_everything(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = run({}, 20_000, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    wait_until(lambda: _waiting_in(reading) > 60_000)  # the pipe is full, the program has to wait
    data, end = b"", time.monotonic() + 20
    while (chunk := os.read(reading, 65536)) and time.monotonic() < end:
        data += chunk
    os.close(reading)
    _, errors = process.communicate(timeout=20)
    assert errors == b"20000 0 None\n"
    assert [orjson.loads(line)["n"] for line in data.split(b"\n")[1:-1]] == list(range(20_000))


def _waiting_in(pipe: int) -> int:
    """Bytes that can be read."""
    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


def test_every_setting_is_described() -> None:
    properties = ConsoleProducerConfig.model_json_schema()["properties"]
    assert [name for name, field in properties.items() if not field.get("description")] == []


def test_destinations_are_named() -> None:
    assert ConsoleProducer(ConsoleProducerConfig(name="a")).destination == "stdout"
    assert ConsoleProducer(ConsoleProducerConfig(name="a", errors_to="stderr")).destination == "stdout, errors: stderr"


def test_another_configuration_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="ConsoleProducer needs a ConsoleProducerConfig, not BaseProducerConfig"):
        ConsoleProducer(BaseProducerConfig(type="console", name="x"))  # type: ignore[arg-type]
