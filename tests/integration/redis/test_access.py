"""Who may connect and how: what is wrong is said with its remedy, and the messages are kept."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from standpipe.core.errors import Misconfigured, NotSent, SendError
from tests.integration.redis.reading import WITHIN, entries, producer, raw, reached
from tests.servers.certificates import Certificates
from tests.servers.redis import RedisServer
from tests.servers.server import Address, free_port

MakeServer = Callable[..., RedisServer]


def refusal(url: str, **settings: Any) -> SendError:
    """Why no connection can be made."""
    made = producer(url, "orders", connect_timeout=1, **settings)
    with pytest.raises(SendError) as caught:
        made._connect()
    made._close()
    return caught.value


def delivers(url: str, name: str, **settings: Any) -> None:
    with producer(url, name, **settings) as made:
        receipt = made.produce(False, {"n": 1})
        receipt.wait(WITHIN)
        assert receipt.delivered, made.statistics().last_error


def test_unreachable_servers_are_named_with_what_to_do() -> None:
    for url in (f"redis://127.0.0.1:{free_port()}", "redis://nowhere.invalid", "unix:///nowhere.sock"):
        error = refusal(url)
        assert isinstance(error, NotSent)
        assert "check host and port in url, and whether it runs" in str(error)


def test_something_else_than_redis_is_not_taken_for_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts and says nothing
        assert "cannot be reached" in str(refusal(f"redis://127.0.0.1:{listener.getsockname()[1]}"))


def test_wrong_credentials_are_waited_for(own_server: MakeServer, unique_name: str) -> None:
    server = own_server(RedisServer, password="right-one")
    address = f"{server.host}:{server.port}"
    for url in (f"redis://{address}", f"redis://:wrong-one@{address}", f"redis://nobody:wrong-one@{address}"):
        error = refusal(url)
        assert isinstance(error, Misconfigured)
        assert "correct user and password" in str(error)
        assert "wrong-one" not in str(error)
    delivers(f"redis://:right-one@{address}", unique_name)
    delivers(f"redis://{address}", unique_name, password="right-one")
    with raw(server.url) as client, producer(server.url, unique_name, max_retries=1, reconnect_wait=0.1) as made:
        client.config_set("requirepass", "another-one")
        receipt = made.produce(False, {"n": 1})
        reached(lambda: "correct user and password" in str(made.statistics().last_error))
        client.config_set("requirepass", "right-one")
        receipt.wait(WITHIN)
        assert receipt.delivered


RIGHTS = ("~orders*", "+xadd", "+multi", "+exec")


def test_few_rights_are_enough_and_a_missing_one_is_named(redis_server: Address, redis_name: str) -> None:
    with raw(redis_server.url) as client:
        try:
            client.execute_command("ACL", "SETUSER", redis_name, "on", ">secret", *RIGHTS)
            url = f"redis://{redis_name}:secret@{redis_server.host}:{redis_server.port}"
            delivers(url, f"orders{redis_name}")
            client.delete(f"orders{redis_name}")
            with producer(url, f"other{redis_name}", pause=60) as made:
                made.produce(False, {"n": 1})
                reached(lambda: "the user lacks a right; grant it with ACL SETUSER" in str(made.statistics().last_error))
                assert made.statistics().dead_lettered == 0
                made.shutdown(0)
            with producer(url, f"{{place}}{redis_name}") as made:
                receipt = made.produce_many(False, [{"place": place} for place in ("orders", "other", "orders2")])
                assert made.flush(WITHIN) == 0
                assert (receipt.counts["delivered"], receipt.counts["dead_lettered"]) == (2, 1)
            assert (client.xlen(f"orders{redis_name}"), client.xlen(f"orders2{redis_name}")) == (1, 1)
            client.delete(f"orders{redis_name}", f"orders2{redis_name}")
            client.execute_command("ACL", "SETUSER", redis_name, "-multi")
            assert "grant it with ACL SETUSER" in str(refusal(url))
            delivers(url, f"orders{redis_name}", transaction=False)
            client.delete(f"orders{redis_name}")
        finally:
            client.acl_deluser(redis_name)


def test_replica_is_not_written_to_even_if_it_would_take_it(own_server: MakeServer, unique_name: str) -> None:
    primary, replica = own_server(RedisServer, persistence="none"), own_server(RedisServer, persistence="none")
    with raw(replica.url) as client:
        client.replicaof(primary.host, primary.port)
        client.config_set("replica-read-only", "no")
        error = refusal(replica.url)
        assert "name the primary in url" in str(error)
        client.replicaof("no", "one")
    delivers(replica.url, unique_name)


def test_databases(redis_server: Address, redis_name: str) -> None:
    url = f"redis://{redis_server.host}:{redis_server.port}"
    error = refusal(f"{url}/99999")
    assert isinstance(error, Misconfigured)
    assert "no such database" in str(error)
    delivers(f"{url}/1", redis_name)
    assert len(entries(f"{url}/1", redis_name)) == 1
    with raw(f"{url}/1") as client:
        client.delete(redis_name)


def test_sockets_of_this_machine(own_server: MakeServer, unique_name: str, tmp_path: Any) -> None:
    path = tmp_path / "redis.sock"
    server = own_server(RedisServer, password="right-one", settings={"unixsocket": str(path)})
    delivers(f"unix://:right-one@{path}?db=2", unique_name)
    assert len(entries(server.url.replace("/0", "/2"), unique_name)) == 1


def test_encrypted_connections_are_verified(own_server: MakeServer, unique_name: str, certificates: Certificates) -> None:
    server = own_server(RedisServer, tls=certificates.for_server())
    delivers(server.url, unique_name, tls={"ca_file": str(certificates.ca_file)})
    delivers(server.url, unique_name, tls={"verify": False})
    for settings in ({}, {"tls": {"ca_file": str(certificates.other_ca_file)}}):
        error = refusal(server.url, **settings)
        assert isinstance(error, Misconfigured)
        assert "certificate" in str(error)
    plain = refusal(server.url.replace("rediss", "redis"))
    assert "cannot be reached" in str(plain)


def test_certificates_that_are_expired_or_for_another_name_are_refused(own_server: MakeServer, certificates: Certificates) -> None:
    for pair in (certificates.expired, certificates.wrong_host):
        server = own_server(RedisServer, tls=certificates.for_server(pair))
        error = refusal(server.url, tls={"ca_file": str(certificates.ca_file)})
        assert isinstance(error, Misconfigured)
        assert "correct tls" in str(error)
        server.close()


def test_server_that_wants_a_certificate(own_server: MakeServer, unique_name: str, certificates: Certificates) -> None:
    server = own_server(RedisServer, tls=certificates.for_server(client_required=True))
    trusting = {"ca_file": str(certificates.ca_file)}
    own = {"cert_file": str(certificates.client.cert_file), "key_file": str(certificates.client.key_file)}
    delivers(server.url, unique_name, tls=trusting | own)
    assert isinstance(refusal(server.url, tls=trusting), Misconfigured)


def test_plain_server_is_not_spoken_to_when_encryption_is_asked_for(redis_server: Address) -> None:
    error = refusal(f"rediss://{redis_server.host}:{redis_server.port}")
    assert isinstance(error, NotSent)
    assert "look whether the port is that for TLS" in str(error)
