"""Opening a connection: what goes wrong is said with its remedy, the messages are kept, and the examination finds it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from standpipe.core.errors import StandpipeError
from standpipe.core.finding import Severity
from standpipe.producers.rabbitmq import RabbitmqProducer
from tests.integration.opening import check_tls_both_ways, check_waits_and_says
from tests.integration.rabbitmq.broker import channel_to, producer, read
from tests.servers.certificates import Certificates, Pair
from tests.servers.rabbitmq import RabbitServer
from tests.servers.server import Address, free_port
from tests.servers.waiting import until

WITHIN = 10.0


@pytest.mark.parametrize(
    ("change", "settings", "says"),
    [
        ("closed port", {}, "check the host and the port in url, and whether it runs"),
        ("unknown host", {}, "cannot be resolved"),
        ("wrong password", {}, "correct user and password in url"),
        ("wrong vhost", {}, "refuses the virtual host"),
        ("", {"exchange": "test-there-is-no-such-exchange", "declare": None}, "does not exist; create it"),
        ("", {"declare": None, "routing_key": "test-there-is-no-such-queue"}, "does not exist; create it"),
        ("", {"declare": {"queues": [{"name": "NAME", "type": "classic"}]}}, "make declare say the same"),
        ("plain", {}, "does not speak TLS as expected"),
    ],
)
def test_what_only_a_person_can_mend_is_said_and_the_message_is_kept(
    rabbitmq_server: Address, rabbitmq_name: str, caplog: pytest.LogCaptureFixture, change: str, settings: dict[str, Any], says: str
) -> None:
    caplog.set_level(logging.INFO, "standpipe")
    urls = {
        "closed port": f"amqp://guest:hush@{rabbitmq_server.host}:{free_port()}",
        "unknown host": "amqp://guest:hush@host.invalid",
        "wrong password": f"amqp://guest:hush@{rabbitmq_server.host}:{rabbitmq_server.port}",
        "wrong vhost": rabbitmq_server.url.rstrip("/") + "/nowhere",
        "plain": rabbitmq_server.url.replace("amqp://", "amqps://"),
    }
    with channel_to(rabbitmq_server.url) as channel:
        channel.queue_declare(rabbitmq_name, durable=True, arguments={"x-queue-type": "quorum"})
    if "NAME" in str(settings):
        settings = {"declare": {"queues": [{"name": rabbitmq_name, "type": "classic"}]}}
    check_waits_and_says(producer(urls.get(change, rabbitmq_server.url), rabbitmq_name, **settings), says, caplog)


def test_silent_server_is_given_up_after_connect_timeout(silent_port: int, unique_name: str) -> None:
    with producer(f"amqp://127.0.0.1:{silent_port}", unique_name, connect_timeout=0.3) as made:
        made.produce(False, {"n": 1})
        until(lambda: "the broker cannot be reached; check the host" in str(made.statistics().last_error))
        until(lambda: made.statistics().connect_failures > 2)
        made.shutdown(0.1)


def test_shutdown_does_not_wait_for_a_connection_that_is_being_opened(silent_port: int, unique_name: str) -> None:
    made = producer(f"amqp://127.0.0.1:{silent_port}", unique_name, connect_timeout=60)
    made.produce(False, {"n": 1})
    report = made.shutdown(0.5)
    assert report.undelivered == 1


def test_the_next_host_is_tried_when_one_cannot_be_reached(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    url = rabbitmq_server.url.replace(f":{rabbitmq_server.port}", f":{free_port()}")
    others = f"127.0.0.1:{free_port()},{rabbitmq_server.host}:{rabbitmq_server.port}"
    with producer(url, rabbitmq_name, failover=others) as made:
        made.produce(False, {"n": 1})
        assert made.flush(WITHIN) == 0
        assert made.statistics().connect_failures == 2


def test_tls_is_checked_both_ways(
    own_server: Callable[..., RabbitServer], certificates: Certificates, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server(RabbitServer, tls=certificates.for_server(client_required=True))
    check_tls_both_ways(partial(producer, server.url, unique_name), certificates, caplog)


def test_certificate_that_has_expired_is_refused(
    own_server: Callable[..., RabbitServer], certificates: Certificates, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server(RabbitServer, tls=certificates.for_server(certificates.expired))
    check_waits_and_says(
        producer(server.url, unique_name, tls={"ca_file": str(certificates.ca_file)}), "have the certificate renewed", caplog
    )


def test_certificate_is_the_login(
    own_server: Callable[..., RabbitServer], certificates: Certificates, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    mechanisms = {"auth_mechanisms.1": "PLAIN", "auth_mechanisms.2": "EXTERNAL", "ssl_cert_login_from": "common_name"}
    server = own_server(
        RabbitServer,
        user="standpipe",  # the common name of the client's certificate
        tls=certificates.for_server(client_required=True),
        plugins=["rabbitmq_auth_mechanism_ssl"],
        settings=mechanisms,
    )
    url = f"amqps://{server.host}:{server.port}"

    def external(pair: Pair) -> RabbitmqProducer:
        tls = {"ca_file": str(certificates.ca_file), "cert_file": str(pair.cert_file), "key_file": str(pair.key_file)}
        return producer(url, unique_name, auth="external", tls=tls)

    with external(certificates.client) as made:
        made.produce_many(False, [{"n": number} for number in range(100)])
        assert made.flush(WITHIN) == 0
        assert made.statistics().delivered == 100
    pair = certificates.client
    options = {"ca_certs": str(certificates.ca_file), "certfile": str(pair.cert_file), "keyfile": str(pair.key_file)}
    assert len(read(f"{server.url}?ssl_options={quote(repr(options))}", unique_name)) == 100
    assert Severity.CRITICAL not in [finding.severity for finding in external(pair).examine()]
    check_waits_and_says(external(certificates.unknown_client), "correct user and password in url, tls.cert_file, or auth", caplog)
    check_waits_and_says(external(certificates.other_client), "our certificate", caplog)


# --- examination ----------------------------------------------------------------------------------------------------------


def test_examination_finds_what_would_lose_messages(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    queues = [{"name": rabbitmq_name, "type": "classic", "arguments": {"x-max-length": 5, "x-overflow": "drop-head"}}]
    settings = {"declare": {"queues": queues}, "persistent": False, "unroutable": "discard", "expiration": "1h"}
    findings = producer(rabbitmq_server.url, rabbitmq_name, **settings).examine()
    critical = [finding.what for finding in findings if finding.severity is Severity.CRITICAL]
    assert critical == ["persistent is false", f"the queue {rabbitmq_name} has a bound and x-overflow is drop-head"]
    warnings = " ".join(finding.what for finding in findings if finding.severity is Severity.WARNING)
    assert "unroutable is discard" in warnings
    assert "expiration is 3600 s" in warnings
    assert "is a classic queue" in warnings
    assert all(finding.remedy for finding in findings if finding.severity is not Severity.INFO)
    with channel_to(rabbitmq_server.url) as channel, pytest.raises(Exception, match="NOT_FOUND"):
        channel.queue_declare(rabbitmq_name, passive=True)  # looking has declared nothing


def test_examination_says_what_is_missing_and_what_is_well(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    missing = producer(rabbitmq_server.url, rabbitmq_name, declare=None, error_exchange=rabbitmq_name).examine()
    assert [finding.what for finding in missing if finding.severity is Severity.CRITICAL] == [
        f"the exchange {rabbitmq_name} does not exist",
        f"the queue {rabbitmq_name} does not exist",
    ]
    well = producer(rabbitmq_server.url, rabbitmq_name).examine()
    assert {finding.severity for finding in well} == {Severity.INFO}
    assert any("answers: RabbitMQ" in finding.what for finding in well)


def test_examination_of_a_broker_that_cannot_be_reached_says_why(unique_name: str) -> None:
    with pytest.raises(StandpipeError, match="check the host and the port in url"):
        producer(f"amqp://guest:hush@127.0.0.1:{free_port()}", unique_name).examine()
