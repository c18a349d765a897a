from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from standpipe.cli.demo_count import Arrivals, Count, count_independently
from standpipe.cli.demo_setup import Scene
from standpipe.cli.demo_visits import VisitLog, number_in, numbered

COMPLETE = Count(package_lines=2, package_lines_now=2, packages_arrived=2, visits=4, visits_arrived=4, repeated=0, archived=4, alerts=2)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    log = tmp_path / "dpkg.log"
    log.write_text("a\nb\n")
    (tmp_path / "visits.log").write_text("1\n2\n3\n4\n")
    return Scene(tmp_path, log, True, log_lines=2, seconds=1)


def _archive(scene: Scene, *users: str | None) -> None:
    with closing(sqlite3.connect(scene.archive)) as database:
        database.execute("create table if not exists messages (user)")
        database.executemany("insert into messages values (?)", [(user,) for user in users])
        database.commit()


def test_rows_and_lines_are_counted_in_the_files(scene: Scene) -> None:
    _archive(scene, None, None, "visit-1", "visit-3")
    alerts = [{"user": "visit-2", "code": 500}, {"message": "visit-4 worker process 31 exited", "parse_error": "no match"}]
    scene.alerts.write_text("".join(json.dumps(alert) + "\n" for alert in alerts))
    count = count_independently(scene)
    assert count == COMPLETE
    assert count.nothing_is_missing


def test_a_visit_that_arrived_twice_makes_up_for_no_other(scene: Scene) -> None:
    _archive(scene, None, None, "visit-1", "visit-1", "visit-3")
    scene.alerts.write_text('{"user": "visit-4"}\n')
    count = count_independently(scene)
    assert (count.visits_arrived, count.repeated) == (3, 1)
    assert not count.nothing_is_missing


def test_half_a_line_has_not_arrived(scene: Scene) -> None:
    scene.alerts.write_text('{"user": "visit-1"}\n{"user": "visit-2')
    assert count_independently(scene).visits_arrived == 1


def test_before_anything_has_arrived_there_is_nothing_to_count(scene: Scene) -> None:
    count = count_independently(scene)
    assert (count.archived, count.alerts, count.visits_arrived, count.packages_arrived) == (0, 0, 0, 0)
    assert not scene.archive.exists(), "looking makes no database"
    assert not count.nothing_is_missing


@pytest.mark.parametrize(
    ("change", "fine"),
    [
        ({}, True),
        ({"visits_arrived": 3}, False),
        ({"visits_arrived": 5}, False),
        ({"repeated": 7}, True),
        ({"packages_arrived": 1}, False),
        ({"packages_arrived": 3}, False),
        ({"packages_arrived": 3, "package_lines_now": 4}, True),
    ],
)
def test_nothing_is_missing_only_if_each_line_is_there(change: dict[str, int], fine: bool) -> None:
    assert replace(COMPLETE, **change).nothing_is_missing is fine


def test_everything_has_arrived_when_each_number_is_there(scene: Scene) -> None:
    arrivals = Arrivals(scene)
    _archive(scene, None, "visit-1", "visit-1", "visit-2")
    arrivals.look()
    assert (arrivals.archived, arrivals.packages, arrivals.alerts) == (4, 1, 0)
    assert not arrivals.visits(3), "three lines, but two of them are the same visit"
    _archive(scene, "visit-3")
    arrivals.look()
    assert arrivals.visits(3)


@pytest.mark.parametrize(
    "line",
    [
        '1.2.3.4 - - [24/Nov/2026:13:04:05 +0000] "GET / HTTP/1.1" 200 1 "-" "curl"',
        "worker process 31 exited on signal 11",
        '- - - [] "" 000 -',
        '10.0.0.1 - - [broken "GET',
        "\x16\x03\x01\x00\xee",
        "{}",
    ],
)
def test_the_number_of_a_visit_can_be_read_off_its_line(line: str) -> None:
    assert number_in(line) is None
    assert number_in(numbered(line, 4711)) == 4711


def test_the_access_log_has_each_number_once_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "visits.log"
    log = VisitLog(path, 500, 1e6)
    log.start()
    log.join(10)
    numbers = [number_in(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert numbers == list(range(1, 501))
    assert log.written == 500
    log.stop()


def test_a_stopped_access_log_says_how_many_lines_it_has(tmp_path: Path) -> None:
    path = tmp_path / "visits.log"
    log = VisitLog(path, 10**6, 1000)
    log.start()
    log.stop()
    assert path.read_text(encoding="utf-8").count("\n") == log.written < 10**6
