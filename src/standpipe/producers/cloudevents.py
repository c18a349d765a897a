"""CloudEvents 1.0: messages as events that other systems know how to read.

`structured`: the event is the body, with the message inside it; the message is not decoded, its bytes are set into the
event's. `binary`: the body stays as it is and the event's attributes are headers, named as the service's binding says
(https://github.com/cloudevents/spec, folder `cloudevents/bindings`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import orjson
from pydantic import Field, field_validator

from standpipe.core.errors import Reject
from standpipe.core.message import Message
from standpipe.producers.config import Section
from standpipe.producers.record_fields import iso_time
from standpipe.producers.text_template import TextRule, TextTemplate

STRUCTURED_TYPE = "application/cloudevents+json; charset=UTF-8"
DATA_TYPE = "application/json"

_ATTRIBUTE_MAX = 4096
"""Bytes of an attribute; intermediaries need not take events of more than 64 KiB, attributes and data together."""
_CARRIED = ("traceparent", "tracestate")
"""Headers that are attributes as well: the extension for distributed tracing."""
_NEEDS_NO_ENCODING = re.compile(r"[!#$&-~]*")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")

_TEXT_SAYS = "any text without control characters"
_URI_SAYS = "a URI, or the path of one: letters, digits and any of -._~:/?#[]@!$&'()*+,;=%"
_ANY_TEXT = re.compile(r"[^\ufdd0-\ufdef\ufffe\uffff]+")
_URI = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")

_SOURCE = TextRule(
    "source", _URI, _URI_SAYS, _ATTRIBUTE_MAX, escape=lambda value: quote(value, safe=""), forbidden_values=frozenset((".", ".."))
)
_TYPE = TextRule("type", _ANY_TEXT, _TEXT_SAYS, _ATTRIBUTE_MAX)
_SUBJECT = TextRule("subject", _ANY_TEXT, _TEXT_SAYS, _ATTRIBUTE_MAX)
_SCHEMA = TextRule("dataschema", re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:{_URI.pattern}"), "a URI with its scheme", _ATTRIBUTE_MAX)


class CloudEventsConfig(Section):
    """Sends messages as events of CloudEvents 1.0. `id` is the message id, `time` when the message was accepted, `partitionkey` its key."""

    mode: Literal["structured", "binary"] = Field(
        default="structured", description="`structured`: the body is the event and holds the message; `binary`: attributes are headers"
    )
    source: str = Field(description="where events come from: a URI or a path such as `/shop/{region}`; with fields as in a topic")
    type: str = Field(description="what kind of events they are: `com.example.order.created`; with fields as in a topic")
    subject: str | None = Field(default=None, description="what an event is about, within its source; with fields as in a topic")
    dataschema: str | None = Field(default=None, description="URI of the schema that the messages follow")

    @field_validator("source", "type", "subject", "dataschema")
    @classmethod
    def _is_usable(cls, value: str | None, info: Any) -> str | None:
        if value is not None:
            _template(info.field_name, value)
        return value


@dataclass(frozen=True, slots=True)
class Binding:
    """How a service carries the attributes of binary events, and the content type of both modes."""

    prefix: str
    """stands before the name of each attribute"""
    content_type_header: str | None = None
    """the header that has the content type; None: the producer puts `Envelope.content_type` where it belongs"""
    with_data_type: bool = False
    """whether `datacontenttype` is an attribute like the others"""
    encode: Callable[[str], str] | None = None
    """writes a value so that a header can carry it"""


def percent_encoded(value: str) -> str:
    """`value` as the bindings for HTTP and NATS want it: space, `"`, `%` and all that is not printable ASCII as `%XX`."""
    if _NEEDS_NO_ENCODING.fullmatch(value) is not None:
        return value
    return quote(value, safe="!#$&'()*+,/:;<=>?@[\\]^`{|}~")


KAFKA_BINDING = Binding("ce_", content_type_header="content-type")
AMQP_BINDING = Binding("cloudEvents_")
"""The binding allows `cloudEvents:` too, and prefers this one: filters of JMS cannot name the other."""
HTTP_BINDING = Binding("ce-", encode=percent_encoded)
NATS_BINDING = Binding("ce-", content_type_header="Content-Type", with_data_type=True, encode=percent_encoded)
MQTT_BINDING = Binding("")
REDIS_BINDING = Binding("ce_", content_type_header="content-type")
"""There is none for Redis; Kafka's fits best."""


class CloudEvents:
    """The events of one producer. Not thread-safe."""

    def __init__(self, config: CloudEventsConfig, binding: Binding) -> None:
        self._binding = binding
        self._second, self._second_text = -1, ""
        self.structured = config.mode == "structured"
        self.content_type = STRUCTURED_TYPE if self.structured else DATA_TYPE
        """The content type of the body."""
        texts = {"source": config.source, "type": config.type, "subject": config.subject, "dataschema": config.dataschema}
        self._templates = {name: _template(name, text) for name, text in texts.items() if text is not None}
        self.uses_message = any(template.uses_message for template in self._templates.values())
        """Whether messages have to be decoded."""
        self._varying = {name: template for name, template in self._templates.items() if template.constant is None}
        constants = {name: template.constant for name, template in self._templates.items() if template.constant is not None}
        self._head = orjson.dumps({"specversion": "1.0", **constants, "datacontenttype": DATA_TYPE})[:-1]
        shown = {"specversion": "1.0", **constants, **({"datacontenttype": DATA_TYPE} if binding.with_data_type else {})}
        self._headers = self._named(shown) if not self.structured else {}
        if binding.content_type_header is not None:
            self._headers[binding.content_type_header] = self.content_type

    def attributes(self, message: Message, content: Mapping[str, Any]) -> dict[str, str]:
        """The attributes that differ from message to message. `content`: the message decoded, if `uses_message`. Raises Reject,
        with the reason, if the message cannot be an event."""
        found = {"id": _carriable("id", message.id), "time": self._time(message.time)}
        for name, template in self._varying.items():
            found[name] = template.render(content, id=message.id, key=message.key, is_error=message.is_error, time=message.time)
        if message.key:
            found["partitionkey"] = _carriable("partitionkey", message.key)
        if message.headers:
            for name in _CARRIED:
                if value := message.headers.get(name):
                    found[name] = _carriable(name, value)
        return found

    def _time(self, time: float) -> str:
        """RFC 3339. Many messages are of the same second, and this is most of what an event costs."""
        second = int(time // 1)
        if second != self._second:
            self._second, self._second_text = second, iso_time(second)[:19]
        return f"{self._second_text}.{int((time - second) * 1_000_000):06d}Z"

    def body(self, payload: bytes, attributes: dict[str, str]) -> bytes:
        """The body of a message: in structured mode the event, else `payload`."""
        if not self.structured:
            return payload
        return b"".join((self._head, b",", orjson.dumps(attributes)[1:-1], b',"data":', payload, b"}"))

    def headers(self, attributes: dict[str, str]) -> dict[str, str]:
        """The headers that make a message an event; structured ones have at most the content type."""
        return self._headers if self.structured else {**self._headers, **self._named(attributes)}

    def _named(self, attributes: Mapping[str, str]) -> dict[str, str]:
        prefix, encode = self._binding.prefix, self._binding.encode
        if encode is None:
            return {prefix + name: value for name, value in attributes.items()}
        return {prefix + name: encode(value) for name, value in attributes.items()}


def _template(name: str, text: str) -> TextTemplate:
    rule = {"source": _SOURCE, "type": _TYPE, "subject": _SUBJECT, "dataschema": _SCHEMA}[name]
    template = TextTemplate(text, rule, f"cloudevents.{name}")
    if name == "dataschema" and template.constant is None:
        raise ValueError(f"{text!r}: a schema is the same for all messages; write it without fields")
    return template


def _carriable(name: str, value: str) -> str:
    if _FORBIDDEN.search(value) is not None:
        raise Reject(f"the message's {name} {value!r} cannot be an attribute of a CloudEvent; leave out its control characters")
    return value
