from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from standpipe.producers.disk_findings import disk_findings, file_system_of
from tests.unit.cli.conftest import Call

Write = Callable[[str], Path]

PATIENTS = """\
import threading

from pydantic import SecretStr
from standpipe import BaseProducer, BaseProducerConfig
from standpipe.core.errors import Misconfigured
from standpipe.core.finding import Finding, Severity

RELEASED = threading.Event()


class Config(BaseProducerConfig):
    token: SecretStr = SecretStr("hush-hush")


class Ill(BaseProducer):
    config_model = Config

    def examine(self):
        return [
            Finding(Severity.INFO, "the protocol is new", "all is well", ""),
            Finding(Severity.CRITICAL, "token hush-hush is shown", "everybody sees it", "hide it"),
        ]

    def _connect(self):
        raise AssertionError("the doctor starts nothing")

    def _send(self, is_error, message): ...

    def _close(self): ...


class Gone(Ill):
    def examine(self):
        raise ConnectionRefusedError("nobody there, token hush-hush")


class Refusing(Ill):
    def examine(self):
        raise Misconfigured(message="the broker refuses the token hush-hush; correct it")


class Hanging(Ill):
    def examine(self):
        RELEASED.wait(60)
        return []
"""


@pytest.fixture
def patients(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "patients.py").write_text(PATIENTS)
    yield
    module = sys.modules.pop("patients", None)
    if module is not None:
        module.RELEASED.set()


def test_a_sound_configuration_has_nothing_to_complain_of(write: Write, call: Call) -> None:
    write("producers:\n  - {type: sqlite, name: rows, path: rows.db, queue: {type: spool, durability: synced, max_bytes: 1MiB}}\n")
    result = call("doctor", "--strict", "--state-dir", "state")
    assert result.code == 0, result.out
    assert "rows (sqlite:rows.db, table messages)" in result.out
    assert "neither kill -9 nor a power cut loses a message" in result.out
    assert result.out.endswith("standpipe.yaml: nothing to complain of\n")
    assert sorted(path.name for path in write("").parent.iterdir()) == ["standpipe.yaml"]


def test_warnings_leave_the_exit_status_alone_unless_strict(write: Write, call: Call) -> None:
    write("producers:\n  - {type: file, name: archive, path: out.jsonl}\n")
    result = call("doctor")
    assert (result.code, call("doctor", "--strict").code) == (0, 1)
    assert "warning   the queue is in memory" in result.out
    assert "-> queue: {type: spool}" in result.out
    assert "nothing critical, 2 warnings" in result.out


@pytest.mark.usefixtures("patients")
def test_findings_of_a_producer_come_worst_first_and_without_its_secrets(write: Write, call: Call) -> None:
    write("producers:\n  - {type: 'patients:Ill', name: ill, queue: {type: spool}}\n")
    result = call("doctor")
    assert result.code == 1
    assert "hush-hush" not in result.out
    assert result.out.index("CRITICAL") < result.out.index("warning") < result.out.index("info")
    assert "1 critical, 1 warning: messages would be lost, or are not delivered at all" in result.out
    assert "all is well" not in call("doctor", "--quiet").out


@pytest.mark.usefixtures("patients")
def test_a_destination_that_cannot_be_reached_is_critical_and_hides_no_other(write: Write, call: Call) -> None:
    write("producers:\n  - {type: 'patients:Gone', name: gone}\n  - {type: file, name: archive, path: out.jsonl}\n")
    result = call("doctor", "--json")
    found = json.loads(result.out)
    assert (result.code, found["healthy"]) == (1, False)
    gone, archive = found["producers"]
    worst = gone["findings"][0]
    assert worst["severity"] == "critical"
    assert "ConnectionRefusedError: nobody there, token ****" in worst["what"]
    assert worst["remedy"]
    assert [each["severity"] for each in archive["findings"]] == ["warning", "warning"]


@pytest.mark.usefixtures("patients")
def test_a_reason_that_names_its_remedy_gets_no_other_one(write: Write, call: Call) -> None:
    write("producers:\n  - {type: 'patients:Refusing', name: refusing, queue: {type: spool, durability: synced}}\n")
    result = call("doctor", "--quiet")
    assert result.code == 1
    assert "CRITICAL  the broker refuses the token **********; correct it: nothing is delivered as long as this is so" in result.out
    assert "->" not in result.out.partition("CRITICAL")[2].partition("warning")[0]


@pytest.mark.usefixtures("patients")
@pytest.mark.threads_may_outlive  # the one that hangs is let go only at the end
def test_a_destination_that_hangs_is_given_up(write: Write, call: Call) -> None:
    write("producers:\n  - {type: 'patients:Hanging', name: hanging}\n")
    result = call("doctor", "--timeout", "200ms")
    assert result.code == 1
    assert "no answer within 0.2 s" in result.out


def test_a_configuration_that_is_wrong_is_not_examined(write: Write, call: Call) -> None:
    write("producers:\n  - {type: file, name: archive}\n")
    result = call("doctor")
    assert result.code == 78
    assert "path" in result.err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("queue: {on_full: drop_oldest}", "the oldest messages are dropped when the queue is full"),
        ("queue: {on_full: spill}", "a crash or kill -9 loses what is in memory"),
        ("max_resets: 3", "also when the destination is only down"),
        ("deadline: 1h", "older messages are put aside as dead letters"),
        ("dead_letters: {type: memory}", "the end of the process loses them"),
        ("queue: {type: spool}", "a power cut loses what was accepted in the last 1 s"),
        ("queue: {type: spool, max_bytes: 900000GiB}", "the disk is full before the spool is"),
        ("sync: interval", "a power cut loses the last 1 s, although it counts as delivered"),
    ],
)
def test_settings_that_lose_messages_are_named_with_what_they_lose(settings: str, said: str, write: Write, call: Call) -> None:
    write(f"producers:\n  - {{type: file, name: archive, path: out.jsonl, {settings}}}\n")
    out = " ".join(call("doctor").out.split())
    assert said in out


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
proc /proc proc rw 0 0
server:/export {folder}/far\\040away nfs4 rw 0 0
tmpfs {folder}/quick tmpfs rw 0 0
/dev/sdb1 {folder}/quick/disk ext4 rw 0 0
"""


def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.format(folder=tmp_path))
    places = ["far away/spool", "quick", "quick/disk/x", "elsewhere"]
    assert [file_system_of(tmp_path / place, mounts) for place in places] == ["nfs4", "tmpfs", "ext4", "ext4"]
    assert file_system_of(tmp_path, tmp_path / "none") is None


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="only Linux has /dev/shm")
def test_a_spool_in_memory_is_critical() -> None:
    found = list(disk_findings(Path("/dev/shm/standpipe-test"), "spool", None))
    assert [finding.severity.value for finding in found] == ["critical"]
    assert "a restart of the machine loses all of it" in found[0].consequence
