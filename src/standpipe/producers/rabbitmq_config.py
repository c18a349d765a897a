"""What can be configured of `type: rabbitmq`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import unquote

from pydantic import Field, SecretStr, field_validator, model_validator

from standpipe.core.units import Duration
from standpipe.producers import header_rules
from standpipe.producers.addresses import HostPort, HostsOf, Url, UrlOf
from standpipe.producers.cloudevents import AMQP_BINDING, Binding
from standpipe.producers.config import Section
from standpipe.producers.header_rules import HeaderRule
from standpipe.producers.network_config import NetworkProducerConfig
from standpipe.producers.text_template import TextRule, TextTemplate

ROUTING_KEY = TextRule(
    what="routing key",
    allowed=re.compile(r"[\s\S]*"),
    says="any text without control characters",
    longest=255,
    forbidden=".*#",
    reserved=("amq.",),
)
"""A short string (AMQP 0-9-1, 4.2.5.3). `.` separates words of topic exchanges; `amq.` begins the broker's own queues."""

NAME_MAX = 127
"""Bytes of the name of an exchange or queue; the specification's bound, and RabbitMQ takes 255."""

_HEADERS = replace(
    header_rules.AMQP,
    name=re.compile(r"(?!(?:CC|BCC)\Z)[\s\S]+"),
    name_says="at least one character, and not CC or BCC, with which a message would decide where it goes",
    checked={},
)

LIMITS = ("x-max-length", "x-max-length-bytes")
"""Arguments of a queue that bound it."""
OVERFLOW = "x-overflow"

Argument = bool | int | float | str


def route_shown(exchange: str, routing_key: str) -> str:
    """Where a message goes, for people."""
    return f"exchange {exchange!r}, routing key {routing_key!r}" if exchange else f"queue {routing_key!r}"


class QueueDeclaration(Section):
    """A durable queue that is declared at each connect. One that exists must have been declared with the same settings."""

    name: str = Field(min_length=1, max_length=NAME_MAX, description="name of the queue")
    type: Literal["quorum", "classic", "stream"] = Field(
        default="quorum",
        description="`quorum` - replicated and on disk before it is confirmed; `classic` - one copy, which newer brokers confirm before it "
        "is on disk: a power cut loses what was confirmed; `stream` - a log that keeps what was read",
    )
    arguments: dict[str, Argument] = Field(
        default={},
        description="arguments such as `x-max-length: 100000`. A queue with a bound gets `x-overflow: reject-publish` unless told "
        "otherwise, because RabbitMQ's default drops the oldest messages **after** it has confirmed them",
    )
    exchange: str | None = Field(default=None, max_length=NAME_MAX, description="exchange it is bound to; none: `exchange`")
    binding_keys: list[str] = Field(
        default=[], description="routing keys it gets the messages of, such as `orders.#`; none: it is not bound to an exchange"
    )

    def all_arguments(self) -> dict[str, Argument]:
        """What the broker is told."""
        safe = {OVERFLOW: "reject-publish"} if self.type != "stream" and any(name in self.arguments for name in LIMITS) else {}
        return {"x-queue-type": self.type, **safe, **self.arguments}


class DeclareConfig(Section):
    """Exchanges and queues that are declared (if they are not there yet) at each connect; everything is durable."""

    exchange_type: str | None = Field(
        default=None, description="declare `exchange` and `error_exchange`: `topic`, `direct`, `fanout`, `headers`; none: they must exist"
    )
    exchange_arguments: dict[str, Argument] = Field(default={}, description="arguments of them, such as `alternate-exchange: unrouted`")
    queues: list[QueueDeclaration] = Field(default=[], description="queues, with their bindings")


class RabbitmqProducerConfig(NetworkProducerConfig):
    """Which exchange messages are published to, and how."""

    type: str = Field(default="rabbitmq", description="`rabbitmq`")
    url: Annotated[Url, UrlOf(("amqp", "amqps"), {"amqp": 5672, "amqps": 5671})] = Field(
        description="broker, user, password and virtual host: `amqps://user:password@host:5671/vhost`; without a path the host `/`"
    )
    failover: Annotated[tuple[HostPort, ...], HostsOf(5672)] = Field(
        default=(), description="other nodes of the same cluster, tried in turn when one cannot be reached: `b.example.com:5672, ...`"
    )
    user: str | None = Field(default=None, min_length=1, description="user, if it is not in `url`; none: `guest`")
    password: SecretStr | None = Field(default=None, description="password, if it is not in `url`")
    auth: Literal["plain", "external"] = Field(
        default="plain", description="`plain` - user and password; `external` - the certificate `tls.cert_file` says who we are"
    )
    exchange: str = Field(
        default="", max_length=NAME_MAX, description="exchange for the messages; empty: `routing_key` is the name of a queue"
    )
    routing_key: str = Field(
        default="",
        description="routing key, or name of the queue: `orders`, `orders.{customer.region}`; values must not hold `.`, `*`, `#`",
    )
    error_exchange: str | None = Field(
        default=None, max_length=NAME_MAX, description="exchange for error messages; none: the same as the others"
    )
    error_routing_key: str | None = Field(
        default=None, description="routing key of error messages, as `routing_key`; none: the same as the others"
    )
    unroutable: Literal["reject", "wait", "discard"] = Field(
        default="reject",
        description="a message that no queue is bound for: `reject` - it becomes a dead letter; `wait` - everything waits until there is a "
        "queue; `discard` - it counts as delivered **and is gone**, as RabbitMQ does by default",
    )
    persistent: bool = Field(
        default=True, description="messages survive a restart of the broker. **Without it** they are lost although they were confirmed"
    )
    priority: int | None = Field(default=None, ge=0, le=255, description="priority of the messages, for queues with priorities")
    expiration: Duration | None = Field(
        default=None, gt=0, le=4_294_967, description="after how long a message that nobody has read is removed from its queue"
    )
    compression: Literal["none", "gzip"] = Field(
        default="none", description="compression of the body; the property `content_encoding` says so to the reader"
    )
    declare: DeclareConfig | None = Field(default=None, description="exchanges and queues to declare; none: they are there")
    max_in_flight: int = Field(default=2000, ge=1, le=65_535, description="most messages published and not confirmed at once")
    heartbeat: Duration = Field(
        default=30.0, ge=1, le=600, description="a connection on which nothing comes for so long (and 5 s) is taken for dead"
    )
    details: bool = Field(default=True, description="whether `receipt.detail` has delivery tag, exchange and routing key")
    message_id_header: str | None = Field(
        default=None, description="header that carries the message id besides the property `message_id`, such as `x-deduplication-header`"
    )
    key_header: str | None = Field(
        default="message-key", description="header that carries the key of messages that have one; none: no header"
    )

    header_rule: ClassVar[HeaderRule] = _HEADERS
    cloudevents_binding: ClassVar[Binding] = AMQP_BINDING

    @field_validator("routing_key", "error_routing_key")
    @classmethod
    def _is_a_routing_key(cls, value: str | None, info: Any) -> str | None:
        if value is not None:
            TextTemplate(value, ROUTING_KEY, info.field_name)
        return value

    @field_validator("url")
    @classmethod
    def _has_nothing_else(cls, value: Url) -> Url:
        if value.query:
            raise ValueError(
                "settings in the query of the url have no effect here; there are fields for them: heartbeat, connect_timeout, ..."
            )
        if "/" in value.path[1:]:
            raise ValueError("the path of the url is the virtual host, and '/' in its name is written as %2F")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> RabbitmqProducerConfig:
        for fault in (self._route_fault(), self._login_fault(), self._declaration_fault()):
            if fault is not None:
                raise ValueError(fault)
        return self

    # --- what follows -------------------------------------------------------------------------------------------------

    @property
    def hosts(self) -> tuple[HostPort, ...]:
        """All brokers, that of `url` first."""
        return (HostPort(self.url.host, self.url.port or 5672), *self.failover)

    @property
    def virtual_host(self) -> str:
        """As the broker calls it."""
        return unquote(self.url.path[1:]) or "/"

    @property
    def login(self) -> tuple[str, str]:
        """User and password in plain text; only for what is sent."""
        secret = self.password or self.url.password
        return self.user or self.url.user or "guest", "guest" if secret is None else secret.get_secret_value()

    @property
    def exchanges(self) -> tuple[str, str]:
        """The exchange of normal messages, and that of errors."""
        return self.exchange, self.exchange if self.error_exchange is None else self.error_exchange

    @property
    def routing_keys(self) -> tuple[TextTemplate, TextTemplate | None]:
        """The routing key of normal messages, and that of errors if it is another one."""
        error = None if self.error_routing_key is None else TextTemplate(self.error_routing_key, ROUTING_KEY, "error_routing_key")
        return TextTemplate(self.routing_key, ROUTING_KEY, "routing_key"), error

    @property
    def fixed_queues(self) -> list[str]:
        """Queues that must be there because the configuration itself, and no field of a message, sends to them by name."""
        normal, error = self.routing_keys
        routes = zip(self.exchanges, (normal, error or normal), strict=True)
        return list(dict.fromkeys(key.constant for exchange, key in routes if exchange == "" and key.constant is not None))

    def _route_fault(self) -> str | None:
        normal, error = self.routing_key, self.routing_key if self.error_routing_key is None else self.error_routing_key
        for exchange, key, setting in zip(self.exchanges, (normal, error), ("routing_key", "error_routing_key"), strict=True):
            if exchange == "" and key == "":
                return f"where to? name the queue in {setting}, or an exchange in {setting.replace('routing_key', 'exchange')}"
        return None

    def _login_fault(self) -> str | None:
        if self.tls is not None and self.url.scheme == "amqp":
            return "tls has no effect, because the url begins with amqp://; write amqps://"
        if (self.user and self.url.user) or (self.password and self.url.password):
            return "user and password stand in the url and beside it; leave out one of them"
        if self.auth == "external" and (self.tls is None or self.tls.cert_file is None):
            return "auth: external needs a certificate that says who we are; set tls.cert_file, and tls.key_file"
        if self.auth == "external" and (self.user or self.url.user or self.password or self.url.password):
            return "auth: external has no user and password: the certificate says who we are; leave them out"
        return None

    def _declaration_fault(self) -> str | None:
        if self.declare is None:
            return None
        if self.declare.exchange_type is not None and not any(self.exchanges):
            return "declare.exchange_type has no effect without exchange; name one, or leave it out"
        for queue in self.declare.queues:
            if queue.binding_keys and not (queue.exchange or self.exchange):
                return f"the queue {queue.name!r} cannot be bound to the nameless exchange; name one in exchange, or leave out binding_keys"
        return None
