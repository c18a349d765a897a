"""The checkpoint file: one owner, replaced as a whole, never trusted blindly and never thrown away."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standpipe.agents.checkpoint import CheckpointFile
from standpipe.agents.positions import Entry, Remembered, head_hash
from standpipe.core.errors import ConfigurationError


def written(folder: Path, state: dict[str, object]) -> Path:
    checkpoint = CheckpointFile(folder, "a")
    checkpoint.open()
    checkpoint.write(state)
    checkpoint.close()
    return checkpoint.path


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    written(tmp_path, {"files": [{"path": "/var/log/\udcff.log"}]})
    assert CheckpointFile(tmp_path, "a").open() == {"files": [{"path": "/var/log/\udcff.log"}]}


def test_no_checkpoint_is_a_normal_start(tmp_path: Path) -> None:
    checkpoint = CheckpointFile(tmp_path / "new" / "state", "a")
    assert checkpoint.open() is None
    assert not checkpoint.damaged
    checkpoint.close()


def test_nobody_else_can_read_a_checkpoint(tmp_path: Path) -> None:
    path = written(tmp_path / "state", {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_temporary_file_left_by_a_crash_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.json.tmp").write_text("half a che")
    path = written(tmp_path, {"n": 1})
    assert json.loads(path.read_text())["state"] == {"n": 1}
    assert not (tmp_path / "a.json.tmp").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has no content"),
        (b"\0" * 300, "it has no content"),
        (b'{"format": "standpipe-che', "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it is no checkpoint"),
        (b'{"format": "standpipe-checkpoint", "version": 1, "checksum": "0", "state": {}}', "its checksum is wrong"),
    ],
)
def test_a_damaged_checkpoint_is_set_aside(tmp_path: Path, content: bytes, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    checkpoint = CheckpointFile(tmp_path, "a")
    with caplog.at_level(logging.ERROR, "standpipe.agents"):
        assert checkpoint.open() is None
    assert checkpoint.damaged
    assert not path.exists()
    assert (tmp_path / "a.json.corrupt").read_bytes() == content
    assert f"is damaged ({reason}); it was set aside as a.json.corrupt" in caplog.text
    checkpoint.close()


@given(st.data())
def test_a_changed_byte_is_never_taken_for_a_position(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("state")
    state: dict[str, object] = {"files": [{"path": "/a", "offset": 4711}]}
    path = written(folder, state)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    checkpoint = CheckpointFile(folder, "a")
    with contextlib.suppress(ConfigurationError):  # the version may have become a newer one
        assert checkpoint.open() in (None, state)
    checkpoint.close()


def test_damaged_checkpoints_do_not_replace_each_other(tmp_path: Path) -> None:
    for content in ("one", "two"):
        (tmp_path / "a.json").write_text(content)
        checkpoint = CheckpointFile(tmp_path, "a")
        checkpoint.open()
        checkpoint.close()
    assert [path.read_text() for path in sorted(tmp_path.glob("*.corrupt*"))] == ["one", "two"]


def test_a_checkpoint_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"format": "standpipe-checkpoint", "version": 2, "positions": {}}')
    before = path.read_bytes()
    checkpoint = CheckpointFile(tmp_path, "a")
    with pytest.raises(ConfigurationError, match=r"has version 2, this Standpipe knows up to 1; install the newer Standpipe again"):
        checkpoint.open()
    assert path.read_bytes() == before
    checkpoint = CheckpointFile(tmp_path, "a")  # and the lock was released
    with pytest.raises(ConfigurationError, match="has version 2"):
        checkpoint.open()


def test_a_second_owner_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    first = CheckpointFile(tmp_path, "a")
    first.open()
    with pytest.raises(ConfigurationError, match=rf"a\.json is in use by process {os.getpid()}; stop that process, or give"):
        CheckpointFile(tmp_path, "a").open()
    CheckpointFile(tmp_path, "b").open()
    first.close()
    first.close()
    assert CheckpointFile(tmp_path, "a").open() is None


def test_a_state_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigurationError, match=r"agent 'a': cannot use the state folder .*state \(.*\); make it writable"):
        CheckpointFile(tmp_path / "state", "a").open()


def test_a_checkpoint_that_is_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(ConfigurationError, match=r"cannot read its checkpoint .*a\.json"):
        CheckpointFile(tmp_path, "a").open()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"path": "/a"},
        {"path": "/a", "device": 1, "inode": 2, "offset": -1, "head_bytes": 0, "head": ""},
        {"path": 1, "device": 1, "inode": 2, "offset": 3, "head_bytes": 0, "head": ""},
        {"path": "/a", "device": 1, "inode": True, "offset": 3, "head_bytes": 0, "head": ""},
    ],
)
def test_an_entry_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="an entry"):
        Entry.from_json(value)


def test_an_entry_survives_the_way_through_json() -> None:
    entry = Entry("/a", (1, 2), 30, 10, head_hash(b"0123456789"))
    assert Entry.from_json(json.loads(json.dumps(entry.as_json()))) == entry


def test_an_entry_recognises_only_a_file_that_begins_alike_and_is_long_enough() -> None:
    entry = Entry("/a", (1, 2), 30, 10, head_hash(b"0123456789"))
    assert entry.recognises(b"0123456789 and more", 30)
    assert not entry.recognises(b"0123456789 and more", 29)
    assert not entry.recognises(b"012345678X and more", 30)
    assert not entry.recognises(b"012345678", 30)


def test_an_entry_is_found_again_when_the_device_has_another_number() -> None:
    entry = Entry("/a", (1, 2), 30, 10, "")
    assert Remembered([entry]).take((7, 2)) == entry
    assert Remembered([entry, Entry("/b", (3, 2), 1, 1, "")]).take((7, 2)) is None
    assert Remembered([entry]).take((1, 3)) is None
