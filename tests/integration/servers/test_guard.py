"""A test process that is killed leaves no server behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.house.source import ROOT
from tests.servers.redis import RedisServer
from tests.servers.server import accepts

PROGRAM = """
import sys
from pathlib import Path
from tests.servers.redis import RedisServer
print(RedisServer(Path(sys.argv[1])).start().port, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(RedisServer.missing() is not None, reason=RedisServer.missing() or "")
def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "redis")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert accepts(port)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10.0
    while accepts(port):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.02)
