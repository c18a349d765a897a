"""Opening a connection: what goes wrong is said with its remedy, the messages are kept, and the examination finds it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import pytest

from standpipe.core.errors import StandpipeError
from standpipe.core.finding import Severity
from tests.integration.mqtt.broker import WITHIN, Reader, producer
from tests.integration.opening import check_tls_both_ways, check_waits_and_says
from tests.servers.certificates import Certificates
from tests.servers.mosquitto import MosquittoServer
from tests.servers.server import Address, free_port
from tests.servers.waiting import until


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mqtt://user:hush@HOST:CLOSED", "check the host and the port in url, and whether it runs"),
        ("mqtt://user:hush@host.invalid", "cannot be resolved"),
        ("mqtts://user:hush@HOST:PORT", "does not speak TLS as expected"),
        ("ws://user:hush@HOST:PORT", "does not speak MQTT"),
    ],
)
def test_what_only_a_person_can_mend_is_said_and_the_message_is_kept(
    mqtt_server: Address, mqtt_name: str, caplog: pytest.LogCaptureFixture, url: str, says: str
) -> None:
    caplog.set_level(logging.INFO, "standpipe")
    for word, text in (("HOST", mqtt_server.host), ("PORT", str(mqtt_server.port)), ("CLOSED", str(free_port()))):
        url = url.replace(word, text)
    check_waits_and_says(producer(url, mqtt_name, connect_timeout=1), says, caplog)


def test_login_is_checked(own_server: Callable[..., MosquittoServer], unique_name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "standpipe")
    server = own_server(MosquittoServer, user="user", password="a-word")
    place = f"{server.host}:{server.port}"
    reader = Reader(server.address, unique_name)
    with producer(f"mqtt://{place}", unique_name, user="user", password="a-word") as made:
        made.produce(False, {"n": 1})
        assert made.flush(WITHIN) == 0
    assert len(reader.read()) == 1
    for protocol in ("5", "3.1.1"):
        for url in (f"mqtt://user:hush@{place}", f"mqtt://{place}"):
            caplog.clear()
            check_waits_and_says(producer(url, unique_name, protocol=protocol), "does not let us in; correct user and password", caplog)
    with pytest.raises(StandpipeError, match="correct user and password"):
        producer(f"mqtt://user:hush@{place}", unique_name).examine()


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "ws"])
def test_silent_server_is_given_up_after_connect_timeout(silent_port: int, unique_name: str, scheme: str) -> None:
    with producer(f"{scheme}://127.0.0.1:{silent_port}", unique_name, connect_timeout=0.3) as made:
        made.produce(False, {"n": 1})
        until(lambda: "the broker cannot be reached" in str(made.statistics().last_error))
        until(lambda: made.statistics().connect_failures > 2)
        made.shutdown(0.1)


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts"])
def test_shutdown_does_not_wait_for_a_connection_that_is_being_opened(silent_port: int, unique_name: str, scheme: str) -> None:
    made = producer(f"{scheme}://127.0.0.1:{silent_port}", unique_name, connect_timeout=60)
    made.produce(False, {"n": 1})
    report = made.shutdown(0.5)
    assert report.undelivered == 1


def test_messages_wait_until_the_broker_comes_up(unique_name: str, own_mqtt: MosquittoServer) -> None:
    reader = Reader(own_mqtt.address, unique_name)
    own_mqtt.stop()
    with producer(own_mqtt.url, unique_name) as made:
        made.produce(False, {"n": 1})
        until(lambda: made.statistics().connect_failures > 0)
        own_mqtt.start()
        assert made.flush(WITHIN) == 0
    assert len(reader.read()) == 1


def test_tls_is_checked_both_ways(
    own_server: Callable[..., MosquittoServer], certificates: Certificates, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server(MosquittoServer, tls=certificates.for_server(client_required=True))
    check_tls_both_ways(partial(producer, server.url, unique_name), certificates, caplog)


@pytest.mark.parametrize("pair", ["expired", "wrong_host"])
def test_bad_certificate_of_the_broker_is_refused(
    own_server: Callable[..., MosquittoServer], certificates: Certificates, unique_name: str, caplog: pytest.LogCaptureFixture, pair: str
) -> None:
    server = own_server(MosquittoServer, tls=certificates.for_server(getattr(certificates, pair)))
    check_waits_and_says(producer(server.url, unique_name, tls={"ca_file": str(certificates.ca_file)}), "certificate was refused", caplog)


def test_examination_says_what_is_well_and_what_is_not(mqtt_server: Address, mqtt_name: str) -> None:
    found = {finding.what: finding.severity for finding in producer(mqtt_server.url, mqtt_name).examine()}
    assert any("answers, and lets us in" in what for what in found)
    assert found["20 messages are on their way at once"] is Severity.INFO
    assert any("keeps messages on its disk could not be checked" in what for what in found)
    assert Severity.CRITICAL not in found.values()
    found = {finding.what: finding.severity for finding in producer(mqtt_server.url, mqtt_name, qos=0, protocol="3.1.1").examine()}
    assert (found["qos is 0"], found["protocol is 3.1.1"]) == (Severity.CRITICAL, Severity.WARNING)
