"""What can be configured of `type: nats`."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from standpipe.core.units import Duration
from standpipe.producers import header_rules
from standpipe.producers.addresses import HostPort, HostsOf, Url, UrlOf
from standpipe.producers.cloudevents import NATS_BINDING, Binding
from standpipe.producers.header_rules import HeaderRule
from standpipe.producers.network_config import NetworkProducerConfig
from standpipe.producers.text_template import TextRule, TextTemplate

PORT = 4222

DEDUPLICATING = "Nats-Msg-Id"
"""The header by which JetStream recognises a message that comes again."""

SUBJECT = TextRule(
    what="subject",
    allowed=re.compile(r"[^\s.*>]+(?:\.[^\s.*>]+)*"),
    says="words with dots between them, without spaces, '*' and '>'",
    longest=1024,
    forbidden=".*> ",
    reserved=("$", "_INBOX"),
)
"""The server takes 4096 bytes for a whole command, the address of the acknowledgement included. `$` begins its own subjects,
`_INBOX` those of answers."""

_STREAM = re.compile(r"[^\s.*>/\\]{1,255}")
_PREFIX = re.compile(r"[^\s.*>]+(?:\.[^\s.*>]+)*")


class NatsProducerConfig(NetworkProducerConfig):
    """Which subject messages are published to, and which stream has to acknowledge them."""

    type: str = Field(default="nats", description="`nats`")
    url: Annotated[Url, UrlOf(("nats", "tls"), {"nats": PORT, "tls": PORT})] = Field(
        description="server: `nats://user:password@host:4222`, `nats://token@host`; with `tls://` the connection is encrypted or not made",
    )
    failover: Annotated[tuple[HostPort, ...], HostsOf(PORT)] = Field(
        default=(), description="other servers of the same cluster, tried in turn when one cannot be reached: `b.example.com:4222, ...`"
    )
    discover: bool = Field(default=True, description="whether servers that the cluster names are tried as well, after `failover`")
    user: str | None = Field(default=None, min_length=1, description="user, if it is not in `url`")
    password: SecretStr | None = Field(default=None, description="password, if it is not in `url`")
    token: SecretStr | None = Field(default=None, description="token, instead of user and password")
    nkey_seed: SecretStr | None = Field(default=None, description="seed of an NKey: `SU...`")
    credentials_file: str | None = Field(default=None, description="file with a JWT and its seed (`.creds`); read at each connect")
    tls_first: bool = Field(default=False, description="encrypt before the server says anything (`handshake_first` in its configuration)")
    subject: str = Field(description="subject: `orders`, `orders.{customer.region}`; values must not hold `.`, `*`, `>`, spaces")
    error_subject: str | None = Field(default=None, description="subject of error messages; none: the same as the others")
    stream: str | None = Field(
        default=None, description="stream that has to take the messages; if another one has the subject they wait; none: any stream"
    )
    error_stream: str | None = Field(
        default=None,
        description="stream that has to take the messages of `error_subject`; none: any stream",
    )
    mode: Literal["jetstream", "core"] = Field(
        default="jetstream",
        description="`jetstream` - a message counts when a stream has stored it; `core` - when the server has read it: **it is lost if "
        "nobody listens at that moment**, and at a crash of the server (at most once)",
    )
    no_stream: Literal["wait", "reject"] | None = Field(
        default=None,
        description="a message whose subject no stream has: `wait` - everything waits until there is one; `reject` - it becomes a dead "
        "letter, if the server confirms that there is none; none: `wait`, but `reject` for subjects with fields of the message",
    )
    max_pending: int = Field(
        default=4000, ge=1, le=100_000, description="most messages published and not acknowledged at once; at least `batch.max_messages`"
    )
    ping_interval: Duration = Field(
        default=15.0,
        ge=0.1,
        le=600,
        description="how often the server is asked for a sign of life; if it misses two the connection ends",
    )
    inbox_prefix: str = Field(default="_INBOX", description="beginning of the subjects of acknowledgements, for users who may not read all")
    domain: str | None = Field(default=None, description="JetStream domain, for questions about streams; publishing needs none")
    details: bool = Field(default=True, description="whether `receipt.detail` has stream, sequence and `duplicate`")
    message_id_header: str | None = Field(
        default=DEDUPLICATING,
        description="header that carries the message id. By `Nats-Msg-Id` a stream recognises repetitions within its `duplicate_window`",
    )
    key_header: str | None = Field(
        default="message-key", description="header that carries the key of messages that have one; none: no header"
    )

    header_rule: ClassVar[HeaderRule] = header_rules.NATS
    cloudevents_binding: ClassVar[Binding] = NATS_BINDING

    @field_validator("subject", "error_subject")
    @classmethod
    def _is_a_subject(cls, value: str | None, info: Any) -> str | None:
        if value is not None:
            TextTemplate(value, SUBJECT, info.field_name)
        return value

    @field_validator("stream", "error_stream", "domain")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        if value is not None and _STREAM.fullmatch(value) is None:
            raise ValueError(f"{value!r} cannot be a name: leave out spaces, '.', '*', '>', '/' and '\\'")
        return value

    @field_validator("inbox_prefix")
    @classmethod
    def _is_a_prefix(cls, value: str) -> str:
        if _PREFIX.fullmatch(value) is None:
            raise ValueError(f"{value!r} cannot begin a subject: write words with dots between them, without a dot at the end")
        return value

    @field_validator("url")
    @classmethod
    def _has_nothing_else(cls, value: Url) -> Url:
        if value.query or value.path.strip("/"):
            raise ValueError("a path or query in the url has no effect here; write nats://host:4222, there are fields for all else")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> NatsProducerConfig:
        for fault in (self._login_fault(), self._stream_fault()):
            if fault is not None:
                raise ValueError(fault)
        if self.max_pending < self.batch.max_messages:
            raise ValueError(
                f"max_pending ({self.max_pending}) is less than batch.max_messages ({self.batch.max_messages}); raise it, or lower that"
            )
        return self

    # --- what follows -------------------------------------------------------------------------------------------------

    @property
    def hosts(self) -> tuple[HostPort, ...]:
        """All servers that are named, that of `url` first."""
        return (HostPort(self.url.host, self.url.port or PORT), *self.failover)

    @property
    def encrypted(self) -> bool:
        """Whether a connection without encryption must not be made."""
        return self.tls is not None or self.tls_first or self.url.scheme == "tls"

    @property
    def login(self) -> dict[str, str]:
        """User, password and token in plain text, as the client takes them; only for what is sent."""
        user, secret = self.user or self.url.user, self.password or self.url.password
        if self.token is not None:
            return {"token": self.token.get_secret_value()}
        if user is not None and secret is None:
            return {"token": user}
        return {} if user is None or secret is None else {"user": user, "password": secret.get_secret_value()}

    @property
    def subjects(self) -> tuple[TextTemplate, TextTemplate | None]:
        """The subject of normal messages, and that of errors if it is another one."""
        error = None if self.error_subject is None else TextTemplate(self.error_subject, SUBJECT, "error_subject")
        return TextTemplate(self.subject, SUBJECT, "subject"), error

    @property
    def streams(self) -> tuple[str | None, str | None]:
        """The stream that has to take normal messages, and that for errors."""
        return self.stream, self.error_stream if self.error_subject is not None else self.stream

    @property
    def is_one_way(self) -> bool:
        """Whether no field of a message decides where it goes."""
        return all(template is None or template.constant is not None for template in self.subjects)

    @property
    def rejects_without_stream(self) -> bool:
        """Whether a message whose subject no stream has becomes a dead letter."""
        return not self.is_one_way if self.no_stream is None else self.no_stream == "reject"

    def _login_fault(self) -> str | None:
        url = self.url
        if (self.user and url.user) or (self.password and url.password):
            return "user and password stand in the url and beside it; leave out one of them"
        ways = {
            "user": bool(self.user or url.user),
            "token": self.token is not None,
            "nkey_seed": self.nkey_seed is not None,
            "credentials_file": self.credentials_file is not None,
        }
        given = [name for name, is_given in ways.items() if is_given]
        if len(given) > 1:
            return f"{' and '.join(given)}: there is one way to log in; leave out the others"
        if self.user and self.password is None:
            return "user needs password; if it is a token write it into token"
        return "password needs user" if self.password is not None and not (self.user or url.user) else None

    def _stream_fault(self) -> str | None:
        if self.mode == "core" and (self.stream or self.error_stream or self.no_stream):
            return "stream, error_stream and no_stream have no effect with mode: core, where no stream is asked; leave them out"
        if self.error_stream is not None and self.error_subject is None:
            return "error_stream needs error_subject: a subject belongs to one stream"
        return None
