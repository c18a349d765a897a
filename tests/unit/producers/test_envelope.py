"""Headers of messages: what the application said arrives, what Standpipe says is true, and nothing breaks the protocol."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
import pytest
from pydantic import ValidationError

from standpipe.core.errors import Reject
from standpipe.producers import header_rules
from standpipe.producers.cloudevents import AMQP_BINDING, HTTP_BINDING, KAFKA_BINDING, MQTT_BINDING, NATS_BINDING, Binding, percent_encoded
from standpipe.producers.config import secrets_in
from standpipe.producers.envelope import Envelope
from standpipe.producers.header_rules import HeaderRule, check_headers
from standpipe.producers.network_config import NetworkProducerConfig
from tests.unit.producers.batches import PREFIX, batch_of, given

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
ID0, ID1 = f"{PREFIX}{0:012x}", f"{PREFIX}{1:012x}"


def config(rule: HeaderRule = header_rules.KAFKA, binding: Binding = KAFKA_BINDING, **settings: Any) -> NetworkProducerConfig:
    class Config(NetworkProducerConfig):
        header_rule: ClassVar[HeaderRule] = rule
        cloudevents_binding: ClassVar[Binding] = binding

    return Config(type="x", name="p", **settings)


def wrap(*calls: Any, **settings: Any) -> list[dict[str, str]]:
    faults: dict[int, Reject] = {}
    headers = Envelope(config(**settings)).wrap(batch_of(*calls), faults).headers
    assert faults == {}
    return headers


# --- headers ----------------------------------------------------------------------------------------------------------


def test_a_plain_message_has_its_id_and_nothing_else() -> None:
    assert wrap(given({"a": 1}, {"a": 2})) == [{"message-id": ID0}, {"message-id": ID1}]


def test_error_messages_say_so_and_normal_ones_do_not() -> None:
    assert wrap(given({}), given({}, is_error=True)) == [{"message-id": ID0}, {"message-id": ID1, "is_error": "true"}]
    assert wrap(given({}, is_error=True), error_header=None) == [{"message-id": ID0}]


def test_what_the_application_said_is_passed_on_beside_the_fixed_headers() -> None:
    [headers] = wrap(given({}, headers={**TRACE, "a": "mine"}, key="k"), headers={"a": "fixed", "b": "fixed"}, key_header="key")
    assert headers == {"b": "fixed", "a": "mine", **TRACE, "message-id": ID0, "key": "k"}


def test_headers_keys_and_ids_of_messages_are_passed_on_where_nothing_is_configured() -> None:
    calls = given({}), given({}, headers=TRACE), given({}, key="k"), given({}, ids=["mine"])
    assert [{name: value for name, value in headers.items() if value not in (ID0, ID1)} for headers in wrap(*calls, key_header="key")] == [
        {},
        TRACE,
        {"message-id": f"{PREFIX}{2:012x}", "key": "k"},
        {"message-id": "mine"},
    ]


def test_a_key_is_passed_on_where_all_else_is_plain() -> None:
    assert wrap(given({}, key="k"), key_header="key") == [{"message-id": ID0, "key": "k"}]


def test_the_id_can_have_a_name_that_no_message_may_use() -> None:
    rule, binding = header_rules.NATS, NATS_BINDING
    envelope = Envelope(config(rule, binding, message_id_header="Nats-Msg-Id"))
    faults: dict[int, Reject] = {}
    batch = batch_of(
        given({}), given({}, ids=["mine"]), given({}, headers={"Nats-Msg-Id": "forged"}), given({}, headers={"nats-TTL": "1s"})
    )
    assert envelope.wrap(batch, faults).headers == [{"Nats-Msg-Id": ID0}, {"Nats-Msg-Id": "mine"}, {}, {}]
    assert sorted(faults) == [2, 3]


def test_no_id_header_means_one_shared_dictionary() -> None:
    headers = wrap(given({}, {}), message_id_header=None, headers={"a": "b"})
    assert headers == [{"a": "b"}] * 2


@pytest.mark.parametrize("name", ["Message-Id", "Is_Error", "KEY"])
def test_a_message_cannot_claim_another_id_or_flag_or_key(name: str) -> None:
    [headers] = wrap(given({}, headers={name: "false claim"}), rule=header_rules.HTTP, binding=HTTP_BINDING, key_header="key")
    assert headers == {"message-id": ID0}


def test_names_that_differ_in_case_are_one_header_where_the_service_says_so() -> None:
    [headers] = wrap(given({}, headers={"x-app": "mine"}), rule=header_rules.HTTP, headers={"X-App": "fixed"})
    assert headers == {"x-app": "mine", "message-id": ID0}
    [headers] = wrap(given({}, headers={"x-app": "mine"}), rule=header_rules.KAFKA, headers={"X-App": "fixed"})
    assert headers == {"X-App": "fixed", "x-app": "mine", "message-id": ID0}


def test_what_the_producer_adds_is_strongest() -> None:
    envelope = Envelope(config(header_rules.NATS, NATS_BINDING, headers={"a": "b"}), {"Nats-Expected-Stream": "s"})
    batch = batch_of(given({}), given({}, headers={"c": "d"}))
    common = {"a": "b", "Nats-Expected-Stream": "s"}
    assert envelope.wrap(batch, {}).headers == [{**common, "message-id": ID0}, {**common, "c": "d", "message-id": ID1}]


def test_one_message_that_cannot_be_carried_harms_no_other() -> None:
    faults: dict[int, Reject] = {}
    envelope = Envelope(config(header_rules.HTTP, HTTP_BINDING, key_header="key"))
    calls = [
        given({"a": 1}),
        given({"a": 2}, {"a": 3}, headers={"x": "a\r\nb: c"}),
        given({"a": 4}, key="ключ"),
        given({"a": 5}, ids=["a\nb"]),
    ]
    bodies, headers = envelope.wrap(batch_of(*calls, given({"a": 6})), faults)
    assert sorted(faults) == [1, 2, 3, 4]
    assert [bool(each) for each in headers] == [True, False, False, False, False, True]
    assert bodies == [b'{"a":%d}' % number for number in range(1, 7)]
    assert str(faults[1]).startswith(r"the header 'x' has a value that HTTP cannot carry: there is '\r' in it; use printable ASCII")
    assert "'key'" in str(faults[3])
    assert "'message-id'" in str(faults[4])


@pytest.mark.parametrize(
    ("rule", "name", "value", "good"),
    [
        (header_rules.HTTP, "x-a", "b c", True),
        (header_rules.HTTP, "x-a", "", True),
        (header_rules.HTTP, "x a", "b", False),
        (header_rules.HTTP, "x:a", "b", False),
        (header_rules.HTTP, "", "b", False),
        (header_rules.HTTP, "x-a", " b", False),
        (header_rules.HTTP, "x-a", "b\n", False),
        (header_rules.HTTP, "x-a", "b\x00", False),
        (header_rules.HTTP, "x-a", "é", False),
        (header_rules.HTTP, "Content-Length", "0", False),
        (header_rules.HTTP, "HOST", "evil", False),
        (header_rules.HTTP, "x-a", "b" * 9000, False),
        (header_rules.NATS, "Nats-Msg-Id", "x", False),
        (header_rules.NATS, "nats-rollup", "all", False),
        (header_rules.NATS, "a", "b\r\nNats-Msg-Id: x", False),
        (header_rules.NATS, "a b", "c", False),
        (header_rules.NATS, "a", "b", True),
        (header_rules.MQTT, "a", "é", True),
        (header_rules.MQTT, "a", "b\x00", False),
        (header_rules.MQTT, "a", "é" * 32768, False),
        (header_rules.AMQP, "é" * 127, "b\n", True),
        (header_rules.AMQP, "é" * 128, "b", False),
        (header_rules.KAFKA, "a", "b\r\n\x00é", True),
        (header_rules.KAFKA, "", "b", False),
        (header_rules.REDIS, "a", "b\n", True),
    ],
)
def test_each_service_carries_what_its_protocol_can(rule: HeaderRule, name: str, value: str, good: bool) -> None:
    for _ in range(2):  # names are remembered
        if good:
            check_headers({name: value}, rule)
        else:
            with pytest.raises(Reject, match=";"):
                check_headers({name: value}, rule)


def test_a_fault_never_shows_the_value_which_may_be_a_secret() -> None:
    with pytest.raises(Reject) as caught:
        check_headers({"authorization": "Bearer very-secret\n"}, header_rules.HTTP)
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"headers": {"a b": "c"}}, "'a b' cannot name a header of HTTP; use letters"),
        ({"headers": {"a": "c\n"}}, "has a value that HTTP cannot carry"),
        ({"headers": {"Host": "c"}}, "is written by the producer itself; leave it out"),
        ({"headers": {"Is_Error": "c"}}, "error_header and headers: 'Is_Error' name the same header"),
        ({"key_header": "Message-ID"}, "message_id_header and key_header name the same header"),
        ({"error_header": "a b"}, "'a b' cannot name a header"),
    ],
)
def test_fixed_headers_are_checked_when_the_configuration_is_read(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        config(header_rules.HTTP, HTTP_BINDING, **settings)


def test_a_header_that_is_not_text_is_one_problem() -> None:
    with pytest.raises(ValidationError, match="the value of a header is text; write it in quotes") as caught:
        config(headers={"a": 7})
    assert caught.value.error_count() == 1


def test_headers_with_secret_names_are_sent_and_hidden_everywhere_else() -> None:
    made = config(headers={"Authorization": "Bearer abc", "x-api-key": "xyz", "x-app": "shop"})
    assert "abc" not in repr(made) + made.model_dump_json()
    assert "xyz" not in repr(made) + made.model_dump_json()
    assert sorted(secrets_in(made)) == ["Bearer abc", "xyz"]
    [headers] = Envelope(made).wrap(batch_of(given({})), {}).headers
    assert headers == {"Authorization": "Bearer abc", "x-api-key": "xyz", "x-app": "shop", "message-id": ID0}


# --- CloudEvents ------------------------------------------------------------------------------------------------------

EVENT = {"source": "/shop/{region}", "type": "com.example.order", "subject": "{n}", "dataschema": "https://example.com/order.json"}
MESSAGE = {"region": "e u", "n": 7}
TIME = "2027-01-15T08:00:00.250000Z"


def test_a_structured_event_holds_the_message_as_it_is() -> None:
    envelope = Envelope(config(cloudevents={**EVENT, "mode": "structured"}, headers={"a": "b"}))
    [body], [headers] = envelope.wrap(batch_of(given(MESSAGE, key="k", headers=TRACE, is_error=True)), {})
    assert orjson.loads(body) == {
        "specversion": "1.0",
        "id": ID0,
        "source": "/shop/e%20u",
        "type": "com.example.order",
        "subject": "7",
        "dataschema": "https://example.com/order.json",
        "time": TIME,
        "datacontenttype": "application/json",
        "partitionkey": "k",
        **TRACE,
        "data": MESSAGE,
    }
    content_type = "application/cloudevents+json; charset=UTF-8"
    assert envelope.content_type == content_type
    assert headers == {"a": "b", **TRACE, "is_error": "true", "message-id": ID0, "content-type": content_type}


def test_a_structured_event_keeps_every_byte_of_the_message() -> None:
    message = {"text": 'quotes " and \u2028 \x00', "big": 2**63 - 1, "nested": {"data": {}}, "id": "mine"}
    batch = batch_of(given(message, {}))
    bodies, _ = Envelope(config(cloudevents={"source": "/a", "type": "t"})).wrap(batch, {})
    for body, payload in zip(bodies, batch.payloads(), strict=True):
        assert body.endswith(b',"data":' + payload + b"}")
        orjson.loads(body)


@pytest.mark.parametrize(
    ("rule", "binding", "prefix", "more"),
    [
        (header_rules.KAFKA, KAFKA_BINDING, "ce_", {"content-type": "application/json"}),
        (header_rules.AMQP, AMQP_BINDING, "cloudEvents_", {}),
        (header_rules.HTTP, HTTP_BINDING, "ce-", {}),
        (header_rules.NATS, NATS_BINDING, "ce-", {"Content-Type": "application/json", "ce-datacontenttype": "application/json"}),
        (header_rules.MQTT, MQTT_BINDING, "", {}),
    ],
)
def test_a_binary_event_has_its_attributes_as_the_binding_of_the_service_names_them(
    rule: HeaderRule, binding: Binding, prefix: str, more: dict[str, str]
) -> None:
    envelope = Envelope(config(rule, binding, cloudevents={**EVENT, "mode": "binary"}, message_id_header=None))
    batch = batch_of(given(MESSAGE))
    [body], [headers] = envelope.wrap(batch, {})
    assert body == batch.payloads()[0]
    assert envelope.content_type == "application/json"
    source = percent_encoded("/shop/e%20u") if binding.encode else "/shop/e%20u"
    attributes = {"specversion": "1.0", "id": ID0, "source": source, "type": EVENT["type"], "subject": "7", "time": TIME}
    attributes["dataschema"] = EVENT["dataschema"]
    assert headers == {**{prefix + name: value for name, value in attributes.items()}, **more}


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("Euro \u20ac \U0001f600", "Euro%20%E2%82%AC%20%F0%9F%98%80"),  # the example of the binding for HTTP
        ('a"b%c', "a%22b%25c"),
        ("!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
        ("", ""),
    ],
)
def test_attributes_in_headers_are_percent_encoded_as_the_binding_says(value: str, encoded: str) -> None:
    assert percent_encoded(value) == encoded


def test_a_message_cannot_forge_an_attribute_of_its_event() -> None:
    envelope = Envelope(config(header_rules.HTTP, HTTP_BINDING, cloudevents={"source": "/a", "type": "t", "mode": "binary"}))
    [_], [headers] = envelope.wrap(batch_of(given({}, headers={"CE-Source": "/forged"})), {})
    assert [value for name, value in headers.items() if name.lower() == "ce-source"] == ["/a"]


def test_a_message_that_cannot_be_an_event_harms_no_other() -> None:
    faults: dict[int, Reject] = {}
    envelope = Envelope(config(cloudevents={"source": "/{a}", "type": "t"}))
    bodies, headers = envelope.wrap(batch_of(given({"a": "x"}, {}, {"a": "y"}), given({"a": "z"}, key="a\x00b")), faults)
    assert sorted(faults) == [1, 3]
    assert [bool(body) for body in bodies] == [bool(each) for each in headers] == [True, False, True, False]
    assert [orjson.loads(bodies[at])["source"] for at in (0, 2)] == ["/x", "/y"]


@pytest.mark.parametrize(
    "event",
    [
        {"source": "", "type": "t"},
        {"source": "a b", "type": "t"},
        {"source": "/a", "type": ""},
        {"source": "/a", "type": "t", "dataschema": "no scheme"},
        {"source": "/a", "type": "t", "dataschema": "https://{host}/x"},
        {"source": "/{a", "type": "t"},
        {"type": "t"},
        {"source": "/a", "type": "t", "mode": "batch"},
    ],
)
def test_an_event_that_the_standard_forbids_is_refused_when_the_configuration_is_read(event: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(cloudevents=event)


def test_times_of_events_are_exact_over_the_change_of_a_second() -> None:
    envelope = Envelope(config(cloudevents={"source": "/a", "type": "t"}))
    for time, text in [(0.0, "1970-01-01T00:00:00.000000Z"), (1.5, "1970-01-01T00:00:01.500000Z"), (1.25, "1970-01-01T00:00:01.250000Z")]:
        [body], _ = envelope.wrap(batch_of(given({}), time=time), {})
        assert orjson.loads(body)["time"] == text
