"""What can be configured, and what is refused with a remedy."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from standpipe.core.errors import Reject
from standpipe.producers.addresses import HostPort
from standpipe.producers.header_rules import check_headers
from standpipe.producers.rabbitmq import RabbitmqProducer, parameters_for
from standpipe.producers.rabbitmq_config import RabbitmqProducerConfig
from standpipe.producers.registry import PRODUCERS


def config(**settings: Any) -> RabbitmqProducerConfig:
    given = {"name": "r", "url": "amqp://user:hush@localhost", "routing_key": "orders"}
    return RabbitmqProducerConfig.model_validate({**given, **settings})


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"routing_key": ""}, "where to? name the queue in routing_key"),
        ({"error_routing_key": ""}, "where to? name the queue in error_routing_key, or an exchange in error_exchange"),
        ({"routing_key": "{a"}, "routing_key"),
        ({"routing_key": "x" * 256}, "255 is the most"),
        ({"url": "amqp://localhost/a/b"}, "written as %2F"),
        ({"url": "amqp://localhost?heartbeat=1"}, "no effect here"),
        ({"url": "http://localhost"}, "must begin with amqp://"),
        ({"tls": {}}, "write amqps://"),
        ({"user": "other"}, "stand in the url and beside it"),
        ({"password": "other"}, "stand in the url and beside it"),
        ({"auth": "external"}, "set tls.cert_file"),
        ({"auth": "external", "url": "amqps://u@h", "tls": {"cert_file": "c.pem"}}, "has no user and password"),
        ({"declare": {"exchange_type": "topic"}}, "has no effect without exchange"),
        ({"declare": {"queues": [{"name": "q", "binding_keys": ["a"]}]}}, "cannot be bound to the nameless exchange"),
        ({"headers": {"CC": "elsewhere"}}, "not CC or BCC"),
        ({"max_in_flight": 0}, "greater than or equal to 1"),
        ({"unroutable": "drop"}, "unroutable"),
        ({"exchnge": "x"}, "exchnge"),
    ],
)
def test_mistakes_are_refused_with_a_remedy_and_without_the_password(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(complaint)) as caught:
        config(**settings)
    assert "hush" not in str(caught.value)


def test_defaults_do_not_lose_messages() -> None:
    made = config()
    assert made.persistent
    assert made.unroutable == "reject"
    assert made.message_id_header is None
    assert made.key_header == "message-key"


@pytest.mark.parametrize(
    ("url", "host"), [("amqp://h", "/"), ("amqp://h/", "/"), ("amqp://h/%2F", "/"), ("amqp://h/shop", "shop"), ("amqp://h/a%2Fb", "a/b")]
)
def test_virtual_host_is_the_path_of_the_url(url: str, host: str) -> None:
    assert config(url=url).virtual_host == host


def test_user_and_password_stand_in_the_url_or_beside_it() -> None:
    assert config().login == ("user", "hush")
    assert config(url="amqp://h", user="a", password="b").login == ("a", "b")
    assert config(url="amqp://a@h", password="b").login == ("a", "b")
    assert config(url="amqp://h").login == ("guest", "guest")


def test_password_is_shown_nowhere() -> None:
    producer = RabbitmqProducer(config())
    assert "hush" not in producer.destination
    assert "hush" not in repr(producer.config)
    assert "hush" not in producer.config.model_dump_json()


def test_destination_names_broker_and_route() -> None:
    assert RabbitmqProducer(config()).destination == "amqp://localhost queue 'orders'"
    made = config(exchange="shop", routing_key="a.{b}", error_exchange="oops", error_routing_key="x")
    shown = "amqp://localhost exchange 'shop', routing key 'a.{b}', errors: exchange 'oops', routing key 'x'"
    assert RabbitmqProducer(made).destination == shown


def test_hosts_are_that_of_the_url_and_the_others_in_turn() -> None:
    made = config(failover="b:5673,c")
    assert made.hosts == (HostPort("localhost", 5672), HostPort("b", 5673), HostPort("c", 5672))
    parameters = parameters_for(made, made.hosts[1])
    assert (parameters.host, parameters.port) == ("b", 5673)


def test_amqps_is_encrypted_and_checked_without_any_further_setting() -> None:
    made = config(url="amqps://broker.example.com")
    parameters = parameters_for(made, made.hosts[0])
    assert parameters.port == 5671
    assert parameters.ssl_options.context.check_hostname
    assert parameters.ssl_options.server_hostname == "broker.example.com"
    assert parameters_for(config(), HostPort("h", 1)).ssl_options is None


def test_queues_are_quorum_queues_and_a_bounded_one_refuses_instead_of_dropping() -> None:
    queues = [
        {"name": "a"},
        {"name": "b", "arguments": {"x-max-length": 10}},
        {"name": "c", "arguments": {"x-max-length": 10, "x-overflow": "drop-head"}},
        {"name": "d", "type": "stream", "arguments": {"x-max-length-bytes": 10}},
    ]
    made = config(declare={"queues": queues}).declare
    assert made is not None
    assert [queue.all_arguments() for queue in made.queues] == [
        {"x-queue-type": "quorum"},
        {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-max-length": 10},
        {"x-queue-type": "quorum", "x-overflow": "drop-head", "x-max-length": 10},
        {"x-queue-type": "stream", "x-max-length-bytes": 10},
    ]


def test_queues_that_must_exist_are_those_that_no_field_decides_on() -> None:
    assert config().fixed_queues == ["orders"]
    assert config(routing_key="{a}").fixed_queues == []
    assert config(exchange="shop").fixed_queues == []
    assert config(error_routing_key="errors").fixed_queues == ["orders", "errors"]
    assert config(exchange="shop", error_exchange="", error_routing_key="errors").fixed_queues == ["errors"]


@pytest.mark.parametrize("name", ["CC", "BCC"])
def test_message_cannot_send_copies_of_itself_elsewhere(name: str) -> None:
    with pytest.raises(Reject, match="decide where it goes"):
        check_headers({name: "secret.queue"}, RabbitmqProducerConfig.header_rule)
    check_headers({name.lower(): "harmless", name + "2": "x"}, RabbitmqProducerConfig.header_rule)


def test_type_rabbitmq_is_this_producer() -> None:
    assert PRODUCERS.resolve("rabbitmq") is RabbitmqProducer
