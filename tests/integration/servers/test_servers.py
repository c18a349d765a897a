"""The servers that other tests rely on do what is said of them: start, answer, keep their data, stop, die and freeze."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.conftest import MakeServer
from tests.integration.servers.clients import CLIENTS, Client
from tests.servers.addresses import KINDS
from tests.servers.kafka import TansuServer
from tests.servers.mosquitto import MosquittoServer
from tests.servers.processes import descendants
from tests.servers.redis import RedisServer
from tests.servers.server import Server, ServerFailed, accepts

KEPT = [kind for kind in KINDS.values() if kind not in (TansuServer, MosquittoServer)]
each_server = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
each_with_a_disk = pytest.mark.parametrize("kind", KEPT, ids=[kind.service for kind in KEPT])


def client_of(server: Server) -> Client:
    return CLIENTS[server.service](server.address)


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Server:
    """The session's own server of the kind that the test is for: it is slow to start some of them anew."""
    server = request.getfixturevalue(f"own_{request.node.callspec.params['kind'].service}")
    assert isinstance(server, Server)
    return server


@each_with_a_disk
def test_data_outlives_a_restart_and_a_kill(kind: type[Server], own: Server) -> None:
    """In this order: a queue that RabbitMQ has only just declared may be forgotten by a kill, with what it has confirmed for it."""
    port = own.port
    client_of(own).put("first")
    own.restart()
    assert client_of(own).get()[-1:] == ["first"]
    client_of(own).put("second")
    own.kill()
    assert not accepts(port)
    own.start()
    assert (client_of(own).get()[-2:], own.port) == (["first", "second"], port)


def test_mosquitto_keeps_all_over_a_restart_and_all_but_the_last_over_a_kill(own_server: MakeServer) -> None:
    server = own_server(MosquittoServer)
    client_of(server).put("first")
    server.restart()
    assert client_of(server).get() == ["first"]
    for text in ("second", "third", "fourth"):
        client_of(server).put(text)
    server.kill()
    server.start()
    assert client_of(server).get()[:2] == ["first", "second"]


def test_tansu_is_empty_after_a_kill(own_server: MakeServer) -> None:
    server = own_server(TansuServer)
    client_of(server).put("first")
    assert client_of(server).get() == ["first"]
    server.kill()
    server.start()
    client_of(server).put("second")
    assert client_of(server).get() == ["second"]


@each_server
def test_a_frozen_server_says_nothing_until_it_is_thawed(kind: type[Server], own: Server) -> None:
    own.freeze()
    assert not own._is_ready() or kind is TansuServer  # for Tansu readiness is a connection, which the kernel accepts
    assert own.running
    own.thaw()
    client_of(own).put("after")
    assert client_of(own).get()[-1:] == ["after"]


@each_server
def test_nothing_of_a_closed_server_is_left(kind: type[Server], own_server: MakeServer) -> None:
    server = own_server(kind)
    family = [server.pid, *descendants(server.pid)]
    server.freeze()
    server.close()
    server.close()
    deadline = time.monotonic() + 5.0
    while left := [pid for pid in family if _is_running(pid)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.02)


def _is_running(pid: int) -> bool:
    try:
        # A zombie has ended; in a container nobody may collect it.
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_start_that_fails_shows_the_log(own_server: MakeServer) -> None:
    with pytest.raises(ServerFailed, match=r"(?s)redis on port \d+ ended while starting; the end of .*no-such-setting"):
        own_server(RedisServer, settings={"no-such-setting": "1"})


def test_an_own_server_is_well_again_for_the_next_test(own_redis: RedisServer) -> None:
    own_redis.freeze()
    assert own_redis.ensure_running()._is_ready()
    own_redis.kill()
    assert own_redis.ensure_running()._is_ready()
