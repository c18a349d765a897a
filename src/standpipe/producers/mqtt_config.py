"""What can be configured of `type: mqtt`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, StrictBool, field_validator, model_validator

from standpipe.core.units import Duration, Size
from standpipe.producers import header_rules
from standpipe.producers.addresses import Url, UrlOf
from standpipe.producers.cloudevents import MQTT_BINDING, Binding
from standpipe.producers.header_rules import HeaderRule
from standpipe.producers.network_config import NetworkProducerConfig
from standpipe.producers.record_fields import FieldsSetting, Metadata, field_names
from standpipe.producers.text_template import TextRule, TextTemplate

TEXT_MAX = 65_535
"""Bytes of a text: its length has two bytes (MQTT 5.0, 1.5.4)."""

TOPIC = TextRule(
    what="topic",
    allowed=re.compile(r"[^+#\ufdd0-\ufdef\ufffe\uffff]+"),
    says="any text without '+', '#' and control characters",
    longest=TEXT_MAX,
    forbidden="+#/",
    reserved=("$",),
)
"""`+` and `#` are wildcards, `/` separates levels, and topics that begin with `$` are the broker's own (4.7)."""

PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
ENCRYPTED = ("mqtts", "wss")
WEBSOCKETS = ("ws", "wss")

PACKET_MAX = 268_435_455 + 5
"""Bytes of the largest packet there can be: its length has at most four bytes of seven bits each."""

UNTOLD_WINDOW = 20
"""Messages of QoS 2 on their way at once where the broker cannot say how many it takes (3.1.1). Measured with Mosquitto 2.0.11,
whose `max_inflight_messages` is 20: of 150 messages with 100 at once it acknowledged all and passed on 40."""

_HEADERS = replace(header_rules.MQTT, checked={})
_ONLY_V5 = ("headers", "message_id_header", "key_header", "error_header", "message_expiry", "session_expiry")


class MqttProducerConfig(NetworkProducerConfig):
    """Which topics messages are published to, and how."""

    type: str = Field(default="mqtt", description="`mqtt`")
    url: Annotated[Url, UrlOf(("mqtt", "mqtts", "ws", "wss"), PORTS)] = Field(
        description="broker, user and password: `mqtts://user:password@host:8883`; `ws://host/mqtt` and `wss://` for WebSockets"
    )
    user: str | None = Field(default=None, min_length=1, description="user, if it is not in `url`")
    password: SecretStr | None = Field(default=None, description="password, if it is not in `url`")
    protocol: Literal["5", "3.1.1"] = Field(
        default="5",
        description="version of MQTT. With `3.1.1` messages have no headers, and **a broker cannot refuse a message**: many acknowledge "
        "what they then drop",
    )
    topic: str = Field(description="topic: `orders`, `orders/{customer.region}`; values must not hold `/`, `+`, `#`")
    error_topic: str | None = Field(default=None, description="topic of error messages, as `topic`; none: the same as the others")
    qos: Literal[0, 1, 2] = Field(
        default=1,
        description="`1` - delivered when the broker has acknowledged it; `2` - the same with a second handshake: no repetition **within** "
        "a connection; `0` - nothing is acknowledged: **what is on its way when a connection breaks is lost**",
    )
    retain: StrictBool | Literal["errors"] = Field(
        default=False, description="the broker keeps the last message of each topic for new subscribers; `errors`: only error messages"
    )
    client_id: str | None = Field(
        default=None,
        description="name of this client, which no other may have at the same time: the broker disconnects the older one. "
        "none: a name of its own for each process and start",
    )
    clean_start: bool = Field(
        default=True, description="start with a new session. `false` takes up the one that the broker has kept for `client_id`"
    )
    session_expiry: Duration = Field(
        default=0.0, ge=0, le=4_294_967_294, description="how long the broker keeps the session after the connection has ended"
    )
    message_expiry: Duration | None = Field(
        default=None, ge=1, le=4_294_967_295, description="after how long the broker drops a message that a subscriber has not got yet"
    )
    topic_aliases: bool = Field(
        default=True, description="send a short number instead of a topic that was sent before, where the broker allows it"
    )
    fields: FieldsSetting = Field(
        default=None,
        description="what is written into each message besides itself: a list of `is_error`, `id`, `key`, `time`, `headers`, or a mapping "
        "to the names they get. none: nothing; with `3.1.1` and without `error_topic` it is `is_error`, which has no other place there",
    )
    max_in_flight: int = Field(
        default=100,
        ge=1,
        le=TEXT_MAX,
        description="most messages sent and not acknowledged at once; fewer if the broker says so (receive maximum; Mosquitto: 20), and "
        "at most 20 with `qos: 2` and `3.1.1`, as a broker cannot say it there and Mosquitto loses what is beyond",
    )
    max_packet_bytes: Size = Field(
        default=PACKET_MAX,
        ge=1024,
        le=PACKET_MAX,
        description="largest packet that the broker takes, if it does not say so itself: larger messages become dead letters",
    )
    keepalive: Duration = Field(
        default=30.0,
        ge=1,
        le=TEXT_MAX,
        description="the broker is asked for a sign of life so often; after twice this without one it is gone",
    )
    details: bool = Field(default=True, description="whether `receipt.detail` has topic, packet id and the broker's reason")

    header_rule: ClassVar[HeaderRule] = _HEADERS
    cloudevents_binding: ClassVar[Binding] = MQTT_BINDING

    @field_validator("protocol", mode="before")
    @classmethod
    def _version_is_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("topic", "error_topic")
    @classmethod
    def _is_a_topic(cls, value: str | None, info: Any) -> str | None:
        if value is not None:
            TextTemplate(value, TOPIC, info.field_name)
        return value

    @field_validator("url")
    @classmethod
    def _has_nothing_else(cls, value: Url) -> Url:
        if value.scheme not in WEBSOCKETS and (value.path not in ("", "/") or value.query):
            raise ValueError("the url of MQTT ends with its port; write the topic in topic, and everything else in fields of its own")
        return value

    @field_validator("client_id")
    @classmethod
    def _is_an_id(cls, value: str | None) -> str | None:
        if value is not None and (fault := _HEADERS.fault("client_id", value)) is not None:
            raise ValueError(fault.replace("the header 'client_id'", "client_id"))
        if value == "":
            raise ValueError("client_id is empty; leave it out to have one made")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> MqttProducerConfig:
        for fault in (self._login_fault(), self._session_fault(), self._version_fault()):
            if fault is not None:
                raise ValueError(fault)
        if self.cloudevents is not None and self.fields is not None:
            raise ValueError("with cloudevents, fields has no effect: an event says these things itself; leave fields out")
        return self

    # --- what follows -------------------------------------------------------------------------------------------------

    @property
    def is_v5(self) -> bool:
        """Whether messages have properties, and the broker can say no."""
        return self.protocol == "5"

    @property
    def encrypted(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.scheme in ENCRYPTED

    @property
    def login(self) -> tuple[str | None, str | None]:
        """User and password in plain text; only for what is sent."""
        secret = self.password or self.url.password
        return self.user or self.url.user, None if secret is None else secret.get_secret_value()

    @property
    def topics(self) -> tuple[TextTemplate, TextTemplate | None]:
        """The topic of normal messages, and that of errors if it is another one."""
        error = None if self.error_topic is None else TextTemplate(self.error_topic, TOPIC, "error_topic")
        return TextTemplate(self.topic, TOPIC, "topic"), error

    @property
    def retains(self) -> tuple[bool, bool]:
        """Whether normal messages are retained, and whether errors are."""
        return self.retain is True, self.retain is not False

    @property
    def window(self) -> int:
        """Messages that are sent and not acknowledged at once, unless the broker wants fewer."""
        return self.max_in_flight if self.is_v5 or self.qos < 2 else min(self.max_in_flight, UNTOLD_WINDOW)

    @property
    def field_names(self) -> dict[Metadata, str]:
        """What each message says about itself in its body, under which name."""
        elsewhere = self.is_v5 or self.error_topic is not None or self.cloudevents is not None
        return field_names(self.fields, {} if elsewhere else {"is_error": "is_error"})

    def _login_fault(self) -> str | None:
        if self.tls is not None and not self.encrypted:
            return f"tls has no effect, because the url begins with {self.url.scheme}://; write mqtts:// or wss://"
        if (self.user and self.url.user) or (self.password and self.url.password):
            return "user and password stand in the url and beside it; leave out one of them"
        user, password = self.login
        if password is not None and user is None:
            return "there is a password and no user; name the user it belongs to"
        for what, text in (("user", user), ("password", password)):
            if text is not None and len(text.encode()) > TEXT_MAX:
                return f"{what} is longer than {TEXT_MAX} bytes, which MQTT cannot carry; shorten it"
        return None

    def _session_fault(self) -> str | None:
        if self.clean_start:
            return None
        if self.client_id is None:
            return "clean_start: false takes up the session of a client_id; name one, or leave clean_start out"
        if self.qos == 2:
            return "with qos 2 a session that was kept would swallow new messages as repetitions of old ones; leave out clean_start: false"
        return None

    def _version_fault(self) -> str | None:
        if self.is_v5:
            return None
        given = [name for name in _ONLY_V5 if name in self.model_fields_set and getattr(self, name) not in (None, {}, 0)]
        if given:
            return f"protocol 3.1.1 has no {given[0]}; leave it out, use protocol 5, or have it written into the message: fields"
        if self.cloudevents is not None and self.cloudevents.mode == "binary":
            return "cloudevents in mode binary need headers, which protocol 3.1.1 does not have; use mode structured, or protocol 5"
        return None
