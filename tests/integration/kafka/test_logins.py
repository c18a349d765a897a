"""Who has the right password, token or certificate delivers; for whom has not, the messages wait until it is right."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import orjson
import pytest

from standpipe.producers.kafka import KafkaProducer
from tests.integration.conftest import MakeServer
from tests.integration.kafka import reading
from tests.servers.certificates import Certificates
from tests.servers.kafka import TansuServer
from tests.servers.kafka_logins import Logins

USER, PASSWORD, WRONG = "ann,=é", "hush-hush, Grüße", "guess-word"
MECHANISMS = {"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"}
REMEDY = "Misconfigured: the broker does not let us in; correct auth"


def password(kind: str, password: str = PASSWORD) -> dict[str, Any]:
    return {"type": kind, "user": USER, "password": password}


def numbers(server: TansuServer, topic: str, access: dict[str, Any]) -> list[int]:
    return [orjson.loads(message.value() or b"")["n"] for message in reading.messages(server.url, topic, **access)]


def reader(kind: str, tls: Certificates | None = None) -> dict[str, Any]:
    """How the independent reader logs in."""
    access = {"security.protocol": "sasl_plaintext", "sasl.mechanism": MECHANISMS[kind], "sasl.username": USER, "sasl.password": PASSWORD}
    return access if tls is None else access | {"security.protocol": "sasl_ssl", "ssl.ca.location": str(tls.ca_file)}


def told(producer: KafkaProducer) -> str:
    reading.wait_until(lambda: REMEDY in str(producer.statistics().last_error))
    return str(producer.statistics().last_error)


@pytest.mark.parametrize("kind", MECHANISMS)
def test_the_right_password_delivers(own_server: MakeServer, unique_name: str, kind: str) -> None:
    server = own_server(TansuServer, logins=Logins({USER: PASSWORD}, only=[MECHANISMS[kind]]))
    with reading.producer(server.url, unique_name, auth=password(kind)) as producer:
        assert reading.arrives(producer.produce_many(False, [{"n": n} for n in range(100)], key="k"))
    assert set(server.front.let_in) == {MECHANISMS[kind]}
    assert numbers(server, unique_name, reader(kind)) == list(range(100))


def test_a_password_over_an_encrypted_connection(own_server: MakeServer, certificates: Certificates, unique_name: str) -> None:
    server = own_server(TansuServer, logins=Logins({USER: PASSWORD}), tls=certificates.for_server())
    tls = {"ca_file": str(certificates.ca_file)}
    with reading.producer(server.url, unique_name, auth=password("plain"), tls=tls) as producer:
        assert reading.arrives(producer.produce(False, {"n": 0}))
    assert numbers(server, unique_name, reader("plain", certificates)) == [0]


@pytest.mark.parametrize("kind", MECHANISMS)
def test_with_a_wrong_password_the_messages_wait_until_the_broker_takes_it(
    own_server: MakeServer, unique_name: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server(TansuServer, logins=Logins({USER: PASSWORD}))
    with caplog.at_level(logging.DEBUG), reading.producer(server.url, unique_name, auth=password(kind, WRONG)) as producer:
        receipts = [producer.produce(False, {"n": n}, key="k") for n in range(20)]
        said = told(producer)
        assert not any(receipt.done() for receipt in receipts)
        assert server.front.let_in == []
        server.front.logins = Logins({USER: WRONG})
        assert all(reading.arrives(receipt) for receipt in receipts)
        now = producer.statistics()
    assert (now.delivered, now.dead_lettered, now.pending) == (20, 0, 0)
    alarms = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert any("events" in alarm.getMessage() and REMEDY in alarm.getMessage() for alarm in alarms)
    assert WRONG not in caplog.text + said
    assert numbers(server, unique_name, reader(kind) | {"sasl.password": WRONG}) == list(range(20))


@pytest.mark.parametrize("send_timeout", [2.0, 30.0])
def test_a_password_that_is_changed_at_the_broker_is_told_and_nothing_is_lost(
    own_server: MakeServer, unique_name: str, caplog: pytest.LogCaptureFixture, send_timeout: float
) -> None:
    """Told also at once, long before the client is given up and a new one is refused."""
    server = own_server(TansuServer, logins=Logins({USER: PASSWORD}))
    access = {"auth": password("scram-sha-512"), "send_timeout": send_timeout}
    with caplog.at_level(logging.DEBUG), reading.producer(server.url, unique_name, **access) as producer:
        assert reading.arrives(producer.produce_many(False, [{"n": n} for n in range(50)], key="k"))
        server.front.logins = Logins({USER: "another"})
        server.front.drop()
        receipts = [producer.produce(False, {"n": n}, key="k") for n in range(50, 100)]
        if send_timeout < 10:
            told(producer)
        else:
            reading.wait_until(lambda: "events: a broker refuses us, and somebody has to mend it" in caplog.text)
        assert not any(receipt.done() for receipt in receipts)
        server.front.logins = Logins({USER: PASSWORD})
        assert all(reading.arrives(receipt) for receipt in receipts)
        assert (producer.statistics().resets > 0) == (send_timeout < 10)
    assert "the broker does not let us in; correct auth" in caplog.text
    assert PASSWORD not in caplog.text
    assert numbers(server, unique_name, reader("scram-sha-512")) == list(range(100))


def test_a_kind_of_login_that_the_broker_does_not_offer_is_named(own_server: MakeServer, unique_name: str) -> None:
    server = own_server(TansuServer, logins=Logins({USER: PASSWORD}, only=["SCRAM-SHA-512"]))
    with reading.producer(server.url, unique_name, auth=password("plain"), shutdown_timeout=0.2) as producer:
        producer.produce(False, {"n": 0})
        assert "SCRAM-SHA-512" in told(producer)


def test_without_a_login_the_broker_cannot_be_used(own_server: MakeServer, unique_name: str) -> None:
    server = own_server(TansuServer, logins=Logins({USER: PASSWORD}))
    with reading.producer(server.url, unique_name, shutdown_timeout=0.2) as producer:
        producer.produce(False, {"n": 0})
        reading.wait_until(lambda: "whether they want tls, tls.cert_file or auth" in str(producer.statistics().last_error))


def test_a_token_from_a_file_delivers_and_a_new_one_is_read(own_server: MakeServer, unique_name: str, tmp_path: Path) -> None:
    server = own_server(TansuServer, logins=Logins({USER: PASSWORD}, tokens=["good-token"]))
    file = tmp_path / "token"
    file.write_text("old-token\n")
    with reading.producer(server.url, unique_name, auth={"type": "token", "file": str(file)}) as producer:
        receipt = producer.produce(False, {"n": 0})
        assert "old-token" not in told(producer)
        file.write_text("good-token\n")
        assert reading.arrives(receipt)
    assert set(server.front.let_in) == {"OAUTHBEARER"}
    assert numbers(server, unique_name, reader("plain")) == [0]


# --- certificates as logins -----------------------------------------------------------------------------------------------


def test_a_certificate_of_ours_is_a_login(own_server: MakeServer, certificates: Certificates, unique_name: str) -> None:
    server = own_server(TansuServer, tls=certificates.for_server(client_required=True))
    mine = certificates.client
    tls = {"ca_file": str(certificates.ca_file), "cert_file": str(mine.cert_file), "key_file": str(mine.key_file)}
    with reading.producer(server.url, unique_name, tls=tls) as producer:
        assert reading.arrives(producer.produce(False, {"n": 0}))
    access = {
        "security.protocol": "ssl",
        "ssl.ca.location": str(certificates.ca_file),
        "ssl.certificate.location": str(mine.cert_file),
        "ssl.key.location": str(mine.key_file),
    }
    assert numbers(server, unique_name, access) == [0]


@pytest.mark.parametrize("pair", [None, "other_client"])
def test_without_the_right_certificate_the_messages_wait(
    own_server: MakeServer, certificates: Certificates, unique_name: str, pair: str | None
) -> None:
    server = own_server(TansuServer, tls=certificates.for_server(client_required=True))
    tls = {"ca_file": str(certificates.ca_file)}
    if pair is not None:
        other = getattr(certificates, pair)
        tls |= {"cert_file": str(other.cert_file), "key_file": str(other.key_file)}
    with reading.producer(server.url, unique_name, tls=tls, shutdown_timeout=0.2) as producer:
        receipt = producer.produce(False, {"n": 0})
        reading.wait_until(lambda: "tls.cert_file" in str(producer.statistics().last_error))
        said = str(producer.statistics().last_error)
        assert not receipt.done()
    assert said.startswith("Misconfigured: no encrypted connection; correct servers, tls.ca_file or tls.cert_file")
