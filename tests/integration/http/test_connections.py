"""Servers that cannot be reached or must not be trusted, and proxies in between."""

from __future__ import annotations

import gc
import gzip
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson
import pytest

from standpipe.core.errors import Misconfigured, NotSent
from standpipe.core.finding import Severity
from standpipe.delivery.receipt import State
from standpipe.producers.http import HttpProducer
from standpipe.producers.http_config import HttpProducerConfig
from standpipe.testing.fault_proxy import FaultProxy
from tests.integration.http.answering import AnsweringServer, Reply, answering
from tests.integration.http.test_answers import QUICK, producer, wait
from tests.servers.certificates import Certificates, Pair
from tests.servers.server import free_port
from tests.servers.waiting import until


@contextmanager
def secure(certificates: Certificates, pair: Pair, *, client_required: bool = False) -> Iterator[AnsweringServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert_file, pair.key_file)
    if client_required:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates.ca_file)
    with answering(tls=context) as server:
        yield server


@contextmanager
def listening(serve: Callable[[socket.socket], object], port: int = 0) -> Iterator[int]:
    """Plain sockets, a thread for each connection; gives the port."""

    def each(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):  # whoever is shut down hangs up at any moment
            serve(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=each, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def at(url: str, **settings: Any) -> HttpProducer:
    return HttpProducer(HttpProducerConfig.model_validate({"name": "hook", "url": url, **QUICK, **settings}))


def refused(made: HttpProducer, complaint: str) -> None:
    """The message waits, and the reason is told."""
    receipt = made.produce(False, {"n": 1})
    until(lambda: complaint in (made.statistics().last_error or ""))
    assert receipt.state is State.QUEUED
    assert made.shutdown(timeout=0.2).undelivered == 1


# --- TLS --------------------------------------------------------------------------------------------------------------


def test_a_server_with_a_right_certificate_gets_the_messages(certificates: Certificates) -> None:
    with secure(certificates, certificates.server) as server, producer(server, tls={"ca_file": str(certificates.ca_file)}) as made:
        assert [wait(made.produce(False, {"n": number})) for number in range(3)] == [State.DELIVERED] * 3


@pytest.mark.parametrize("which", ["expired", "wrong_host", "server"])
def test_a_server_with_a_wrong_certificate_gets_nothing(certificates: Certificates, which: str) -> None:
    ca_file = certificates.other_ca_file if which == "server" else certificates.ca_file
    with secure(certificates, getattr(certificates, which)) as server:
        refused(producer(server, tls={"ca_file": str(ca_file)}), "the server's certificate was refused")
        assert server.received == []


def test_without_settings_the_systems_authorities_decide(certificates: Certificates) -> None:
    with secure(certificates, certificates.server) as server:
        refused(producer(server), "the server's certificate was refused")
        assert server.received == []


def test_a_certificate_that_is_exchanged_for_a_wrong_one_while_messages_flow_is_refused(certificates: Certificates) -> None:
    with secure(certificates, certificates.server) as server:
        made = producer(server, tls={"ca_file": str(certificates.ca_file)}, keep_alive=0.01)
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        assert server._tls is not None
        server._tls.load_cert_chain(certificates.expired.cert_file, certificates.expired.key_file)
        threading.Event().wait(0.05)  # the idle connection ends
        refused(made, "the server's certificate was refused")
        assert len(server.received) == 1


def test_verification_can_be_switched_off_and_the_name_be_another(certificates: Certificates) -> None:
    with secure(certificates, certificates.expired) as server, producer(server, tls={"verify": False}) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
    settings = {"ca_file": str(certificates.ca_file), "server_name": "127.0.0.1"}
    with secure(certificates, certificates.server) as server, producer(server, tls=settings) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED


def test_a_server_that_asks_for_our_certificate_gets_it(certificates: Certificates) -> None:
    ours = {"cert_file": str(certificates.client.cert_file), "key_file": str(certificates.client.key_file)}
    tls = {"ca_file": str(certificates.ca_file), **ours}
    with secure(certificates, certificates.server, client_required=True) as server, producer(server, tls=tls) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED


def test_a_server_that_asks_for_our_certificate_in_vain_is_understood(certificates: Certificates) -> None:
    """asyncio's servers end the connection without a word; others, such as this one, say why."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server.cert_file, certificates.server.key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.ca_file)

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)

    with listening(serve) as port:
        refused(at(f"https://localhost:{port}/in", tls={"ca_file": str(certificates.ca_file)}), "the server asks for a certificate of ours")


def test_a_server_without_tls_is_not_spoken_to_in_plain_text() -> None:
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        got.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with listening(serve) as port:
        refused(at(f"https://localhost:{port}/in"), "the server does not speak TLS as expected")
    assert not any(b"POST" in data for data in got)


# --- not there --------------------------------------------------------------------------------------------------------


def test_a_server_that_comes_late_gets_everything() -> None:
    port = free_port()
    made = at(f"http://127.0.0.1:{port}/in")
    receipts = [made.produce(False, {"n": number}) for number in range(10)]
    until(lambda: "the server cannot be reached" in (made.statistics().last_error or ""))
    with listening(_answer_all, port):
        assert all(wait(receipt) is State.DELIVERED for receipt in receipts)
        assert made.statistics().possible_duplicates == 0
        made.shutdown(timeout=5)


def _answer_all(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n" * data.count(b"\r\n\r\n"))


def test_an_unknown_host_is_named_as_such() -> None:
    refused(at("http://no-such-host.invalid/in"), "the host name cannot be resolved")


def test_a_server_that_accepts_and_says_nothing_is_given_up_after_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refused(at(f"https://127.0.0.1:{listener.getsockname()[1]}/in", connect_timeout=0.2), "within connect_timeout (0.2 s)")


def test_when_only_errors_cannot_be_delivered_the_others_are() -> None:
    with answering() as server:
        made = producer(server, error_url=f"http://127.0.0.1:{free_port()}/errors", max_retries=100, ordering="none")
        error = made.produce(True, {"n": 0})
        assert [wait(made.produce(False, {"n": number})) for number in range(1, 10)] == [State.DELIVERED] * 9
        assert error.state is State.QUEUED
        assert made.shutdown(timeout=0.2).undelivered == 1


# --- given up ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"], ids=["no answer", "half an answer"])
def test_a_request_that_is_given_up_leaves_no_socket_behind_also_if_the_server_is_gone(certificates: Certificates, said: bytes) -> None:
    """A polite end of an encrypted connection would be waited for until nobody is left to wait."""
    with secure(certificates, certificates.server) as server, FaultProxy("127.0.0.1", server.port) as proxy:
        server.script = lambda request, number: Reply(raw=said, then="hang") if number else Reply()
        made = at(f"https://localhost:{proxy.port}/in", tls={"ca_file": str(certificates.ca_file)})
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        before = proxy.statistics().to_client
        made.produce(False, {"n": 2})
        server.wait_for(2)
        proxy.wait_for(lambda now: now.to_client >= before + len(said))
        proxy.black_hole()
        assert made.shutdown(timeout=0.2).undelivered == 1
        gc.collect()  # a socket that nobody has closed says so


# --- forks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_child_has_connections_of_its_own_and_the_parent_keeps_its(certificates: Certificates, is_secure: bool) -> None:
    settings: dict[str, Any] = {"tls": {"ca_file": str(certificates.ca_file)}} if is_secure else {}
    with secure(certificates, certificates.server) if is_secure else answering() as server, producer(server, **settings) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        child = os.fork()
        if child == 0:
            os._exit(0 if wait(made.produce(False, {"n": 2})) is State.DELIVERED and made.shutdown(5).complete else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert wait(made.produce(False, {"n": 3})) is State.DELIVERED
        assert made.statistics().attempts == 2
        assert [orjson.loads(request.body)["n"] for request in server.received] == [1, 2, 3]


# --- proxies ----------------------------------------------------------------------------------------------------------

LOGIN = "Basic dXNlcjpodXNo"  # user:hush


def test_a_proxy_gets_whole_urls_and_its_login_and_the_server_never_sees_it() -> None:
    with answering() as proxy, at("http://api.example.com/in?x=1", proxy=proxy.url.replace("//", "//user:hush@")) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        (request,) = proxy.received
        assert (request.method, request.target) == ("POST", "http://api.example.com/in?x=1")
        assert request.headers["proxy-authorization"] == LOGIN


def test_a_tunnel_through_a_proxy_hides_everything_from_it(certificates: Certificates) -> None:
    with secure(certificates, certificates.server) as server, answering() as proxy:
        settings = {"proxy": proxy.url.replace("//", "//user:hush@"), "auth": {"type": "bearer", "token": "hush-hush"}}
        with producer(server, tls={"ca_file": str(certificates.ca_file)}, **settings) as made:
            assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        (tunnel,) = proxy.received
        assert (tunnel.method, tunnel.target) == ("CONNECT", server.url.removeprefix("https://"))
        assert tunnel.headers["proxy-authorization"] == LOGIN
        assert "authorization" not in tunnel.headers
        assert "idempotency-key" not in tunnel.headers
        (request,) = server.received
        assert "proxy-authorization" not in request.headers
        assert request.headers["authorization"] == "Bearer hush-hush"


@pytest.mark.parametrize(("status", "complaint"), [(407, "the proxy refuses"), (502, "the proxy could not open a connection")])
def test_a_proxy_that_refuses_the_tunnel_costs_no_message(certificates: Certificates, status: int, complaint: str) -> None:
    with secure(certificates, certificates.server) as server, answering(Reply(status)) as proxy:
        refused(producer(server, proxy=proxy.url), complaint)
        assert server.received == []


def test_a_proxy_that_is_not_there_is_named() -> None:
    with answering() as server:
        refused(producer(server, proxy=f"http://127.0.0.1:{free_port()}"), "cannot be reached")
        assert server.received == []


def test_the_environment_names_a_proxy_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering() as proxy, answering() as server:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:hush@"))
        monkeypatch.setenv("no_proxy", "localhost")
        with producer(server) as made, at("http://api.example.com/in", proxy_from_environment=True) as through:
            assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
            assert wait(through.produce(False, {"n": 2})) is State.DELIVERED
        with producer(server, proxy_from_environment=True) as made:
            assert wait(made.produce(False, {"n": 3})) is State.DELIVERED
        assert [orjson.loads(request.body)["n"] for request in server.received] == [1, 3]
        assert [request.target for request in proxy.received] == ["http://api.example.com/in"]


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_compressed_bodies_arrive_as_they_are() -> None:
    with answering() as server, producer(server, compression="gzip") as made:
        assert wait(made.produce(False, {"text": "ü" * 10_000})) is State.DELIVERED
        (request,) = server.received
        assert request.headers["content-encoding"] == "gzip"
        assert len(request.body) < 1000
        assert orjson.loads(gzip.decompress(request.body)) == {"text": "ü" * 10_000}


def test_messages_of_many_megabytes_arrive_whole() -> None:
    with answering() as server, producer(server) as made:
        receipts = [made.produce(False, {"n": number, "text": "x" * 3_000_000}) for number in range(4)]
        assert all(wait(receipt) is State.DELIVERED for receipt in receipts)
        assert sorted(len(request.body) for request in server.received) == [3_000_017] * 4


# --- examination ------------------------------------------------------------------------------------------------------


def found(made: HttpProducer) -> list[tuple[Severity, str]]:
    return [(finding.severity, finding.what) for finding in made.examine()]


def test_an_endpoint_in_good_order_is_told_so_and_gets_no_request(certificates: Certificates) -> None:
    with secure(certificates, certificates.server) as server:
        ((severity, what),) = found(producer(server, tls={"ca_file": str(certificates.ca_file)}))
        assert severity is Severity.INFO
        assert "has a good certificate, until" in what
        assert server.received == []


def test_what_loses_or_repeats_messages_is_found(certificates: Certificates) -> None:
    risky = {"idempotency_header": None, "success_statuses": ["2xx", 404], "send_timeout": None, "keep_alive": 60, "tls": {"verify": False}}
    with secure(certificates, certificates.expired) as server:
        severities, whats = zip(*found(producer(server, **risky)), strict=True)
        assert severities == (Severity.CRITICAL, *[Severity.WARNING] * 3, Severity.INFO)
        for text, what in zip(
            ("is not checked", "no request carries", "answers 404 count", "nothing bounds", "are kept for 60 s"), whats, strict=True
        ):
            assert text in what


def test_an_endpoint_that_cannot_be_examined_says_why(certificates: Certificates) -> None:
    with secure(certificates, certificates.wrong_host) as server, pytest.raises(Misconfigured, match="certificate was refused"):
        producer(server, tls={"ca_file": str(certificates.ca_file)}).examine()
    with pytest.raises(NotSent, match="cannot be reached"):
        at(f"http://127.0.0.1:{free_port()}/in").examine()
