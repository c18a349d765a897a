"""What can be configured of every producer that talks to a service over the network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, PlainValidator, SecretStr, field_validator, model_validator

from standpipe.core.units import Duration
from standpipe.producers.cloudevents import KAFKA_BINDING, Binding, CloudEventsConfig
from standpipe.producers.config import BaseProducerConfig
from standpipe.producers.header_rules import ANY_HEADER, HeaderRule
from standpipe.producers.tls import TlsConfig, ssl_context

__all__ = ["ConnectedProducerConfig", "NetworkProducerConfig", "TlsConfig", "check_fixed_headers", "plain_headers", "ssl_context"]

_SECRET_HEADER = re.compile(r"auth|cookie|token|secret|passw|api[-_]?key|signature|credential", re.IGNORECASE)


def _header_text(value: object) -> str | SecretStr:
    if not isinstance(value, (str, SecretStr)):
        raise ValueError("the value of a header is text; write it in quotes")
    return value


# One validator instead of a union: its two branches would each report the same mistake.
HeaderText = Annotated[str | SecretStr, PlainValidator(_header_text, json_schema_input_type=str)]
"""The value of a header; one that is secret is hidden."""


class ConnectedProducerConfig(BaseProducerConfig):
    """What every producer that opens a connection has."""

    tls: TlsConfig | None = Field(
        default=None, description="encryption of the connection; none: as the address says (`https`, `amqps`), else not encrypted"
    )
    connect_timeout: Duration = Field(
        default=10.0, gt=0, le=3600, description="longest time for opening a connection, encryption and login included"
    )


class NetworkProducerConfig(ConnectedProducerConfig):
    """What every producer has whose messages have headers, or something like them."""

    headers: dict[str, HeaderText] = Field(
        default={},
        description="headers of every message; a message's own header of the same name wins. The values of those whose name says that "
        "they are secret (`Authorization`, `x-api-key`) are hidden in all output",
    )
    message_id_header: str | None = Field(
        default="message-id", description="header that carries the message id, the same in every attempt; none: it is not sent as a header"
    )
    key_header: str | None = Field(
        default=None, description="header that carries the key of messages that have one; none: it is not sent as a header"
    )
    error_header: str | None = Field(
        default="is_error",
        description="header that error messages have, with the value `true`; normal ones do not have it; none: no header",
    )
    cloudevents: CloudEventsConfig | None = Field(default=None, description="send messages as CloudEvents 1.0; none: as they are")

    header_rule: ClassVar[HeaderRule] = ANY_HEADER
    """What the service's headers can carry: the fixed ones are checked by it when the configuration is read."""
    cloudevents_binding: ClassVar[Binding] = KAFKA_BINDING
    """How the service carries CloudEvents."""

    @field_validator("headers")
    @classmethod
    def _hide_secret_headers(cls, value: dict[str, str | SecretStr]) -> dict[str, str | SecretStr]:
        return {
            name: SecretStr(content) if isinstance(content, str) and _SECRET_HEADER.search(name) else content
            for name, content in value.items()
        }

    @model_validator(mode="after")
    def _headers_can_be_carried(self) -> NetworkProducerConfig:
        check_fixed_headers(self, self.header_rule)
        return self


def check_fixed_headers(config: NetworkProducerConfig, rule: HeaderRule) -> None:
    """Raises ValueError, with the remedy, for headers of the configuration that the service cannot carry or that collide."""
    settings = {"message_id_header": config.message_id_header, "error_header": config.error_header, "key_header": config.key_header}
    ours = {setting: name for setting, name in settings.items() if name is not None}
    faults = [rule.fault(name, value) for name, value in plain_headers(config.headers).items()]
    faults += [rule.fault(name, "x", ours=True) for name in ours.values()]
    for fault in faults:
        if fault is not None:
            raise ValueError(fault)
    taken: dict[str, str] = {}
    for setting, name in [*ours.items(), *((f"headers: {name!r}", name) for name in config.headers)]:
        other = taken.setdefault(rule.folded(name), setting)
        if other != setting:
            raise ValueError(f"{other} and {setting} name the same header; choose another name for one of them")


def plain_headers(headers: Mapping[str, str | SecretStr]) -> dict[str, str]:
    """Headers of a configuration with what is secret in plain text: only for what is sent."""
    return {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in headers.items()}
