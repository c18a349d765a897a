"""The order of rounds, and what becomes of a case that fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.__main__ import main, output_stem, parse
from benchmarks.case import Case, CaseFailed, Measurement, Missing, Params, Results
from benchmarks.cases import CASES
from benchmarks.figures import Reach, Row
from benchmarks.machine import host_class
from benchmarks.run import run_case


def rows(results: Results) -> Iterator[Row]:
    yield results.rate("ours", "ours", Reach("at least", 100))
    yield results.ratio("ours / theirs", "ours", "theirs", "rate")


def case(name: str = "example", prepare: str | None = None) -> Case:
    sizes: dict[str, Params] = {size: {"rounds": 3, "things": 7} for size in ("full", "quick", "smoke")}
    return Case(name, "An example", "By hand.", ("ours", "theirs"), rows, sizes, prepare)  # type: ignore[arg-type]


class Launched:
    """Answers with made-up measurements, and notes what it was asked."""

    def __init__(self, fails: str = "") -> None:
        self.asked: list[str] = []
        self.folders: set[str] = set()
        self.fails = fails

    def __call__(self, case: Case, side: str, params: Params) -> Measurement:
        self.asked.append(side)
        self.folders.add(params["folder"])
        assert Path(params["folder"]).is_dir()
        if case.name == self.fails:
            raise CaseFailed(f"{case.name}: {side} ended with 1")
        return {"rate": 10.0 * len(self.asked)}


def test_sides_run_by_turns_after_one_preparation() -> None:
    launched = Launched()

    report = run_case(case(prepare="make"), "full", lambda text: None, launched)

    assert launched.asked == ["make"] + ["ours", "theirs"] * 3
    assert report.failure is None


def test_ratios_are_taken_round_by_round() -> None:
    report = run_case(case(), "full", lambda text: None, Launched())

    assert report.rows[1].figure.values == (10 / 20, 30 / 40, 50 / 60)


def test_the_folder_of_a_case_is_shared_by_its_sides_and_gone_afterwards() -> None:
    launched = Launched()

    run_case(case(), "full", lambda text: None, launched)

    assert len(launched.folders) == 1
    assert not Path(launched.folders.pop()).exists()


def test_a_missed_reach_is_no_failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "help", case("help"))

    assert main(["--only", "help"], launch=Launched()) == 0

    printed = capsys.readouterr().out
    assert "NO" in printed
    assert "0 of 1 figures reach what is promised" in printed


def test_a_case_that_fails_is_told_and_the_others_go_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("help", "latency"):
        monkeypatch.setitem(CASES, name, case(name))

    assert main(["--only", "help", "latency"], launch=Launched(fails="help")) == 1

    printed = capsys.readouterr().out
    assert "FAILED: help: ours ended with 1" in printed
    assert "ours / theirs" in printed
    assert "not measured: help" in printed


@pytest.mark.parametrize(
    ("missing", "notes"),
    [
        (("make",), ("all was left out: nobody answers",)),
        (("ours", "theirs"), ("ours was left out: nobody answers", "theirs was left out: nobody answers")),
    ],
)
def test_a_case_whose_server_does_not_answer_has_no_rows_and_says_why(missing: tuple[str, ...], notes: tuple[str, ...]) -> None:
    def launch(case: Case, side: str, params: Params) -> Measurement:
        if side in missing:
            raise Missing("nobody answers")
        return {"rate": 1.0}

    report = run_case(case(prepare="make"), "full", lambda text: None, launch)

    assert (report.failure, report.rows, report.notes) == (None, [], notes)


def test_a_case_that_needs_a_side_that_was_left_out_fails_and_says_which() -> None:
    def launch(case: Case, side: str, params: Params) -> Measurement:
        if side == "theirs":
            raise Missing("nobody answers")
        return {"rate": 1.0}

    report = run_case(case(), "full", lambda text: None, launch)

    assert report.failure == "theirs was left out, and without it nothing can be compared"
    assert report.notes == ("theirs was left out: nobody answers",)


def test_what_became_of_a_side_over_time_is_kept_of_the_last_round() -> None:
    drawn = replace(case(), series=("ours",))
    rounds = iter(range(10))

    report = run_case(drawn, "full", lambda text: None, lambda *_: {"rate": 1.0, "series": {"seconds": [next(rounds)]}})

    assert report.as_dict()["series"] == {"ours": {"seconds": [4]}}
    assert "series" not in run_case(case(), "full", lambda text: None, Launched()).as_dict()


def test_an_unknown_case_is_an_error_of_usage_that_lists_what_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--only", "produces"])

    assert ended.value.code == 2
    assert "produce_many" in capsys.readouterr().err


def test_only_a_full_run_of_all_cases_is_kept_unless_asked(tmp_path: Path) -> None:
    when = datetime(2026, 11, 23, tzinfo=UTC)

    kept = output_stem(parse([]), when)
    assert kept is not None
    assert kept.name == f"2026-11-23-{host_class()}"
    assert output_stem(parse(["--quick"]), when) is None
    assert output_stem(parse(["--only", "help"]), when) is None
    assert output_stem(parse(["--quick", "--output", str(tmp_path / "mine.md")]), when) == tmp_path / "mine"
    assert output_stem(parse(["--output", str(tmp_path / "v1.2")]), when) == tmp_path / "v1.2"
