"""The order in which the spool talks to the disk, call by call: what a crash at the wrong moment would show only now and then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from standpipe.agents.checkpoint import CheckpointFile
from standpipe.delivery.receipt import State
from standpipe.producers.base import BaseProducerConfig
from standpipe.spool.errors import SpoolTooNew
from standpipe.spool.files import RealFileSystem
from standpipe.testing.crashing_files import CrashingFileSystem, Stopped
from tests.unit.cli.destinations import Picky
from tests.unit.spool.logs import opened, payloads, put
from tests.unit.spool.spools import newer_segment

NAMES = ("write", "fdatasync", "fsync", "rename", "replace", "unlink")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is asked of the operating system, in order."""
    noted: list[str] = []

    def noting(name: str) -> None:
        real = getattr(os, name)

        def call(*given: Any, **more: Any) -> Any:
            noted.append(name)
            return real(*given, **more)

        monkeypatch.setattr(os, name, call)

    for name in NAMES:
        noting(name)
    return noted


def test_each_sync_of_a_file_is_one_of_the_disk(tmp_path: Path, calls: list[str]) -> None:
    files = RealFileSystem(tmp_path)
    mapped, log = files.create("a", 100), files.appending("log")
    mapped.write(0, b"x")
    mapped.sync()
    log.sync()
    files.sync("a")
    assert calls == ["fdatasync"] * 3
    files.sync_folder()
    assert calls == ["fdatasync"] * 3 + ["fsync"]
    mapped.close()
    log.close()


def test_a_checkpoint_is_synced_before_it_gets_its_name_and_its_folder_after(tmp_path: Path, calls: list[str]) -> None:
    checkpoint = CheckpointFile(tmp_path, "a")
    checkpoint.open()
    calls.clear()
    checkpoint.write({"offset": 1})
    checkpoint.close()
    assert calls[:4] == ["write", "fsync", "replace", "fsync"]


def test_what_is_written_while_a_sync_goes_on_needs_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(CrashingFileSystem())
    put(spool, b"one")
    sync = spool._disk.sync

    def sync_and_write(files: Any) -> bool:
        done = sync(files)
        put(spool, b"two")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(spool._disk, "sync", sync_and_write)
        spool.commit(1)
    before = spool.statistics().syncs
    spool.commit(1)
    assert spool.statistics().syncs == before
    spool.commit(2)
    assert spool.statistics().syncs > before


def full_segments() -> tuple[CrashingFileSystem, Any]:
    """A spool with three segments of two messages, the last of them open."""
    files = CrashingFileSystem()
    spool = opened(files, 500)
    put(spool, *(b"%d" % n * 150 for n in range(6)))
    spool.sync()
    return files, spool


def test_what_was_settled_is_noted_before_its_segment_is_removed() -> None:
    files, spool = full_segments()
    files.steps.clear()
    spool.settle(0, 2)
    removed = files.steps.index(("remove", "0000000000000000.seg"))
    assert ("append", "positions.log") in files.steps[:removed]


def test_a_process_that_ends_while_a_segment_is_removed_leaves_nothing_unaccounted_for() -> None:
    ended = 0
    for step in range(1, 10):
        files, spool = full_segments()
        files.stop_after(step)
        try:
            spool.settle(0, 2)
        except Stopped:
            ended += 1
        later = opened(files.kill(), 500)
        assert later.recovery.problems == []
        assert later.recovery.backlog in (4, 6)
    assert ended > 2


LEFTOVERS = {"positions.tmp": b"half", "0000000000000009.seg.tmp": b"of it"}


def test_what_a_crash_left_half_made_is_removed_by_the_next_start() -> None:
    files, _ = full_segments()
    later = files.kill()
    for name, data in LEFTOVERS.items():
        later.put(name, data)
    assert len(payloads(opened(later, 500))) == 6
    assert not LEFTOVERS.keys() & set(later.names())


def test_a_newer_version_is_refused_before_anything_is_tidied() -> None:
    files, _ = full_segments()
    later = files.kill()
    for name, data in (LEFTOVERS | {"0000000000000005.seg": newer_segment()}).items():
        later.put(name, data)
    before = later.contents()
    with pytest.raises(SpoolTooNew):
        opened(later, 500)
    assert later.contents() == before


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_that_lives_on_does_not_keep_its_parents_spool(tmp_path: Path) -> None:
    def life() -> Picky:
        settings = {"type": "picky", "name": "test", "queue": {"type": "spool", "path": str(tmp_path / "spool")}}
        producer = Picky(BaseProducerConfig.model_validate(settings))
        assert producer.produce(False, {"n": 1}).wait(20.0) is State.DELIVERED
        return producer

    parent = life()
    until, let_go = os.pipe()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(let_go)
        os.write(tell, b"x")  # it has begun, and let go of what is its parent's
        os.read(until, 1)
        os._exit(0)
    os.close(until)
    os.read(told, 1)
    os.close(told)
    os.close(tell)
    try:
        parent.shutdown(timeout=5.0)
        assert life().shutdown(timeout=5.0).delivered == 1
    finally:
        os.close(let_go)
        os.waitpid(child, 0)
