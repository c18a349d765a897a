"""A cluster of three servers that loses the leader of a stream: nothing is lost or stored twice, and order per key is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from nats import errors

from standpipe.producers.config import AnyQueueConfig
from standpipe.producers.nats import NatsProducer
from tests.integration.nats.streams import ask, found_in, make_stream, producer
from tests.servers.nats import NatsServer
from tests.servers.oracle import Found
from tests.servers.scenario import deliver_through_trouble
from tests.servers.server import HOST, free_port
from tests.servers.waiting import until

Result = TypeVar("Result")
MakeServer = Callable[..., NatsServer]
ELECTED_WITHIN = 40.0
"""Seconds; a server that hears nothing of a leader waits 4 to 9 until it wants to become one."""


class Cluster:
    """Three servers that know each other, and a stream of which each has a replica."""

    def __init__(self, make: MakeServer, stream: str) -> None:
        self._stream = stream
        ports = [free_port() for _ in range(3)]
        routes = [f"nats://{HOST}:{port}" for port in ports]
        self.servers = {
            f"server-{port}": make(
                NatsServer,
                settings={
                    "server_name": json.dumps(f"server-{port}"),
                    "cluster": json.dumps({"name": "three", "listen": f"{HOST}:{port}", "routes": routes}),
                },
            )
            for port in ports
        }
        until(lambda: _told(self._make_stream) is not None, ELECTED_WITHIN)

    def _make_stream(self) -> bool:
        make_stream(next(iter(self.servers.values())).url, self._stream, num_replicas=3)
        return True

    @property
    def leader(self) -> str:
        """The name of the server that decides about the stream; empty while there is none."""
        url = next(server.url for server in self.servers.values() if server.running)
        return _told(lambda: str(ask(url, f"STREAM.INFO.{self._stream}")["cluster"].get("leader", ""))) or ""

    def read(self) -> list[Found]:
        """Everything in the stream."""
        url = next(iter(self.servers.values())).url
        deadline = time.monotonic() + ELECTED_WITHIN
        while (found := _told(lambda: found_in(url, self._stream))) is None:
            assert time.monotonic() < deadline
        return found


def _told(ask: Callable[[], Result]) -> Result | None:
    """What JetStream says; None if there is no leader, so that nobody answers or it cannot do it."""
    try:
        return ask()
    except (errors.Error, RuntimeError, OSError):
        return None


def test_leader_that_is_killed_loses_nothing(
    own_server: MakeServer, unique_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standpipe.producers.nats_errors.NO_STREAM_PAUSE", 0.2)
    cluster = Cluster(own_server, unique_name)
    until(lambda: cluster.leader != "", ELECTED_WITHIN)
    killed = cluster.leader
    others = [server for name, server in cluster.servers.items() if name != killed]
    url, failover = cluster.servers[killed].url, ", ".join(f"{HOST}:{server.port}" for server in others)

    def make(queue: AnyQueueConfig) -> NatsProducer:
        return producer(url, unique_name, max_pending=64, batch={"max_messages": 16}, failover=failover, queue=queue)

    def kill() -> None:
        cluster.servers[killed].kill()
        until(lambda: cluster.leader not in ("", killed), ELECTED_WITHIN)

    def read() -> list[Found]:
        cluster.servers[killed].start()  # when all is acknowledged; the reader may be given to it
        return cluster.read()

    deliver_through_trouble(make, kill, read, folder=tmp_path, settle_within=ELECTED_WITHIN).check()
