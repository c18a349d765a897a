from __future__ import annotations

import os
from pathlib import Path

import pytest

from standpipe.spool import owner
from standpipe.spool.files import RealFileSystem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lock").write_text("4711\n")
    return tmp_path


def locks(tmp_path: Path, folder: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `line` all that the operating system says about locks."""
    file = os.stat(folder / "lock")
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
    path = tmp_path / "locks"
    path.write_text(line.format(device=device, inode=file.st_ino) + "\n")
    monkeypatch.setattr(owner, "_LOCKS", path)


@pytest.mark.parametrize(
    ("line", "holder"),
    [
        ("1: FLOCK  ADVISORY  WRITE 815 {device}:{inode} 0 EOF", 815),
        ("1: FLOCK  ADVISORY  WRITE 4711 00:2f:{inode} 0 EOF", 4711),  # another device than the file's, as btrfs has it
        ("1: FLOCK  ADVISORY  WRITE 815 00:2f:{inode} 0 EOF", None),  # a file of the same number on another disk
        ("1: -> FLOCK  ADVISORY  WRITE 815 {device}:{inode} 0 EOF", None),  # waits for it
        ("1: POSIX  ADVISORY  WRITE 815 {device}:{inode} 0 EOF", None),
        ("1: FLOCK  ADVISORY  WRITE -1 {device}:{inode} 0 EOF", 0),
        ("", None),
    ],
)
def test_the_operating_system_is_asked_who_holds_a_lock(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, line: str, holder: int | None
) -> None:
    locks(tmp_path, folder, line, monkeypatch)
    assert owner.owner_of(folder) == holder


def test_where_it_does_not_tell_the_lock_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_LOCKS", tmp_path / "nothing")
    files = RealFileSystem(tmp_path)
    assert owner.owner_of(tmp_path) is None
    assert files.lock("lock") is None
    assert owner.owner_of(tmp_path) == os.getpid()
    files.unlock()
    assert owner.owner_of(tmp_path) is None
