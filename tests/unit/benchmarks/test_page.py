"""The page about performance, and the pictures on it, are what the records say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as command
from benchmarks import page
from benchmarks.case import Case, Measurement, Missing, Params
from benchmarks.cases import CASES
from benchmarks.picture import linear, logarithmic, steps
from benchmarks.record import DESTINATION, destinations, newest
from benchmarks.report import write
from benchmarks.run import CaseReport, run_case

DESTINATIONS = [case for case in CASES.values() if case.name.startswith(DESTINATION)]
MACHINE = {
    "cpu": "Example & Sons 9000", "cores": 2, "memory_gib": 8.0, "system": "Linux", "architecture": "x86_64", "kernel": "6.0",
    "python": "CPython 3.11.7", "packages": {"standpipe": "0.1.0"}, "rivals": {"httpx": "0.28.1"}, "commit": "abcdef", "load_before": 0.1,
}  # fmt: skip
SERIES = {"seconds": [0.1, 2.0, 5.0, 9.9], "waiting": [0, 5, 20_000, 0], "memory": [50, 50, 60, 55], "p99": [20.0, 15.0, 12.5, 200.0]}
SVG = "{http://www.w3.org/2000/svg}"


class Measured(dict[str, Any]):
    """A measurement in which everything that is asked for is 4."""

    def __missing__(self, name: str) -> float:
        return 4.0


def measured(case: Case, rates: Mapping[str, float] | None = None, missing: Mapping[str, str] | None = None) -> CaseReport:
    """`case` in full size with the `rates` of sides (others: 4 messages a second), and with sides that are `missing`."""
    turn: dict[str, int] = {}

    def launch(case: Case, side: str, params: Params) -> Measurement:
        if side in (missing or {}):
            raise Missing((missing or {})[side])
        turn[side] = turn.get(side, 0) + 1
        rate = (rates or {}).get(side, 4.0) * (1 + turn[side] / 100)
        return Measured(rate=rate, cpu_us=7.5, peak=44.4, lost=0, duplicates=0, series=SERIES)

    return run_case(case, "full", lambda text: None, launch)


def record(folder: Path, name: str, *reports: CaseReport, when: str = "2026-11-23 18:00 UTC", size: str = "full") -> None:
    write(folder / name, reports, MACHINE, when, size)


@pytest.mark.parametrize("case", DESTINATIONS, ids=lambda case: case.name)
def test_every_destination_measures_what_the_page_shows(case: Case, tmp_path: Path) -> None:
    record(tmp_path, "all", measured(case))

    [found] = destinations(newest(tmp_path).values())

    assert found.shares
    assert all(share.memory.least is not None and share.memory.least < 1 for share in found.shares)
    assert any(share.spool is not None and share.spool_of_memory is not None for share in found.shares)
    assert len(found.rivals) >= len(case.rivals)
    assert any(client.ours for client in found.clients)
    assert len([client for client in found.clients if not client.ours]) > len(case.rivals)


def test_page_and_pictures_are_made_of_a_record(tmp_path: Path) -> None:
    rates = {"standpipe": 9500.0, "aiohttp_tasks": 10_000.0, "standpipe_spool": 7600.0, "requests_threads": 1900.0}
    record(tmp_path, "all", measured(CASES["destination_http"], rates), measured(CASES["outage"]))

    made = page.make(tmp_path)

    assert list(made) == ["performance.md", "performance-share.svg", "performance-rivals.svg", "performance-outage.svg"]
    text = made["performance.md"]
    assert "| HTTP | as it comes | aiohttp | 0.95 | 0.9 | 0.76 | 0.80 | 0.7 |" in text
    assert "| HTTP | requests in threads | 5x | 5 ... 5 | yes |" in text
    assert "| aiohttp | 10,300 | 7.5 | 44.4 |" in text
    assert "| missing | 0 messages | 0 messages |" in text
    assert "Example & Sons 9000, 2 cores, 8.0 GiB" in text
    assert "httpx 0.28.1" in text
    assert all(f"]({name})" in text for name in made if name.endswith(".svg"))


def test_the_short_table_has_a_line_for_each_destination(tmp_path: Path) -> None:
    rates = {"standpipe": 9500.0, "aiohttp_tasks": 10_000.0, "standpipe_spool": 7600.0, "requests_threads": 1900.0, "httpx_async": 100}
    record(tmp_path, "all", measured(CASES["destination_http"], rates))

    lines = page.short(tmp_path).split("\n")

    assert lines[1:] == ["| --- | --- | --: | --: | --- |", "| HTTP | aiohttp | 0.95 | 0.76 | httpx 95x, requests in threads 5x |", ""]


def test_pictures_stand_alone_and_say_what_when_and_where_they_measured(tmp_path: Path) -> None:
    record(tmp_path, "all", measured(CASES["destination_http"]), measured(CASES["outage"]))

    for name, picture in page.make(tmp_path).items():
        if name.endswith(".svg"):
            words = [piece.text or "" for piece in ElementTree.fromstring(picture).iter(f"{SVG}text")]
            assert any(re.search(r"messages|produce\(\)", text) for text in words), name
            assert any("Example & Sons 9000, 2 cores" in text and "rounds" in text and "2026-11-23 18:00 UTC" in text for text in words), (
                name
            )
            assert "prefers-color-scheme: dark" in picture
            assert re.findall(r"(?:href|src|url\()", picture) == []
            assert "nan" not in picture


def test_what_is_promised_and_not_reached_is_said(tmp_path: Path) -> None:
    rates = {"standpipe": 2.0, "httpx_async": 8.0}
    record(tmp_path, "all", measured(CASES["destination_http"], rates))

    text = page.make(tmp_path)["performance.md"]

    assert "| 0.50 | 0.9, **not reached** |" in text
    assert "| HTTP | httpx | 0.25x | 0.25 ... 0.25 | **no** |" in text


def test_rivals_servers_and_outage_may_be_missing(tmp_path: Path) -> None:
    without_rivals = measured(CASES["destination_http"], missing={"httpx_async": "no network", "requests_threads": "no network"})
    kafka = CASES["destination_kafka"]
    without_server = measured(kafka, missing=dict.fromkeys([*kafka.sides, *kafka.rivals], "nobody answers at localhost:9092"))
    failed = replace(measured(CASES["destination_postgres"]), rows=[], failure="destination_postgres: standpipe ended with 1:\nTraceback")
    record(tmp_path, "all", without_rivals, without_server, failed)

    made = page.make(tmp_path)

    assert list(made) == ["performance.md", "performance-share.svg"]
    assert "Against other clients" not in made["performance.md"]
    assert "Not measured: httpx_async was left out: no network." in made["performance.md"]
    assert "- Kafka: nobody answers at localhost:9092\n" in made["performance.md"]
    assert "- PostgreSQL: destination_postgres: standpipe ended with 1\n" in made["performance.md"]


def test_a_quick_run_is_shown_where_there_is_no_other_and_is_called_one(tmp_path: Path) -> None:
    record(tmp_path, "all", measured(CASES["destination_http"]), size="quick")

    made = page.make(tmp_path)

    assert "**A quick run: small sizes, few rounds, rough figures.**" in made["performance.md"]
    assert "5 rounds (a quick run)" in made["performance-share.svg"]


def test_each_case_is_shown_by_its_newest_record_of_full_size_that_has_figures(tmp_path: Path) -> None:
    http, kafka = CASES["destination_http"], CASES["destination_kafka"]
    record(tmp_path, "b", measured(http), measured(kafka), when="2026-11-23 18:00 UTC")
    record(tmp_path, "a", measured(http), when="2026-11-24 09:00 UTC")
    record(tmp_path, "c", measured(http), when="2026-11-25 09:00 UTC", size="quick")
    record(tmp_path, "d", measured(kafka, missing={"broker": "none"}), when="2026-11-26 09:00 UTC")

    found = newest(tmp_path)

    assert "quick run" not in page.make(tmp_path)["performance.md"]
    assert {name: each.run.date for name, each in found.items()} == {http.name: "2026-11-24 09:00 UTC", kafka.name: "2026-11-23 18:00 UTC"}


def test_without_a_record_there_is_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="measure one: python -m benchmarks --only destination_http"):
        page.make(tmp_path)

    monkeypatch.setattr(page, "make", lambda *_: (_ for _ in ()).throw(ValueError("no record")))
    assert command.main(["--page"]) == 1
    assert "the page about performance was not made: no record" in capsys.readouterr().err


def test_page_and_pictures_in_docs_are_those_that_the_records_make() -> None:
    made = page.make()

    in_docs = {path.name for path in page.PAGE.parent.glob("performance*")}
    assert in_docs == set(made)
    for name, text in made.items():
        assert (page.PAGE.parent / name).read_text("utf-8") == text, f"{name} is not what the records say: python -m benchmarks --page"


@pytest.mark.parametrize(
    ("high", "marks"),
    [(1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (1.9, [0, 0.5, 1, 1.5, 2]), (20_001, [0, 5000, 10_000, 15_000, 20_000, 25_000])],
)
def test_marks_of_an_axis_are_round_numbers_that_reach_the_highest_value(high: float, marks: list[float]) -> None:
    assert list(steps(high)) == pytest.approx(marks)


def test_a_share_that_is_too_large_to_be_shown_is_cut_off_with_an_arrow(tmp_path: Path) -> None:
    record(tmp_path, "all", measured(CASES["destination_http"], {"standpipe": 80.0, "aiohttp_tasks": 10.0, "standpipe_spool": 8.0}))

    picture = page.make(tmp_path)["performance-share.svg"]

    assert ">8.00 \N{RIGHTWARDS ARROW}<" in picture
    assert ">0.80<" in picture
    assert max(float(x) for x in re.findall(r' x[12]?="([0-9.]+)"', picture)) < 900


def test_scales_place_values_between_their_ends() -> None:
    assert [linear(0, 10, 100, 200)(value) for value in (-1, 0, 5, 10, 11)] == [100, 100, 150, 200, 200]
    assert [round(logarithmic(1, 100, 0, 10)(value), 6) for value in (0.1, 1, 10, 100, 101)] == [0, 0, 5, 10, 10]
