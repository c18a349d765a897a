"""What scripts/services asks: which servers are missing, and to start those that are installed."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.house.source import ROOT
from tests.servers import __main__ as provision
from tests.servers.addresses import CHECKS, DEFAULTS
from tests.servers.redis import RedisServer
from tests.servers.server import HOST, Address, answers, free_port


@pytest.fixture
def default_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Another default address for Redis, where nobody listens yet, and another place for what is started."""
    port = free_port()
    monkeypatch.setitem(DEFAULTS, "redis", Address(HOST, port, f"redis://{HOST}:{port}/0"))
    monkeypatch.setattr(provision, "STATE", tmp_path)
    return port


@pytest.mark.skipif(RedisServer.missing() is not None, reason=RedisServer.missing() or "")
def test_installed_server_is_started_to_stay(default_port: int, tmp_path: Path) -> None:
    assert provision.state_of("redis") == "stopped"
    provision.start("redis")
    pid, arguments = (tmp_path / "redis.pids").read_text().strip().split(" ", 1)
    try:
        assert provision.state_of("redis") is None
        assert str(tmp_path) in arguments
        assert CHECKS["redis"](DEFAULTS["redis"])
    finally:
        os.kill(int(pid), signal.SIGKILL)
        os.waitpid(int(pid), 0)
    assert answers(default_port) == b""


def test_missing_server_is_told_and_an_error_in_continuous_integration(
    default_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(RedisServer, "program", lambda: None)
    assert provision.state_of("redis") == "absent"
    monkeypatch.delenv("CI", raising=False)
    assert provision.report() == 0
    assert "services: redis is not installed; get it with: apt-get install redis-server (Debian)" in capsys.readouterr().err
    monkeypatch.setenv("CI", "1")
    assert provision.report() == 1
    assert "the tests of it fail" in capsys.readouterr().err


def test_server_that_answers_but_cannot_be_killed_by_tests_is_told(default_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedisServer, "program", lambda: None)
    monkeypatch.setitem(CHECKS, "redis", lambda address: True)
    assert provision.state_of("redis") == "unkillable"


def test_unknown_argument_of_the_script_is_refused() -> None:
    done = subprocess.run([ROOT / "scripts" / "services", "stpo"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (2, "services: unknown argument stpo; there is only: stop\n")
