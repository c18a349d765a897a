"""Rotation renames and compresses files; every record stays in exactly one of them."""

from __future__ import annotations

import fcntl
import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from standpipe.core.payload import encode
from standpipe.delivery.batch import Batch
from standpipe.delivery.receipt import Origin, Receipt
from standpipe.producers.file import FileProducer, FileProducerConfig
from standpipe.producers.rotated_files import Interrupted, tidy
from standpipe.producers.rotation import RotateConfig, is_due, is_rotated, rotated_name, too_many
from standpipe.testing.clock import ManualClock
from tests.unit.producers.reading import everything, producer, records, wait_until

NOON = 1_800_000_000.0 // 86400 * 86400 + 43200
DAY = 86400.0


def tidy_folder(folder: Path, config: RotateConfig, stopping: Any = lambda: False) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        tidy(descriptor, "app.jsonl", config, stopping)
    finally:
        os.close(descriptor)


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "size", "adding", "last", "now", "due"),
    [
        ({"max_bytes": 100}, 90, 10, NOON, NOON, False),
        ({"max_bytes": 100}, 91, 10, NOON, NOON, True),
        ({"max_bytes": 100}, 0, 1000, NOON, NOON, False),
        ({"every": "day"}, 1, 1, NOON, NOON + DAY / 2 - 1, False),
        ({"every": "day"}, 1, 1, NOON, NOON + DAY / 2, True),
        ({"every": "day"}, 0, 1, NOON, NOON + 3 * DAY, False),
        ({"every": "day"}, 1, 1, NOON, NOON - DAY, False),
        ({"every": "hour"}, 1, 1, NOON + 3599, NOON + 3600, True),
        ({"every": "15m"}, 1, 1, NOON, NOON + 899, False),
        ({"every": "15m", "max_bytes": 5}, 4, 2, NOON, NOON, True),
    ],
)
def test_a_file_is_rotated_when_it_would_get_too_large_or_a_period_is_over(
    settings: dict[str, Any], size: int, adding: int, last: float, now: float, due: bool
) -> None:
    assert is_due(RotateConfig(**settings), size, adding, last, now) is due


def test_rotated_names_sort_in_the_order_of_rotation_even_when_the_clock_is_set_back() -> None:
    names: list[str] = []
    for now in (NOON, NOON, NOON + 0.5, NOON + 10, NOON - 3600, NOON + 10.9, NOON + 11):
        names.append(rotated_name("app.jsonl", [*names, "app.jsonl", "app.jsonl.torn", "other.20990101T000000Z-0000"], now))
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    assert names[0] == "app.jsonl.20270115T120000Z-0000"
    assert all(is_rotated("app.jsonl", name) for name in names)


def test_more_rotations_in_a_second_than_there_are_numbers_take_the_next_second() -> None:
    assert rotated_name("a", ["a.20270115T120000Z-9999.gz"], NOON) == "a.20270115T120001Z-0000"


def test_a_file_and_its_compressed_copy_count_as_one_that_is_kept() -> None:
    names = ["a", "a.20270115T120000Z-0000", "a.20270115T120000Z-0000.gz", "a.20270115T120001Z-0000.gz", "a.20270115T120002Z-0000", "ab.gz"]
    assert too_many("a", names, 2) == ["a.20270115T120000Z-0000", "a.20270115T120000Z-0000.gz"]
    assert too_many("a", names, 3) == []


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_every_record_is_in_exactly_one_file_after_many_rotations(tmp_path: Path, compress: bool) -> None:
    with producer(tmp_path / "app.jsonl", fields=[], rotate={"max_bytes": 1000, "gzip": compress}) as out:
        for start in range(0, 2000, 100):
            out.produce_many(False, [{"n": number} for number in range(start, start + 100)])
            out.flush(10)
        if compress:
            wait_until(lambda: sum("Z-" in path.name and path.suffix != ".gz" for path in tmp_path.iterdir()) == 0)
    assert [record["n"] for record in everything(tmp_path)] == list(range(2000))
    rotated = [path for path in tmp_path.iterdir() if path.name != "app.jsonl"]
    assert len(rotated) > 15
    assert all(path.name.endswith(".gz") == compress for path in rotated)
    assert all(path.suffix == ".gz" or path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_a_record_larger_than_the_limit_gets_a_file_of_its_own(tmp_path: Path) -> None:
    with producer(tmp_path / "app.jsonl", fields=[], rotate={"max_bytes": 50}) as out:
        out.produce_many(False, [{"n": 1}, {"n": 2, "text": "x" * 100}, {"n": 3}])
    assert [
        [record["n"] for record in records(path)] for path in sorted(tmp_path.iterdir(), key=lambda path: (len(path.name) < 20, path))
    ] == [
        [1],
        [2],
        [3],
    ]


def test_a_new_day_begins_a_new_file_at_its_first_message(tmp_path: Path) -> None:
    clock = ManualClock(wall=NOON)
    out = FileProducer(FileProducerConfig(name="out", path=str(tmp_path / "app.jsonl"), rotate={"every": "day"}), clock=clock)
    out._connect()
    for day in range(3):
        _write_now(out, {"day": day})
        _write_now(out, {"day": day})
        clock.jump_wall(DAY)
    out._close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "app.jsonl",
        "app.jsonl.20270116T120000Z-0000",
        "app.jsonl.20270117T120000Z-0000",
    ]
    assert [record["day"] for record in everything(tmp_path)] == [0, 0, 1, 1, 2, 2]


def test_a_file_left_from_yesterday_is_rotated_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    path.write_bytes(b'{"n":1}\n')
    os.utime(path, (NOON - DAY, NOON - DAY))
    out = FileProducer(FileProducerConfig(name="out", path=str(path), fields=[], rotate={"every": "day"}), clock=ManualClock(wall=NOON))
    out._connect()
    _write_now(out, {"n": 2})
    out._close()
    assert records(path) == [{"n": 2}]
    assert records(tmp_path / "app.jsonl.20270115T120000Z-0000") == [{"n": 1}]


def test_only_the_latest_files_are_kept_when_asked_for(tmp_path: Path) -> None:
    with producer(tmp_path / "app.jsonl", fields=[], rotate={"max_bytes": 100, "keep": 2}) as out:
        for number in range(100):
            out.produce(False, {"n": number})
            out.flush(10)
    kept = everything(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    assert [record["n"] for record in kept] == list(range(100 - len(kept), 100))


def test_a_folder_that_forbids_renaming_loses_nothing(tmp_path: Path) -> None:
    """What stands in the way here: the rotated name would be too long for the file system, the file's own is not."""
    path = tmp_path / ("a" * 250)
    with producer(path, fields=[], rotate={"max_bytes": 20}) as out:
        for number in range(10):
            out.produce(False, {"n": number})
    assert [record["n"] for record in records(path)] == list(range(10))


# --- compressing ------------------------------------------------------------------------------------------------------

GZIP = RotateConfig(max_bytes=1, gzip=True)
ROTATED = "app.jsonl.20270115T120000Z-0000"


def test_a_compressed_file_keeps_content_mode_and_time(tmp_path: Path) -> None:
    (tmp_path / ROTATED).write_bytes(b'{"n":1}\n' * 100_000)
    (tmp_path / ROTATED).chmod(0o604)
    os.utime(tmp_path / ROTATED, (NOON, NOON))
    tidy_folder(tmp_path, GZIP)
    packed = tmp_path / f"{ROTATED}.gz"
    assert [path.name for path in tmp_path.iterdir()] == [packed.name]
    assert gzip.decompress(packed.read_bytes()) == b'{"n":1}\n' * 100_000
    assert (packed.stat().st_mode & 0o777, packed.stat().st_mtime) == (0o604, NOON)


def test_what_a_crash_left_behind_is_done_again_from_the_original(tmp_path: Path) -> None:
    (tmp_path / ROTATED).write_bytes(b'{"n":1}\n')
    (tmp_path / f"{ROTATED}.gz.tmp").write_bytes(b"half")
    (tmp_path / f"{ROTATED}.gz").write_bytes(gzip.compress(b'{"n":1}\n'))
    (tmp_path / "app.jsonl.20270115T120000Z-0001.gz.tmp").write_bytes(b"half of nothing")
    with producer(tmp_path / "app.jsonl", rotate={"max_bytes": 1000, "gzip": True}) as out:
        out.start()
        wait_until(lambda: sorted(path.name for path in tmp_path.iterdir()) == ["app.jsonl", f"{ROTATED}.gz"])
    assert records(tmp_path / f"{ROTATED}.gz") == [{"n": 1}]


def test_interrupted_compressing_leaves_the_original_alone(tmp_path: Path) -> None:
    (tmp_path / ROTATED).write_bytes(os.urandom(2**20))
    steps = iter([False, False, True])
    with pytest.raises(Interrupted):
        tidy_folder(tmp_path, GZIP, lambda: next(steps))
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [(ROTATED, 2**20)]


def test_a_file_that_another_process_compresses_is_left_to_it(tmp_path: Path) -> None:
    (tmp_path / ROTATED).write_bytes(b'{"n":1}\n')
    with (tmp_path / ROTATED).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        tidy_folder(tmp_path, GZIP)
        assert [path.name for path in tmp_path.iterdir()] == [ROTATED]


def test_a_link_in_place_of_a_rotated_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / ROTATED).symlink_to(tmp_path / "secret")
    tidy_folder(tmp_path, GZIP)
    assert not (tmp_path / f"{ROTATED}.gz").exists()
    assert (tmp_path / "secret").read_bytes() == b"secret"


def _write_now(out: FileProducer, message: dict[str, Any]) -> None:
    """Send one message here and now, at the time of the producer's clock."""
    receipt = Receipt(Origin("out", "x", out._time), False, encode(message), 1, 1, None, out._time.monotonic())
    assert out._send_batch(Batch([(receipt, 0, 1)], 1)) == Batch([(receipt, 0, 1)], 1).delivered()
