"""MQTT through WebSockets, plain and encrypted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from standpipe.core.finding import Severity
from standpipe.producers.config import AnyQueueConfig
from standpipe.producers.mqtt import MqttProducer
from standpipe.testing.fault_proxy import FaultProxy
from tests.integration.mqtt.broker import WITHIN, Reader, producer
from tests.integration.opening import check_waits_and_says
from tests.servers.certificates import Certificates
from tests.servers.mosquitto import MosquittoServer
from tests.servers.scenario import deliver_through_trouble
from tests.servers.server import free_port
from tests.servers.tls_front import TlsFront

WINDOW = 20
LOST_BY_KILL = 2
"""Mosquitto writes to its disk after each change, and still a kill may take the last one or two."""

CUTS: tuple[tuple[Literal["to_upstream", "to_client"], tuple[int, ...]], ...] = (
    ("to_upstream", (0, 100, 400, 1000)),
    ("to_client", (0, 60, 200, 1500, 2500)),
)
"""After how many bytes: in the handshakes and behind them."""


class WebBroker:
    """A broker with one listener for readers and one for WebSockets."""

    def __init__(
        self,
        make: Callable[..., MosquittoServer],
        certificates: Certificates,
        scheme: str,
        limits: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.port = free_port()
        # What follows the second listener belongs to it.
        settings = {**(limits or {}), "listener ": f"{self.port} 127.0.0.1", "protocol": "websockets"}
        self.tls: dict[str, str] | None = None
        if scheme == "wss":
            pair = certificates.server
            settings |= {"certfile": str(pair.cert_file), "keyfile": str(pair.key_file)}
            self.tls = {"ca_file": str(certificates.ca_file)}
        self.server = make(MosquittoServer, settings=settings, **options)
        self.url = f"{scheme}://127.0.0.1:{self.port}/mqtt"

    def producer(self, name: str, **settings: Any) -> MqttProducer:
        """One that publishes here."""
        return producer(self.url, name, **{"tls": self.tls, **settings})


@pytest.fixture(params=["ws", "wss"])
def broker(request: pytest.FixtureRequest, own_server: Callable[..., MosquittoServer], certificates: Certificates) -> WebBroker:
    return WebBroker(own_server, certificates, request.param)


def test_messages_arrive(broker: WebBroker, unique_name: str) -> None:
    reader = Reader(broker.server.address, unique_name)
    with broker.producer(unique_name) as made:
        made.produce_many(False, [{"n": number} for number in range(500)])
        made.produce(False, {"long": "x" * 500_000})
        assert made.flush(WITHIN) == 0
    assert len(reader.read()) == 501
    assert Severity.CRITICAL not in [finding.severity for finding in broker.producer(unique_name).examine()]


def test_many_acknowledgements_in_one_record_of_tls_are_all_read(
    own_server: Callable[..., MosquittoServer], certificates: Certificates, unique_name: str
) -> None:
    plain = WebBroker(own_server, certificates, "ws", persistence="none", limits={"max_inflight_messages": "0"})
    port = free_port()
    front = TlsFront(port, plain.port, certificates.for_server(), rest=0.2)
    front.start()
    try:
        tls = {"ca_file": str(certificates.ca_file)}
        with producer(f"wss://localhost:{port}", unique_name, tls=tls, max_in_flight=300) as made:
            made.produce_many(False, [{"n": number} for number in range(300)])
            assert made.flush(WITHIN) == 0
            assert made.statistics().resets == 0
    finally:
        front.close()


def kill(broker: WebBroker) -> None:
    broker.server.kill()
    broker.server.start()


def restart(broker: WebBroker) -> None:
    broker.server.restart()


@pytest.mark.parametrize(("trouble", "lost"), [(kill, LOST_BY_KILL), (restart, 0)])
def test_nothing_acknowledged_is_lost_when_the_broker_goes(
    broker: WebBroker, unique_name: str, tmp_path: Path, trouble: Callable[[WebBroker], None], lost: int
) -> None:
    reader = Reader(broker.server.address, unique_name)

    def make(queue: AnyQueueConfig) -> MqttProducer:
        return broker.producer(unique_name, key_header="message-key", max_in_flight=WINDOW, queue=queue)

    oracle = deliver_through_trouble(make, lambda: trouble(broker), reader.found, folder=tmp_path)
    oracle.check(lost=lost, duplicates=3 * WINDOW)


def test_nothing_is_lost_when_connections_are_cut_at_any_byte(broker: WebBroker, unique_name: str, tmp_path: Path) -> None:
    reader = Reader(broker.server.address, unique_name)
    with FaultProxy("127.0.0.1", broker.port) as proxy:
        url = broker.url.replace(str(broker.port), str(proxy.port))

        def make(queue: AnyQueueConfig) -> MqttProducer:
            return producer(url, unique_name, tls=broker.tls, key_header="message-key", max_in_flight=WINDOW, queue=queue)

        def cut() -> None:
            for direction, counts in CUTS:
                for count in counts:
                    proxy.cut_after(count, direction=direction, times=1)
                    threading.Event().wait(0.1)
            proxy.heal()

        oracle = deliver_through_trouble(make, cut, reader.found, folder=tmp_path)
    oracle.check(duplicates=10 * WINDOW)


def test_login_and_certificate_are_checked(
    own_server: Callable[..., MosquittoServer], certificates: Certificates, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "standpipe")
    broker = WebBroker(own_server, certificates, "wss", user="user", password="a-word")
    with broker.producer(unique_name, user="user", password="a-word") as made:
        made.produce(False, {"n": 1})
        assert made.flush(WITHIN) == 0
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"user": "user", "password": "hush"}, "correct user and password"),
        ({"tls": {"ca_file": str(certificates.other_ca_file)}}, "certificate was refused"),
    ]
    for settings, says in wrong:
        caplog.clear()
        check_waits_and_says(broker.producer(unique_name, **settings), says, caplog)
