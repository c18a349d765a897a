"""Who gets into a server with credentials or TLS, and who does not: the throw-away certificates are right and wrong as they say."""

from __future__ import annotations

import dataclasses
import socket
import ssl
from collections.abc import Callable

import pytest

from tests.integration.conftest import MakeServer
from tests.integration.servers.clients import CLIENTS, Tls
from tests.servers.addresses import KINDS
from tests.servers.certificates import Certificates, Pair
from tests.servers.kafka import TansuServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.servers.server import Server

WITH_LOGIN = [kind for kind in KINDS.values() if kind is not TansuServer]
each_with_login = pytest.mark.parametrize("kind", WITH_LOGIN, ids=[kind.service for kind in WITH_LOGIN])
each_server = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())

PASSWORD = "s3cret-word"


@each_with_login
def test_only_the_password_opens(kind: type[Server], own_server: MakeServer) -> None:
    address = own_server(kind, user="standpipe", password=PASSWORD).address
    client = CLIENTS[kind.service](address)
    client.put("mine")
    assert client.get() == ["mine"]
    wrong = dataclasses.replace(address, url=address.url.replace(PASSWORD, "guess"), password="guess")
    with pytest.raises(Exception, match=r"(?i)auth|password|refused|nobody"):
        CLIENTS[kind.service](wrong).put("not mine")


@each_server
def test_tls_opens_to_a_client_that_knows_the_authority(kind: type[Server], own_server: MakeServer, certificates: Certificates) -> None:
    server = own_server(kind, tls=certificates.for_server(client_required=True))
    client = CLIENTS[kind.service](server.address, Tls(certificates.ca_file, certificates.client))
    client.put("mine")
    assert client.get() == ["mine"]


def test_a_client_without_the_right_certificate_is_refused(own_server: MakeServer, certificates: Certificates) -> None:
    server = own_server(RedisServer, tls=certificates.for_server(client_required=True))
    for pair in (None, certificates.other_client):
        with pytest.raises(Exception, match=r"(?i)ssl|certificate|reset|closed"):
            CLIENTS["redis"](server.address, Tls(certificates.ca_file, pair)).put("not mine")


WRONG: dict[str, tuple[Callable[[Certificates], Pair], str]] = {
    "expired": (lambda made: made.expired, "certificate has expired"),
    "wrong_host": (lambda made: made.wrong_host, "(?i)hostname mismatch|not valid for"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_certificate_is_wrong_in_that_way_only(fault: str, own_server: MakeServer, certificates: Certificates) -> None:
    pair, complaint = WRONG[fault]
    server = own_server(RedisServer, tls=certificates.for_server(pair(certificates)))
    with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
        _greet(server, Tls(certificates.ca_file).context())


def test_the_certificate_of_another_authority_is_refused(own_server: MakeServer, certificates: Certificates) -> None:
    server = own_server(RedisServer, tls=certificates.for_server())
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get local issuer|self-signed"):
        _greet(server, Tls(certificates.other_ca_file).context())
    _greet(server, Tls(certificates.ca_file).context())


def _greet(server: Server, context: ssl.SSLContext) -> None:
    with socket.create_connection((server.host, server.port), 5.0) as plain, context.wrap_socket(plain, server_hostname=server.host):
        pass


def test_a_disk_alarm_blocks_publishers_until_it_is_lifted(own_rabbitmq: RabbitServer) -> None:
    own_rabbitmq.alarm()
    assert "disk" in own_rabbitmq.control("eval", "rabbit_alarm:get_alarms().")
    own_rabbitmq.alarm(on=False)
    assert "disk" not in own_rabbitmq.control("eval", "rabbit_alarm:get_alarms().")
