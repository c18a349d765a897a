"""Real servers as fixtures.

`redis_server` (and so on): the address of one that everybody shares; use names that begin with `redis_name`, which are removed
after the test. `own_redis`: a server that the test may stop, kill and freeze; it is running when the test begins, and has the
data of former tests. `own_server(RedisServer, persistence="none")`: a new one with options.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

import pytest

from tests.servers.addresses import KINDS, ServerKind, answering, must_be_there
from tests.servers.certificates import Certificates
from tests.servers.cleaning import CLEANERS
from tests.servers.kafka import MockKafka, TansuServer
from tests.servers.mosquitto import MosquittoServer
from tests.servers.nats import NatsServer
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.servers.server import Address, Server


class MakeServer(Protocol):
    """`own_server`: makes and starts a server; it is closed after the test."""

    def __call__(self, kind: type[ServerKind], /, **options: Any) -> ServerKind: ...


class _Shared:
    """Servers of one session, each started when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: dict[str, Server] = {}
        self._addresses: dict[str, Address] = {}

    def own(self, kind: type[ServerKind]) -> ServerKind:
        if (missing := kind.missing()) is not None:
            _unavailable(missing)
        if kind.service not in self._own:
            self._own[kind.service] = kind(self._folder / kind.service)
        return cast(ServerKind, self._own[kind.service].ensure_running())

    def address(self, service: str) -> Address:
        """At the default address, or a server of our own that no test has in its hands."""
        if service not in self._addresses:
            self._addresses[service] = answering(service) or self._start(service)
        return self._addresses[service]

    def _start(self, service: str) -> Address:
        kind = KINDS[service]
        if (missing := kind.missing()) is not None:
            _unavailable(missing)
        server = self._own[f"shared-{service}"] = kind(self._folder / f"shared-{service}")
        return server.start().address

    def close(self) -> None:
        with contextlib.ExitStack() as stack:
            for server in self._own.values():
                stack.callback(server.close)


def _unavailable(missing: str) -> NoReturn:
    if must_be_there():
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Shared]:
    shared = _Shared(tmp_path_factory.mktemp("servers"))
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A throw-away authority and its certificates: `certificates.for_server()`, `certificates.ca_file`, ..."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def service(_shared: _Shared) -> Callable[[str], Address]:
    """`service("postgres")`: the address of the shared server; skips (in CI: fails) where there is none."""
    return _shared.address


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Servers of the test's own with options: `own_server(RedisServer, max_memory=2**20)`; started, and closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(kind: type[ServerKind], /, **options: Any) -> ServerKind:
            if (missing := kind.missing()) is not None:
                _unavailable(missing)
            server = kind(tmp_path / f"{kind.service}-{secrets.token_hex(2)}", **options)
            stack.enter_context(server)
            return server

        yield make


@pytest.fixture
def mock_kafka() -> Iterator[MockKafka]:
    """A cluster in this process that fails as it is told."""
    with MockKafka() as cluster:
        yield cluster


def _shared_server(kind: str) -> Any:
    @pytest.fixture
    def server(service: Callable[[str], Address]) -> Address:
        """The address of the server that everybody shares."""
        return service(kind)

    return server


def _name_on(kind: str) -> Any:
    @pytest.fixture
    def name(service: Callable[[str], Address], unique_name: str) -> Iterator[str]:
        """A name; what begins with it is removed from the shared server after the test."""
        address = service(kind)
        yield unique_name
        CLEANERS[kind](address, unique_name)

    return name


def _own_server(kind: type[ServerKind]) -> Any:
    @pytest.fixture
    def own(_shared: _Shared) -> ServerKind:
        """A server that the test may stop, kill and freeze."""
        return _shared.own(kind)

    return own


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody who accepts connections and says nothing."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def unique_name() -> str:
    """For a server of the test's own, where nothing needs to be removed: letters, digits and `_`, so that it fits everywhere."""
    return f"test_{secrets.token_hex(5)}"


postgres_server, postgres_name, own_postgres = _shared_server("postgres"), _name_on("postgres"), _own_server(PostgresServer)
redis_server, redis_name, own_redis = _shared_server("redis"), _name_on("redis"), _own_server(RedisServer)
rabbitmq_server, rabbitmq_name, own_rabbitmq = _shared_server("rabbitmq"), _name_on("rabbitmq"), _own_server(RabbitServer)
mqtt_server, mqtt_name, own_mqtt = _shared_server("mqtt"), _name_on("mqtt"), _own_server(MosquittoServer)
nats_server, nats_name, own_nats = _shared_server("nats"), _name_on("nats"), _own_server(NatsServer)
kafka_server, kafka_name, own_kafka = _shared_server("kafka"), _name_on("kafka"), _own_server(TansuServer)
