"""Stopping `standpipe run`: nothing that was read is lost or sent twice, and nobody has to wait longer than they said."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.integration.cli.process import Process, lines_in

ENDLESS = """\
state_dir: state
agents:
  - {type: generator, name: visits, rate: 2000}
producers:
  - {type: file, name: out, path: out.jsonl}
pipelines:
  - {name: access, from: visits, routes: [{to: out}]}
"""
DEAD_END = ENDLESS.replace(
    "{type: file, name: out, path: out.jsonl}",
    "{type: 'tests.unit.cli.destinations:Unreachable', name: out, shutdown_timeout: 5m, retry: {initial: 50ms}}",
)


def _start(folder: Path, text: str, *options: str) -> Process:
    (folder / "standpipe.yaml").write_text(text)
    return Process("run", *options, folder=folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_delivers_what_was_read_and_ends_well(number: signal.Signals, tmp_path: Path) -> None:
    with _start(tmp_path, ENDLESS, "--json") as process:
        process.wait_until(lambda: lines_in(tmp_path / "out.jsonl") > 200)
        process.send(number)
        assert process.end() == 0
        ledger = json.loads(process.out)
        assert f"{number.name}: reading no more, delivering what is pending" in process.err
    written = lines_in(tmp_path / "out.jsonl")
    assert ledger["pipelines"][0]["read"] == ledger["producers"][0]["delivered"] == written
    assert ledger["all_delivered"] is True


def test_a_second_signal_stops_at_once_and_says_what_is_left(tmp_path: Path) -> None:
    with _start(tmp_path, DEAD_END) as process:
        process.wait_until(lambda: "out: the breaker is open" in process.err)
        process.send(signal.SIGTERM)
        process.wait_until(lambda: "reading no more" in process.err)
        process.send(signal.SIGTERM)
        assert process.end(within=10) == 1
        err = process.err
    assert "SIGTERM: a second signal, stopping at once" in err
    assert "standpipe: stopped at once by a second signal\n" in err
    assert "undeliverable: ConnectionRefusedError: nobody listens)\n" in err
    assert "dead letters kept; to look at them:" in err
    assert "cannot read again" not in err
    assert "It adds up" in err
    assert "Traceback" not in err


def test_the_time_to_drain_can_be_bounded(tmp_path: Path) -> None:
    with _start(tmp_path, DEAD_END, "--timeout", "300ms", "--json") as process:
        process.wait_until(lambda: "out: the breaker is open" in process.err)
        process.send(signal.SIGTERM)
        started = time.monotonic()
        assert process.end(within=10) == 1
        assert time.monotonic() - started < 5, "the producer alone would have taken five minutes"
        row = json.loads(process.out)["producers"][0]
    assert (row["pending"], row["dead_lettered"]) == (0, row["accepted"])
    assert row["accepted"] > 0


def test_what_cannot_be_read_again_and_was_not_delivered_can_be_replayed(tmp_path: Path) -> None:
    source = "{type: generator, name: visits, rate: 0, count: 300}"
    dead = DEAD_END.replace("{type: generator, name: visits, rate: 2000}", source)
    with _start(tmp_path, dead, "--timeout", "100ms") as process:
        process.wait_until(lambda: "out: the breaker is open" in process.err)
        process.send(signal.SIGTERM)
        assert process.end() == 1
        assert "producer 'out' dead-lettered 300 messages (300 undeliverable: ConnectionRefusedError: nobody listens)\n" in process.err
    (tmp_path / "standpipe.yaml").write_text(ENDLESS)
    with Process("dead", "replay", folder=tmp_path) as process:
        assert process.end() == 0
    assert lines_in(tmp_path / "out.jsonl") == 300


def test_a_log_is_read_on_where_the_last_run_stopped(tmp_path: Path) -> None:
    text = ENDLESS.replace("{type: generator, name: visits, rate: 2000}", "{type: tail, name: visits, paths: app.log}")
    log, out = tmp_path / "app.log", tmp_path / "out.jsonl"
    log.write_text("".join(f"line {number}\n" for number in range(500)))
    with _start(tmp_path, text, "-q") as process:
        process.wait_until(lambda: lines_in(out) == 500)
        process.send(signal.SIGTERM)
        assert process.end() == 0
    with log.open("a") as file:
        file.write("".join(f"line {number}\n" for number in range(500, 700)))
    with _start(tmp_path, text, "-q") as process:
        process.wait_until(lambda: lines_in(out) >= 700)
        process.send(signal.SIGTERM)
        assert process.end() == 0
    found = [json.loads(line)["message"] for line in out.read_text().split("\n") if line]
    assert found == [f"line {number}" for number in range(700)]


def test_a_log_behind_a_dead_destination_is_read_again_on_the_next_run(tmp_path: Path) -> None:
    source = "{type: tail, name: visits, paths: app.log}"
    (tmp_path / "app.log").write_text("one\ntwo\n")
    dead = DEAD_END.replace("{type: generator, name: visits, rate: 2000}", source)
    with _start(tmp_path, dead, "--timeout", "100ms", "--log-level", "info") as process:
        process.wait_until(lambda: "out: the breaker is open" in process.err)
        process.send(signal.SIGTERM)
        assert process.end() == 1
        assert "standpipe: agent 'visits' will read what was not settled again on the next run of pipeline 'access'\n" in process.err
    alive = ENDLESS.replace("{type: generator, name: visits, rate: 2000}", source)
    with _start(tmp_path, alive, "-q") as process:
        process.wait_until(lambda: lines_in(tmp_path / "out.jsonl") == 2)
        process.send(signal.SIGTERM)
        assert process.end() == 0


def test_a_pipeline_that_ends_does_not_stop_one_that_goes_on(tmp_path: Path) -> None:
    text = ENDLESS.replace("agents:\n", "agents:\n  - {type: generator, name: few, rate: 0, count: 10}\n")
    text += "  - {name: short, from: few, routes: [{to: out}]}\n"
    with _start(tmp_path, text, "--json") as process:
        process.wait_until(lambda: lines_in(tmp_path / "out.jsonl") > 1000)
        process.send(signal.SIGTERM)
        assert process.end() == 0
        read = {lane["agent"]: lane["read"] for lane in json.loads(process.out)["pipelines"]}
    assert read["few"] == 10
    assert read["visits"] > 990
