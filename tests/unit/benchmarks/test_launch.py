"""A side in a process of its own."""

from __future__ import annotations

import os

import pytest

from benchmarks import launch
from benchmarks.case import CaseFailed
from benchmarks.cases import CASES
from benchmarks.launch import environment, in_fresh_process

SMALL = {"bursts": 2, "calls": 2, "messages": 10}


def test_a_fresh_process_measures() -> None:
    found = in_fresh_process(CASES["produce_many"], "only_encode", SMALL)

    assert found["rate"] > 0


def test_a_side_that_fails_is_reported_with_its_last_words() -> None:
    with pytest.raises(CaseFailed, match=r"produce_many: only_encode ended with 1:(?s:.*)KeyError: 'messages'"):
        in_fresh_process(CASES["produce_many"], "only_encode", {"bursts": 2})


def test_a_side_that_takes_too_long_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "TIMEOUT", 0.001)

    with pytest.raises(CaseFailed, match="produce_many: only_encode took longer than"):
        in_fresh_process(CASES["produce_many"], "only_encode", SMALL)


def test_settings_of_python_and_of_the_rivals_do_not_reach_the_measured_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDEVMODE", "1")
    monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "1")

    assert set(os.environ) - set(environment()) >= {"PYTHONDEVMODE", "OTEL_BLRP_MAX_QUEUE_SIZE"}
    assert environment()["PATH"] == os.environ["PATH"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot bind a process to a core")
def test_binding_takes_one_of_the_cores_that_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: asked.append(cores))
    monkeypatch.setattr(launch, "call", lambda case, side, params: {})

    launch.main(["engine", "send_fed_many", "{}", "--one-core"])
    launch.main(["engine", "send_fed_many", "{}"])

    assert asked == [{5}]
