"""The file producer writes what it was given, all of it, in whole lines, whatever happens to the file."""

from __future__ import annotations

import fcntl
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from standpipe.core.errors import ConfigurationError, NotSent
from standpipe.producers.config import BaseProducerConfig
from standpipe.producers.file import FileProducer, FileProducerConfig
from standpipe.producers.output_file import OutputFile
from tests.unit.producers.reading import everything, producer, records, wait_until


def output_file(path: Path) -> OutputFile:
    return OutputFile(str(path), None, 0o640, None, False, lambda: 1_800_000_000.0)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A write beyond `size` bytes is short, the next one fails: as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- records ----------------------------------------------------------------------------------------------------------


def test_what_is_written_is_what_was_produced_with_is_error(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "app.jsonl"
    with producer(path) as out:
        out.produce(False, {"n": 1, "text": "zwölf\nlines"})
        out.produce(True, {})
        out.produce_many(False, [{}, {"n": 3}])
    assert records(path) == [
        {"is_error": False, "n": 1, "text": "zwölf\nlines"},
        {"is_error": True},
        {"is_error": False},
        {"is_error": False, "n": 3},
    ]
    assert out.statistics().delivered == 4
    assert out.destination == f"file:{path}"


def test_errors_go_to_their_own_file_and_then_nothing_is_added(tmp_path: Path) -> None:
    with producer(tmp_path / "app.jsonl", error_path=str(tmp_path / "errors.jsonl")) as out:
        for number in range(10):
            out.produce(number % 3 == 0, {"n": number})
    assert records(tmp_path / "errors.jsonl") == [{"n": 0}, {"n": 3}, {"n": 6}, {"n": 9}]
    assert [record["n"] for record in records(tmp_path / "app.jsonl")] == [1, 2, 4, 5, 7, 8]


def test_every_metadata_can_be_added_under_a_name_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    names = {"id": "@id", "key": "k", "time": "at", "headers": "headers", "is_error": "failed"}
    with producer(path, fields=names) as out:
        receipt = out.produce(True, {"n": 1, "k": "mine"}, key="a", headers={"x": "1"})
        out.produce(False, {})
    first, second = records(path)
    at = first.pop("at")
    assert first == {"@id": receipt.message_id, "k": "a", "headers": {"x": "1"}, "failed": True, "n": 1}
    assert at.endswith("Z")
    assert at[:2] == "20"
    assert (second["k"], second["headers"]) == (None, None)


@pytest.mark.parametrize("message", [{"is_error": "mine", "n": 1}, {"deep": {"is_error": 5}, "n": 1}, {"text": '"is_error":'}])
def test_a_field_of_that_name_in_the_message_never_makes_a_record_with_two(tmp_path: Path, message: dict[str, Any]) -> None:
    path = tmp_path / "app.jsonl"
    with producer(path) as out:
        out.produce_many(True, [message, {"n": 2}])
    assert records(path) == [{**message, "is_error": True}, {"n": 2, "is_error": True}]
    top_level = path.read_bytes().split(b"\n")[0].replace(b'{"is_error":5}', b"").replace(b'\\"is_error\\":', b"")
    assert top_level.count(b'"is_error":') == 1


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_messages = st.lists(
    st.tuples(st.booleans(), st.dictionaries(st.text(max_size=8) | st.just("is_error"), _values, max_size=4)), min_size=1, max_size=6
)


@given(_messages)
@settings(max_examples=80)
def test_any_message_is_read_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, messages: list[tuple[bool, dict[str, Any]]]) -> None:
    path = tmp_path_factory.mktemp("any") / "app.jsonl"
    with producer(path) as out:
        for is_error, message in messages:
            out.produce(is_error, message)
    assert records(path) == [{**message, "is_error": is_error} for is_error, message in messages]


# --- the file underneath ----------------------------------------------------------------------------------------------


def test_a_file_renamed_by_others_is_noticed_and_no_record_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    with producer(path) as out:
        for number in range(40):
            out.produce(False, {"n": number})
            out.flush(10)
            if number % 10 == 9:
                path.rename(tmp_path / f"app.jsonl.2026112{number // 10}T000000Z-0000")
    assert [record["n"] for record in everything(tmp_path)] == list(range(40))
    assert not path.exists()


def test_a_file_replaced_by_another_is_left_for_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    with producer(path, fields=[]) as out:
        out.produce(False, {"n": 1}).wait(10)
        path.rename(tmp_path / "old.jsonl")
        path.write_bytes(b"")
        out.produce(False, {"n": 2})
    assert records(tmp_path / "old.jsonl") == [{"n": 1}]
    assert records(path) == [{"n": 2}]


def test_the_file_is_locked_while_it_is_written_and_only_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "app.jsonl"
    file = output_file(path)
    file.open()
    refused: list[bool] = []
    real = os.write

    def while_another_wants_to_write(descriptor: int, data: bytes) -> int:
        refused.append(not _can_lock(path))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", while_another_wants_to_write)
    assert file.write(b"{}\n", False) == (1, None)
    assert refused == [True]
    assert _can_lock(path)
    file.close()


def _can_lock(path: Path) -> bool:
    with path.open("rb") as other:
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_a_deleted_file_and_its_folder_are_made_again(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "app.jsonl"
    with producer(path) as out:
        out.produce(False, {"n": 1}).wait(10)
        path.unlink()
        path.parent.rmdir()
        out.produce(False, {"n": 2})
    assert [record["n"] for record in records(path)] == [2]


def test_two_producers_may_write_to_one_file_and_rotate_it(tmp_path: Path) -> None:
    rotate = {"max_bytes": 2000}
    with producer(tmp_path / "app.jsonl", rotate=rotate) as one, producer(tmp_path / "app.jsonl", rotate=rotate) as two:
        for number in range(300):
            (one if number % 2 else two).produce(False, {"n": number})
    assert sorted(record["n"] for record in everything(tmp_path)) == list(range(300))


@pytest.mark.parametrize(
    ("tail", "content", "torn"),
    [
        (b'{"n":2,"te', b"", b'{"n":2,"te\n'),
        (b'{"n":2}', b'{"n":2}\n', None),
        (b"written by hand", b"written by hand\n", None),
        (b'{"n":"' + b"x" * 200_000, b"", b'{"n":"' + b"x" * 200_000 + b"\n"),
    ],
    ids=["torn", "whole", "foreign", "long"],
)
def test_a_last_line_torn_by_a_crash_is_never_joined_with_the_next_record(
    tmp_path: Path, tail: bytes, content: bytes, torn: bytes | None
) -> None:
    path = tmp_path / "app.jsonl"
    path.write_bytes(b'{"n":1}\n' + tail)
    with producer(path, fields=[]) as out:
        out.produce(False, {"n": 3})
    assert path.read_bytes() == b'{"n":1}\n' + content + b'{"n":3}\n'
    aside = tmp_path / "app.jsonl.torn"
    assert (aside.read_bytes() if aside.exists() else None) == torn


def test_a_line_torn_by_another_program_meanwhile_is_mended_too(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    with producer(path, fields=[]) as out:
        out.produce(False, {"n": 1}).wait(10)
        with path.open("ab") as other:
            other.write(b'{"half":')
        out.produce(False, {"n": 2})
    assert records(path) == [{"n": 1}, {"n": 2}]
    assert (tmp_path / "app.jsonl.torn").read_bytes() == b'{"half":\n'


def test_a_write_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    file = output_file(path)
    assert file.write(b'{"n":1}\n', False) == (1, None)
    with files_no_larger_than(100):
        written, error = file.write(b'{"n":2}\n' * 50, False)
    assert written == 0
    assert isinstance(error, NotSent)
    assert str(error) == f"cannot write to {str(path)!r}: File too large"
    assert path.read_bytes() == b'{"n":1}\n'
    assert file.write(b'{"n":3}\n', False) == (1, None)
    file.close()
    assert records(path) == [{"n": 1}, {"n": 3}]


def test_a_full_disk_is_waited_out_and_every_message_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    with producer(path) as out:
        with files_no_larger_than(2000):
            for number in range(500):
                out.produce(False, {"n": number})
            wait_until(lambda: out.statistics().retries > 3)
            assert path.stat().st_size <= 2000
        assert out.flush(20) == 0
    # Without keys there is no order to keep: what came while the first batch waited may have passed it.
    assert sorted(record["n"] for record in records(path)) == list(range(500))
    assert out.statistics().possible_duplicates == 0


@pytest.mark.parametrize("sync", ["none", "batch", "interval"])
def test_every_way_to_sync_writes_the_same(tmp_path: Path, sync: str) -> None:
    path = tmp_path / "app.jsonl"
    with producer(path, sync=sync, sync_interval="10ms") as out:
        for number in range(100):
            out.produce(False, {"n": number})
            if number % 25 == 0:
                out.flush(10)
    assert [record["n"] for record in records(path)] == list(range(100))


def test_records_are_synced_in_the_background_within_the_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync
    path = tmp_path / "app.jsonl"
    with producer(path, sync="interval", sync_interval="20ms") as out:
        out.produce(False, {"n": 1}).wait(10)

        def watched(descriptor: int) -> None:
            synced.append(os.fstat(descriptor).st_ino)
            real(descriptor)

        monkeypatch.setattr(os, "fsync", watched)
        inode = path.stat().st_ino
        out.produce(False, {"n": 2}).wait(10)
        wait_until(lambda: inode in synced)


def test_new_files_have_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with producer(tmp_path / "logs" / "app.jsonl", mode="0604") as out:
            out.produce(False, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "logs" / "app.jsonl").stat().st_mode) == 0o604
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o750


def _make_pipe(path: Path) -> None:
    os.mkfifo(path)


def _link_to_device(path: Path) -> None:
    path.symlink_to("/dev/full")


@pytest.mark.parametrize(("make", "what"), [(_make_pipe, "a pipe"), (_link_to_device, "a device or terminal"), (Path.mkdir, "a folder")])
def test_what_is_no_regular_file_is_refused_with_the_remedy(tmp_path: Path, make: Any, what: str) -> None:
    path = tmp_path / "target"
    make(path)
    out = FileProducer(FileProducerConfig(name="out", path=str(path)))
    with pytest.raises(ConfigurationError, match=f"is {what}; only regular files are written to: name another path"):
        out._connect()
    assert out._files is None


def test_a_link_that_the_user_named_is_followed(tmp_path: Path) -> None:
    (tmp_path / "app.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    with producer(tmp_path / "app.jsonl", fields=[]) as out:
        out.produce(False, {"n": 1})
    assert records(tmp_path / "elsewhere.jsonl") == [{"n": 1}]


def test_a_forked_child_writes_through_files_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    with producer(path, rotate={"max_bytes": 10**6, "gzip": True}) as out:
        out.produce(False, {"from": "parent"}).wait(10)
        child = os.fork()
        if child == 0:
            with out:
                out.produce(False, {"from": "child"})
            os._exit(0 if out.statistics().delivered == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
        out.produce(False, {"from": "parent again"})
    assert [record["from"] for record in records(path)] == ["parent", "child", "parent again"]


def test_closing_twice_and_without_connecting_is_fine(tmp_path: Path) -> None:
    out = producer(tmp_path / "app.jsonl")
    out._close()
    out._connect()
    out._close()
    out._close()


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"path": ""}, "the path is empty"),
        ({"path": "logs/"}, "names a folder; add a file name"),
        ({"path": "a\x00b"}, "contains a NUL"),
        ({"error_path": "a.jsonl"}, "path and error_path are the same; leave error_path out"),
        ({"mode": 640}, "640 is not a file mode; write three octal digits in quotes"),
        ({"mode": "0999"}, "is not a file mode"),
        ({"mode": "0040"}, "would keep the owner from reading and writing"),
        ({"fields": ["is_error", "is_error"]}, "each field needs a name of its own"),
        ({"fields": {"id": 'a"b'}}, "cannot name a field in a record"),
        ({"fields": ["colour"]}, "Input should be 'is_error', 'id'"),
        ({"missing": "../x"}, "cannot stand in a path"),
        ({"rotate": {}}, "nothing says when to rotate; give max_bytes, or every"),
        ({"rotate": {"every": "fortnight"}}, "neither 'hour' nor 'day' nor a duration"),
        ({"rotate": {"every": "10ms"}}, "is too short; rotate every second"),
        ({"rotate": {"max_bytes": 0}}, "greater than or equal to 1"),
        ({"sync": "always"}, "Input should be 'none', 'batch' or 'interval'"),
    ],
)
def test_a_bad_setting_is_refused_with_the_remedy(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        FileProducerConfig(name="out", **{"path": "a.jsonl", **settings})
    assert problem in str(caught.value)


def test_every_setting_is_described() -> None:
    properties = FileProducerConfig.model_json_schema()["properties"]
    assert [name for name, field in properties.items() if not field.get("description")] == []


def test_another_configuration_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="FileProducer needs a FileProducerConfig, not BaseProducerConfig"):
        FileProducer(BaseProducerConfig(type="file", name="x"))  # type: ignore[arg-type]


def test_numbers_are_kept_to_the_last_digit_in_records_with_a_name_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "app.jsonl"
    with producer(path) as out:
        out.produce(False, {"is_error": 1, "big": 2**63 - 1, "exact": 0.1 + 0.2})
    assert orjson.loads(path.read_bytes()) == {"is_error": False, "big": 2**63 - 1, "exact": 0.1 + 0.2}
