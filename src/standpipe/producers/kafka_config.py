"""What can be configured of `type: kafka`."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from standpipe.core.units import Duration, Size
from standpipe.producers import header_rules
from standpipe.producers.addresses import HostPort, HostsOf
from standpipe.producers.cloudevents import KAFKA_BINDING, Binding
from standpipe.producers.header_rules import HeaderRule
from standpipe.producers.kafka_auth import AnyAuth
from standpipe.producers.network_config import NetworkProducerConfig
from standpipe.producers.text_template import TextRule, TextTemplate

TOPIC = TextRule(
    what="topic",
    allowed=re.compile(r"[A-Za-z0-9._-]+"),
    says="letters, digits, '.', '_' and '-'",
    longest=249,
    forbidden_values=frozenset((".", "..")),
    reserved=("__",),
)
"""As `org.apache.kafka.common.internals.Topic` has it; `__` begins the names of Kafka's own topics."""

PORT = 9092

TAKEN: dict[str, str] = {
    "bootstrap.servers": "servers",
    "metadata.broker.list": "servers",
    "client.id": "client_id",
    "acks": "acks",
    "request.required.acks": "acks",
    "enable.idempotence": "idempotence",
    "transactional.id": "transactional_id",
    "transaction.timeout.ms": "transaction_timeout",
    "compression.type": "compression",
    "compression.codec": "compression",
    "partitioner": "partitioner",
    "linger.ms": "linger",
    "queue.buffering.max.ms": "linger",
    "message.max.bytes": "max_message_bytes",
    "batch.size": "max_batch_bytes",
    "queue.buffering.max.messages": "max_in_flight",
    "message.timeout.ms": "send_timeout",
    "delivery.timeout.ms": "send_timeout",
    "security.protocol": "tls and auth",
    "sasl.mechanism": "auth",
    "sasl.mechanisms": "auth",
    "sasl.username": "auth",
    "sasl.password": "auth",
    "sasl.oauthbearer.client.id": "auth",
    "sasl.oauthbearer.client.secret": "auth",
    "sasl.oauthbearer.token.endpoint.url": "auth",
    "sasl.oauthbearer.scope": "auth",
    "sasl.oauthbearer.extensions": "auth",
    "sasl.oauthbearer.method": "auth",
    "ssl.ca.location": "tls",
    "ssl.certificate.location": "tls",
    "ssl.key.location": "tls",
    "ssl.key.password": "tls",
    "enable.ssl.certificate.verification": "tls",
    "ssl.endpoint.identification.algorithm": "tls",
}
"""Properties of librdkafka that have a setting of their own here."""

KEPT: dict[str, str] = {
    "message.send.max.retries": "it would give messages up that could still arrive",
    "retries": "it would give messages up that could still arrive",
    "max.in.flight": "more than its value here would break the order",
    "max.in.flight.requests.per.connection": "more than its value here would break the order",
    "enable.gapless.guarantee": "without it a later message of a key could overtake one that failed",
    "topic.metadata.propagation.max.ms": "messages for a topic that does not exist yet wait for it",
    "queuing.strategy": "another order of the queue would break the order of the messages",
    "delivery.report.only.error": "without reports nothing would ever count as delivered",
    "dr_cb": "the reports are needed here",
    "dr_msg_cb": "the reports are needed here",
    "on_delivery": "the reports are needed here",
    "error_cb": "the errors are needed here",
    "oauth_cb": "write it as auth.function",
    "logger": "the client's log goes to the logger `standpipe.producers.kafka.client`",
}
"""Properties of librdkafka whose other values break what Standpipe promises, and why."""

_SECRET_OPTION = re.compile(r"passw|secret|token|\.pem$|key$", re.IGNORECASE)

Option = bool | int | float | str | SecretStr


class KafkaProducerConfig(NetworkProducerConfig):
    """Which topics messages go to, and how."""

    type: str = Field(default="kafka", description="`kafka`")
    servers: Annotated[tuple[HostPort, ...], HostsOf(PORT)] = Field(
        description="brokers to ask for all others: `a.example.com:9092,b.example.com:9092`; name two or three"
    )
    topic: str = Field(description="topic of the messages: `orders` or `orders.{customer.region}`")
    error_topic: str | None = Field(default=None, description="topic of error messages, as `topic`; none: the same as the others")
    auth: AnyAuth | None = Field(default=None, description="how Standpipe logs in (SASL); none: not at all, or by `tls.cert_file`")
    acks: Literal["all", "1", "0"] = Field(
        default="all",
        description="who must have a message before it counts as delivered: `all` - every replica in sync; `1` - the leader, which may "
        "lose it when it fails; `0` - nobody. Other than `all` needs `idempotence: false`",
    )
    idempotence: bool = Field(
        default=True,
        description="the broker recognises what the client repeats: nothing twice and nothing out of order while a connection lasts. "
        "**Without it**, messages can come twice whenever a broker is slow, and only one message of a key is under way at a time",
    )
    transactional_id: str | None = Field(
        default=None,
        min_length=1,
        description="send each batch as a transaction: readers with `isolation.level=read_committed` see all of it or nothing. A name that "
        "no other producer has at the same time, and that stays the same over restarts",
    )
    transaction_timeout: Duration = Field(
        default=60.0, ge=1, le=900, description="after how long the broker aborts a transaction whose producer is gone"
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        default="none", description="compression of what is sent; `lz4` is quick, `zstd` small"
    )
    partitioner: Literal["murmur2_random", "murmur2", "consistent_random", "consistent", "fnv1a_random", "fnv1a", "random"] = Field(
        default="murmur2_random",
        description="which partition a key belongs to: `murmur2_random` as Java's clients have it, so that both agree; others as in "
        "librdkafka. With `random`, messages of one key do not stay in order",
    )
    linger: Duration = Field(
        default=0.005, le=900, description="how long the client waits for more messages to the same partition before it sends a request"
    )
    max_in_flight: int = Field(default=10_000, ge=1, le=10_000_000, description="most messages that the client has at once")
    max_message_bytes: Size = Field(
        default=1_000_000,
        ge=1000,
        le=1_000_000_000,
        description="largest message, with key and headers: larger ones become dead letters. As the topic's `max.message.bytes`, or less",
    )
    max_batch_bytes: Size = Field(
        default=1_000_000,
        ge=1,
        le=2_147_483_647,
        description="largest request to one partition. A topic that takes less is found out, and it gets less",
    )
    client_id: str = Field(default="standpipe", description="name of this client in the broker's logs and quotas")
    details: bool = Field(default=True, description="whether `receipt.detail` has topic, partition and offset")
    send_timeout: Duration | None = Field(
        default=300.0,
        description="longest time for one message to be confirmed. Until then the client repeats by itself, which the broker recognises; "
        "after it everything that is not confirmed is sent anew, which it does not. none: no limit",
    )
    options: dict[str, Option] = Field(
        default={},
        description="any other property of [librdkafka](https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md), such as "
        "`socket.keepalive.enable: true`; not those that have a setting here or would break what is promised",
    )

    header_rule: ClassVar[HeaderRule] = header_rules.KAFKA
    cloudevents_binding: ClassVar[Binding] = KAFKA_BINDING

    @field_validator("topic", "error_topic")
    @classmethod
    def _is_a_topic(cls, value: str | None, info: Any) -> str | None:
        if value is not None:
            template = TextTemplate(value, TOPIC, info.field_name)
            if template.constant in TOPIC.forbidden_values:
                raise ValueError(f"{value!r} cannot be a topic; use {TOPIC.says}")
        return value

    @field_validator("acks", mode="before")
    @classmethod
    def _acks_as_text(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            return "all" if value == -1 else str(value)
        return "all" if value == "-1" else value

    @field_validator("options")
    @classmethod
    def _options_are_free(cls, value: dict[str, Option]) -> dict[str, Option]:
        for name in value:
            if name in TAKEN:
                raise ValueError(f"{name!r} has a setting of its own: {TAKEN[name]}; write it there")
            if name in KEPT:
                raise ValueError(f"{name!r} cannot be set: {KEPT[name]}; leave it out")
        return {
            name: SecretStr(option) if isinstance(option, str) and _SECRET_OPTION.search(name) else option for name, option in value.items()
        }

    @model_validator(mode="after")
    def _fits_together(self) -> KafkaProducerConfig:
        for fault in (self._delivery_fault(), self._tls_fault()):
            if fault is not None:
                raise ValueError(fault)
        return self

    def _delivery_fault(self) -> str | None:
        if self.acks != "all" and self.idempotence:
            return f"acks: {self.acks} can lose messages and needs idempotence: false; better leave acks out"
        if self.transactional_id is not None and not self.idempotence:
            return "transactions need idempotence; leave idempotence: false out"
        return None

    def _tls_fault(self) -> str | None:
        if self.tls is None:
            return None
        if self.tls.server_name is not None:
            return "tls.server_name has no effect: each broker must have a certificate for its own name; leave it out"
        if self.tls.min_version == "1.3":
            return "tls.min_version 1.3 cannot be had from the Kafka client; leave it out and forbid 1.2 at the brokers"
        return None
