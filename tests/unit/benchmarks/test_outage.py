"""What the benchmark of an outage counts, and the server that it kills."""

from __future__ import annotations

import threading
import time
import urllib.request
from pathlib import Path

from benchmarks.sides.outage import compared
from benchmarks.sides.outage_server import running

WITHIN = 20.0


def answers(url: str, body: bytes) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=WITHIN) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_until_it(expected: bool, url: str, body: bytes) -> None:
    deadline = time.monotonic() + WITHIN
    while answers(url, body) is not expected:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_messages_that_never_arrived_and_those_that_arrived_again_are_counted() -> None:
    bodies = b'{"number":0}\n{"number":1}\n{"number":3}\n{"number":1}\n{"number":1}\n'

    assert compared(bodies, 6) == {"lost": 3, "duplicates": 2, "messages": 6}


def test_the_server_comes_back_at_the_same_address_with_what_it_had_taken(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        wait_until_it(True, server.url, b'{"number":0}\n')
        server.kill()
        wait_until_it(False, server.url, b"")
        server.come_back()
        wait_until_it(True, server.url, b'{"number":1}\n')

        assert compared(server.bodies(), 2)["lost"] == 0
