"""Every case runs, at sizes so small that its figures mean nothing."""

from __future__ import annotations

import json
import math
import sys

import pytest

from benchmarks.case import Case, CaseFailed, Measurement, Missing, Params, Results
from benchmarks.cases import CASES
from benchmarks.launch import call
from benchmarks.run import run_case
from benchmarks.sides.message import MESSAGE


def in_this_process(case: Case, side: str, params: Params) -> Measurement:
    if side in case.rivals:
        raise Missing("the environment of the rivals is for measuring only")
    return call(case.name, side, json.loads(json.dumps(dict(params))))


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_every_case_measures_all_its_sides(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))  # reading a configuration adds its folder

    report = run_case(case, "smoke", lambda text: None, in_this_process)

    assert report.failure is None
    if report.notes and not report.rows:
        pytest.skip(report.notes[0])  # the server that it measures with does not answer here
    assert report.rows
    values = [row.figure.median for row in report.rows if not row.what.endswith("growth") and row.figure.unit != "messages"]
    assert all(math.isfinite(value) and value > 0 for value in values)
    assert any(row.reach is not None for row in report.rows)


def test_the_message_has_ten_fields_and_250_bytes() -> None:
    assert len(MESSAGE) == 10
    assert len(json.dumps(MESSAGE, separators=(",", ":"))) == 250


def test_the_log_job_fails_when_the_sides_write_different_records() -> None:
    same: Measurement = {"digest": "a"}
    results = Results({"standpipe": [same], "loop": [{"digest": "b"}], "loop_lazy": [same]})

    with pytest.raises(CaseFailed, match=r"did not write the same records.*loop b"):
        list(CASES["logjob"].rows(results))
