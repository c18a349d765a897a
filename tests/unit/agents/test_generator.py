"""The `generator` agent: real access-log lines, the same for the same seed, at a steady rate."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from standpipe.agents.generator import AccessLog, GeneratorAgent, GeneratorConfig
from tests.unit.agents.tailing import HandClock

COMBINED = re.compile(
    r"(?P<remote>\S+) (?P<host>\S+) (?P<user>\S+) \[(?P<time>[^\]]+)\] "
    r'"(?P<method>\S+) (?P<path>\S+) HTTP/[\d.]+" (?P<code>\d{3}) (?P<size>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"'
)


def make(clock: HandClock | None = None, **fields: Any) -> GeneratorAgent:
    agent = GeneratorAgent(GeneratorConfig(name="demo", **fields), clock=clock or HandClock())
    agent.open()
    return agent


def everything(agent: GeneratorAgent) -> list[str]:
    lines: list[str] = []
    while (batch := agent.read(0)) is not None:
        lines += batch.lines or []
    return lines


def test_every_line_is_nginx_combined_and_some_150_bytes_long() -> None:
    lines = everything(make(rate=0, count=5000))
    assert len(lines) == 5000
    assert all(COMBINED.fullmatch(line) for line in lines)
    assert 130 <= sum(map(len, lines)) / len(lines) <= 170


@pytest.mark.parametrize("ratio", [0, 0.05, 0.5, 1])
def test_the_share_of_server_errors_is_as_configured(ratio: float) -> None:
    lines = everything(make(rate=0, count=20_000, error_ratio=ratio, seed=1))
    errors = sum(1 for line in lines if (match := COMBINED.fullmatch(line)) and int(match["code"]) >= 500)
    assert errors / len(lines) == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("ratio", [0, 0.1, 1])
def test_the_share_of_malformed_lines_is_as_configured(ratio: float) -> None:
    lines = everything(make(rate=0, count=20_000, malformed_ratio=ratio, seed=1))
    assert sum(COMBINED.fullmatch(line) is None for line in lines) / len(lines) == pytest.approx(ratio, abs=0.01)


def test_a_ratio_next_to_nothing_is_no_problem() -> None:
    assert len(everything(make(rate=0, count=1000, error_ratio=1e-320, malformed_ratio=5e-324))) == 1000


def test_the_same_seed_gives_the_same_lines_and_another_one_others() -> None:
    first, again, other = (everything(make(rate=0, count=2000, seed=seed)) for seed in (7, 7, 8))
    assert first == again != other
    assert first[0].split("[")[1].startswith("01/Jan/2026:00:00:00 +0000]")
    assert first[1999].split("[")[1].startswith("01/Jan/2026:00:00:01 +0000]")


@settings(max_examples=25)  # each makes two pools of pieces
@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.floats(0.01, 1000))
def test_seeded_lines_do_not_depend_on_the_portions_they_are_taken_in(portions: list[int], rate: float) -> None:
    whole = AccessLog(0.2, 0.1, 42).take_timed(sum(portions), 0, rate, 0)
    parts, lines = AccessLog(0.2, 0.1, 42), list[str]()
    for portion in portions:
        lines += parts.take_timed(portion, 0, rate, len(lines))
    assert lines == whole


def test_the_count_is_exact_and_finishes() -> None:
    agent = make(rate=0, count=1001)
    assert not agent.finished
    assert len(everything(agent)) == 1001
    assert agent.finished
    assert agent.read(60) is None
    assert make(count=0).finished


def test_a_batch_is_small_and_says_where_it_is_from() -> None:
    batch = make(rate=0).read(0)
    assert batch is not None
    assert (len(batch), batch.source) == (400, {"agent": "demo"})
    assert batch.size == sum(len(line) + 1 for line in batch.lines or [])


def test_lines_come_at_the_configured_rate_in_small_portions() -> None:
    clock = HandClock()
    agent = make(clock, rate=1000)
    assert agent.read(0) is None
    sizes = []
    for _ in range(1000):
        clock.advance(0.01)
        sizes.append(len(everything(agent)))
    assert sum(sizes) == pytest.approx(10_000, abs=25)
    assert max(sizes) <= 40


def test_a_slow_rate_gives_single_lines() -> None:
    clock = HandClock()
    agent = make(clock, rate=0.5)
    counts = []
    for _ in range(8):
        clock.advance(1)
        counts.append(len(everything(agent)))
    assert counts == [0, 1, 0, 1, 0, 1, 0, 1]


def test_a_generator_that_was_held_up_catches_up_one_second_at_most() -> None:
    clock = HandClock()
    agent = make(clock, rate=1000)
    clock.advance(3600)
    assert len(everything(agent)) == 1000
    clock.advance(0.1)
    assert len(everything(agent)) == pytest.approx(100, abs=20)


def test_a_count_below_one_portion_still_arrives() -> None:
    clock = HandClock()
    agent = make(clock, rate=10_000, count=7)
    clock.advance(1)
    assert len(everything(agent)) == 7
    assert agent.finished


def test_a_waiting_read_returns_at_once_when_interrupted() -> None:
    agent = GeneratorAgent(GeneratorConfig(name="demo", rate=0.0001))
    agent.open()
    timer = threading.Timer(0.05, agent.interrupt)
    timer.start()
    assert agent.read(3600) is None
    timer.join()
    agent.close()
    assert agent.read(3600) is None


def test_a_read_waits_for_the_lines_that_are_due_within_its_timeout() -> None:
    agent = GeneratorAgent(GeneratorConfig(name="demo", rate=1000))
    agent.open()
    batch = agent.read(5)
    assert batch is not None
    assert 20 <= len(batch) <= 400
    agent.close()


def test_unseeded_lines_carry_the_current_time() -> None:

    before = time.strftime("%d/%b/%Y", time.gmtime())
    line = everything(make(rate=0, count=1))[0]
    assert line.split("[")[1][:11] in (before, time.strftime("%d/%b/%Y", time.gmtime()))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rate": -1}, "greater than or equal to 0"),
        ({"rate": float("inf")}, "finite number"),
        ({"count": -1}, "greater than or equal to 0"),
        ({"error_ratio": 1.5}, "less than or equal to 1"),
        ({"malformed_ratio": float("nan")}, "finite number"),
        ({"seed": "x"}, "valid integer"),
    ],
)
def test_a_mistake_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GeneratorConfig.model_validate({"name": "a", **fields})
