"""A wrong configuration of `type: kafka` is refused with the remedy; a right one becomes what librdkafka is told."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from pydantic import ValidationError

from standpipe.core.errors import ConfigurationError
from standpipe.producers.config import secrets_in
from standpipe.producers.kafka import KafkaProducer
from standpipe.producers.kafka_auth import TokenAuth, ends_at
from standpipe.producers.kafka_client import client_properties
from standpipe.producers.kafka_config import KEPT, TAKEN, KafkaProducerConfig
from tests.servers.certificates import Certificates

SECRET = "hush-hush"
CALLBACKS = {"dr_cb", "dr_msg_cb", "on_delivery", "error_cb", "oauth_cb", "logger"}


def config(**settings: Any) -> KafkaProducerConfig:
    return KafkaProducerConfig.model_validate(
        {"name": "events", "servers": "a.example.com,b.example.com:9093", "topic": "orders", **settings}
    )


def properties(**settings: Any) -> dict[str, Any]:
    return client_properties(config(**settings), 1_000_000)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"topic": "a b"}, "'a b' cannot be a topic: use letters, digits, '.', '_' and '-'"),
        ({"topic": "x" * 250}, "249 is the most there can be"),
        ({"topic": ".."}, "cannot be a topic"),
        ({"error_topic": "errors/{region}"}, "cannot be a topic"),
        ({"servers": "kafka://a:9092"}, "is not host:port"),
        ({"servers": []}, "no server is named"),
        ({"acks": "1"}, "can lose messages and needs idempotence: false"),
        ({"acks": "2"}, "Input should be 'all', '1' or '0'"),
        ({"idempotence": False, "transactional_id": "t"}, "transactions need idempotence"),
        ({"options": {"acks": 1}}, "'acks' has a setting of its own: acks; write it there"),
        ({"options": {"sasl.password": SECRET}}, "'sasl.password' has a setting of its own: auth"),
        ({"options": {"max.in.flight": 1}}, "'max.in.flight' cannot be set: more than its value here would break the order"),
        ({"options": {"message.timeout.ms": 1}}, "has a setting of its own: send_timeout"),
        ({"tls": {"server_name": "x"}}, "tls.server_name has no effect"),
        ({"tls": {"min_version": "1.3"}}, "tls.min_version 1.3 cannot be had"),
        ({"auth": {"type": "kerberos"}}, "there are: plain, scram-sha-256, scram-sha-512, oauth, token"),
        ({"auth": {"type": "plain", "user": "", "password": SECRET}}, "at least 1 character"),
        ({"auth": {"type": "token"}}, "either from a file or from a function"),
        ({"auth": {"type": "token", "function": "nonsense"}}, "String should match pattern"),
        ({"auth": {"type": "oauth", "token_url": "x", "client_id": "c", "client_secret": SECRET}}, "String should match pattern"),
        ({"message_id_header": "is_error"}, "name the same header"),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**settings)
    assert complaint in str(caught.value)
    assert SECRET not in str(caught.value)


def test_defaults_lose_nothing_and_keep_the_order() -> None:
    told = properties()
    assert told["bootstrap.servers"] == "a.example.com:9092,b.example.com:9093"
    assert (told["acks"], told["enable.idempotence"], told["enable.gapless.guarantee"]) == (-1, True, True)
    assert told["message.timeout.ms"] == 0
    assert told["partitioner"] == "murmur2_random"
    assert told["security.protocol"] == "plaintext"
    assert told["queue.buffering.max.messages"] > config().max_in_flight + config().batch.max_messages
    assert 0 < told["topic.metadata.propagation.max.ms"] * 1000 < 2**31
    producer = KafkaProducer(config())
    assert producer.atomic_batches
    assert producer.max_in_flight == 10_000
    assert producer.destination == "kafka://a.example.com:9092,b.example.com:9093/orders"


def test_less_safety_has_to_be_asked_for() -> None:
    told = properties(acks=1, idempotence=False)
    assert (told["acks"], told["enable.idempotence"], told["enable.gapless.guarantee"]) == (1, False, False)
    assert not KafkaProducer(config(acks=0, idempotence=False)).atomic_batches
    assert properties(acks=-1)["acks"] == -1


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        (
            {"type": "scram-sha-512", "user": "ann", "password": SECRET},
            {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "ann", "sasl.password": SECRET},
        ),
        ({"type": "plain", "user": "ann", "password": SECRET}, {"sasl.mechanism": "PLAIN"}),
        (
            {
                "type": "oauth",
                "token_url": "https://id.example.com/token",
                "client_id": "shop",
                "client_secret": SECRET,
                "scope": "kafka",
                "extensions": {"logicalCluster": "lkc-1", "poolId": "p"},
            },
            {
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.client.secret": SECRET,
                "sasl.oauthbearer.extensions": "logicalCluster=lkc-1,poolId=p",
                "sasl.oauthbearer.scope": "kafka",
            },
        ),
    ],
)
def test_logins_are_passed_on_and_hidden(auth: dict[str, Any], told: dict[str, Any]) -> None:
    made = properties(auth=auth)
    assert {name: made[name] for name in told} == told
    assert made["security.protocol"] == "sasl_plaintext"
    assert properties(auth=auth, tls={})["security.protocol"] == "sasl_ssl"
    assert SECRET in list(secrets_in(config(auth=auth)))
    assert SECRET not in repr(config(auth=auth))
    Producer({**made, "bootstrap.servers": "", "log_level": 0})  # librdkafka knows all of it


def test_certificates_are_passed_on(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    pair = certificates.client
    tls = {"ca_file": str(certificates.ca_file), "cert_file": str(pair.cert_file), "key_file": str(pair.key_file)}
    told = properties(tls=tls)
    assert told["ssl.ca.location"] == str(certificates.ca_file)
    assert told["ssl.certificate.location"] == str(pair.cert_file)
    assert told["ssl.key.location"] == str(pair.key_file)
    Producer({**told, "bootstrap.servers": "", "log_level": 0})
    unchecked = properties(tls={"verify": False})
    assert unchecked["enable.ssl.certificate.verification"] is False
    with pytest.raises(ConfigurationError, match=r"tls\.ca_file '/nowhere' does not exist"):
        properties(tls={"ca_file": "/nowhere"})


def test_other_options_are_passed_on_and_secret_ones_hidden() -> None:
    options = {"socket.keepalive.enable": False, "statistics.interval.ms": 1000, "ssl.keystore.password": SECRET}
    told = properties(options=options)
    assert {name: told[name] for name in options} == options
    assert SECRET not in repr(config(options=options))


@pytest.mark.parametrize("name", sorted({*TAKEN, *KEPT} - CALLBACKS))
def test_options_that_are_taken_or_kept_are_known_to_the_client(name: str) -> None:
    try:
        Producer({name: "", "log_level": 0})
        said = ""
    except Exception as error:
        said = str(error)
    assert "No such configuration property" not in said


def token(claims: dict[str, Any]) -> str:
    body = base64.urlsafe_b64encode(orjson.dumps(claims)).rstrip(b"=").decode()
    return f"e30.{body}.x"


def test_a_token_is_read_anew_and_used_until_it_ends(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token({"exp": 1_900_000_000}) + "\n")
    source = TokenAuth(type="token", file=str(file)).source()
    assert source() == (file.read_text().strip(), 1_900_000_000.0)
    file.write_text("opaque")
    text, ends = source()
    assert text == "opaque"
    assert 290 < ends - time.time() <= 300


@pytest.mark.parametrize("text", ["abc", "a.b.c", "e30.e30.x", "e30.bnVsbA.x", f"e30.{'é'}.x"])
def test_what_does_not_say_when_it_ends_is_used_for_its_lifetime(text: str) -> None:
    assert ends_at(text) is None


def test_a_token_may_come_from_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "our_tokens.py").write_text("def give():\n    return 'made', 1_900_000_000\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert TokenAuth(type="token", function="our_tokens:give")._asked("") == ("made", 1_900_000_000.0)
    with pytest.raises(ConfigurationError, match="cannot be found"):
        TokenAuth(type="token", function="our_tokens:nothing").source()
