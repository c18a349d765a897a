"""What can be configured of `type: http`."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, SecretStr, Tag, field_validator, model_validator

from standpipe.core.units import Duration, Size
from standpipe.producers import header_rules
from standpipe.producers.addresses import Url, UrlOf
from standpipe.producers.cloudevents import HTTP_BINDING, Binding
from standpipe.producers.config import BatchConfig, Section
from standpipe.producers.header_rules import HeaderRule
from standpipe.producers.http_answer import Statuses, StatusSet
from standpipe.producers.http_signature import Signer, secret_bytes
from standpipe.producers.http_url import UrlTemplate
from standpipe.producers.network_config import NetworkProducerConfig
from standpipe.producers.record_fields import FieldsSetting, Metadata, field_names

SINGLE_FORMATS = ("json", "form")
"""Formats of which a request holds one message."""

_RESERVED = header_rules.HTTP.reserved.pattern if header_rules.HTTP.reserved is not None else ""
_HEADER_RULE = replace(header_rules.HTTP, reserved=re.compile(f"{_RESERVED}|content-encoding|accept-encoding"), checked={})
"""Besides what frames a request: what says how its body and the answer are encoded."""

_HEADER_TEXT = re.compile(r"[!-~]+(?: [!-~]+)*")


def basic_authorization(user: str, password: str) -> str:
    """The value of `Authorization` or `Proxy-Authorization` for a user and password."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode('ascii')}"


class BasicAuth(Section):
    """User and password, sent with every request (RFC 7617)."""

    type: Literal["basic"] = Field(description="user and password")
    user: str = Field(description="name of the user; without a colon")
    password: SecretStr = Field(description="password of the user")

    @field_validator("user")
    @classmethod
    def _has_no_colon(cls, value: str) -> str:
        if ":" in value:
            raise ValueError("a user name cannot have a ':' in it (RFC 7617); the password has a setting of its own")
        return value

    def header(self) -> str:
        """The value of the header `Authorization`."""
        return basic_authorization(self.user, self.password.get_secret_value())


class BearerAuth(Section):
    """A token, sent with every request (RFC 6750)."""

    type: Literal["bearer"] = Field(description="a token")
    token: SecretStr = Field(description="the token, without the word `Bearer`")

    @field_validator("token")
    @classmethod
    def _fits_into_a_header(cls, value: SecretStr) -> SecretStr:
        if _HEADER_TEXT.fullmatch(value.get_secret_value()) is None:
            raise ValueError("the token is empty or has characters that a header cannot carry, such as a newline; copy it again")
        return value

    def header(self) -> str:
        """The value of the header `Authorization`."""
        return f"Bearer {self.token.get_secret_value()}"


def _auth_type(value: object) -> str:
    kind = value.get("type", "") if isinstance(value, dict) else getattr(value, "type", "")
    return kind if isinstance(kind, str) else ""


AnyAuth = Annotated[
    Annotated[BasicAuth, Tag("basic")] | Annotated[BearerAuth, Tag("bearer")],
    Discriminator(
        _auth_type,
        custom_error_type="unknown_auth",
        custom_error_message="there is no such type of authentication; there are: basic, bearer",
    ),
]


class SignatureConfig(Section):
    """Signs requests as webhooks, so that the receiver knows that they are from here and new (https://www.standardwebhooks.com)."""

    secret: SecretStr = Field(description="what the receiver got too: `whsec_` and a key of 24 to 64 bytes in base64")
    old_secret: SecretStr | None = Field(
        default=None, description="the secret before this one: while it is here, requests have a signature for each"
    )

    @field_validator("secret", "old_secret")
    @classmethod
    def _is_a_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            secret_bytes(value.get_secret_value())
        return value

    def signer(self) -> Signer:
        """What signs the requests."""
        secrets = [self.secret] + ([self.old_secret] if self.old_secret is not None else [])
        return Signer([secret_bytes(secret.get_secret_value()) for secret in secrets])


class HttpProducerConfig(NetworkProducerConfig):
    """Where and how messages are sent as HTTP requests."""

    type: str = Field(default="http", description="`http`")
    url: str = Field(
        description="where requests go: `https://api.example.com/orders/{region}?user={user.id}`. The path and the query may have fields, "
        "if a request holds one message; their values are percent-encoded. Scheme, host and port are fixed"
    )
    error_url: str | None = Field(default=None, description="where error messages go, as `url`; none: to the same place")
    method: Literal["POST", "PUT", "PATCH"] = Field(default="POST", description="method of the requests")
    format: Literal["json", "jsonl", "json_array", "form"] = Field(
        default="json",
        description="body of a request: `json` - one message; `form` - one message as a form, nested fields as JSON; `jsonl` - a batch, a "
        "message on each line; `json_array` - a batch as an array",
    )
    fields: FieldsSetting = Field(
        default=None,
        description="what each message says about itself in the body: `is_error`, `id`, `key`, `time`, `headers`; a list, or a mapping to "
        "the names they get. They replace fields of the same name in the message. none: nothing, or `is_error` in batches without "
        "an `error_url`",
    )
    compression: Literal["none", "gzip"] = Field(
        default="none", description="`gzip`: bodies from 1 KiB on are compressed; the server must understand it"
    )
    auth: AnyAuth | None = Field(default=None, description="how Standpipe logs in; for other ways set a header in `headers`")
    signature: SignatureConfig | None = Field(default=None, description="signature of the requests, for receivers of webhooks")
    idempotency_header: str | None = Field(
        default="Idempotency-Key",
        description="header with the message id in quotes (of a batch: a digest of its ids), the same in every attempt, by which servers "
        "recognise repetitions; none: it is not sent",
    )
    message_id_header: str | None = Field(
        default=None, description="header that carries the plain message id, if a request holds one message; none: it is not sent"
    )
    error_header: str | None = Field(
        default="is-error",
        description="header of error messages, with the value `true`; normal ones do not have it; none: no header",
    )
    success_statuses: list[int | str] = Field(default=["2xx"], description="statuses by which the server takes the messages")
    retry_statuses: list[int | str] = Field(
        default=[408, 409, 425, 429, "5xx", "!501"],
        description="statuses after which messages are tried again; every other one, unless it is listed elsewhere, rejects them. "
        "`!` excepts a status",
    )
    pause_statuses: list[int | str] = Field(
        default=[401, 403, 407],
        description="statuses that say that the configuration is wrong: messages are kept, and tried again after `pause`. Redirects that "
        "are not followed count as such",
    )
    pause: Duration = Field(default=60.0, gt=0, le=3600, description="how long nothing is sent after such a status")
    follow_redirects: bool = Field(
        default=False, description="follow redirects 307 and 308 to the same scheme, host and port; others are never followed"
    )
    concurrency: int = Field(default=64, ge=1, le=10_000, description="requests under way at once, and connections kept open")
    keep_alive: Duration = Field(
        default=4.0,
        le=3600,
        description="how long an idle connection is kept. Longer than the server keeps it makes requests fail that may have arrived; "
        "several servers close after 5 s",
    )
    read_timeout: Annotated[Duration, Field(gt=0)] | None = Field(
        default=None, description="longest silence of the server while its answer is awaited; none: only `send_timeout` counts"
    )
    response_bytes: Size = Field(
        default=64 * 2**10, ge=2**10, le=2**26, description="most bytes of an answer that are read; behind them the connection is closed"
    )
    request_id_header: str | None = Field(
        default="x-request-id",
        description="header of the answer whose value goes into `receipt.detail`, for questions to the server's people",
    )
    proxy: Annotated[Url, UrlOf(("http", "https"), {"http": 80, "https": 443})] | None = Field(
        default=None, description="HTTP proxy that requests go through: `http://user:password@proxy.example.com:3128`"
    )
    proxy_from_environment: bool = Field(
        default=False, description="take the proxy from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, unless `proxy` is set"
    )

    header_rule: ClassVar[HeaderRule] = _HEADER_RULE
    cloudevents_binding: ClassVar[Binding] = HTTP_BINDING

    @property
    def single(self) -> bool:
        """Whether a request holds one message."""
        return self.format in SINGLE_FORMATS

    @property
    def field_names(self) -> dict[Metadata, str]:
        """What each message says about itself in the body, under which name."""
        elsewhere = self.single or self.error_url is not None or self.cloudevents is not None
        return field_names(self.fields, {} if elsewhere else {"is_error": "is_error"})

    def statuses(self) -> Statuses:
        """Which statuses mean what."""
        return Statuses(StatusSet(self.success_statuses), StatusSet(self.retry_statuses), StatusSet(self.pause_statuses))

    @model_validator(mode="before")
    @classmethod
    def _one_message_to_a_request(cls, data: Any) -> Any:
        """Formats of one message have batches of one: there is nothing to set."""
        if not isinstance(data, dict) or data.get("format", "json") not in SINGLE_FORMATS:
            return data
        batch = data.get("batch")
        most = batch.get("max_messages") if isinstance(batch, dict) else batch.max_messages if isinstance(batch, BatchConfig) else None
        if most not in (None, 1):
            raise ValueError(
                f"format {data.get('format', 'json')} has one message in a request; for batches set format to jsonl or json_array"
            )
        settings = batch if isinstance(batch, dict) else {} if batch is None else batch.model_dump()
        return {**data, "batch": {**settings, "max_messages": 1}}

    @field_validator("url", "error_url")
    @classmethod
    def _is_a_url(cls, value: str | None, info: Any) -> str | None:
        if value is not None:
            UrlTemplate(value, info.field_name)
        return value

    @field_validator("success_statuses", "retry_statuses", "pause_statuses")
    @classmethod
    def _are_statuses(cls, value: list[int | str]) -> list[int | str]:
        StatusSet(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> HttpProducerConfig:
        for fault in (self._url_fault(), self._body_fault(), self._header_fault()):
            if fault is not None:
                raise ValueError(fault)
        return self

    def _url_fault(self) -> str | None:
        templates = [UrlTemplate(text) for text in (self.url, self.error_url) if text is not None]
        if not self.single and any(template.constant is None for template in templates):
            return f"with format {self.format} a request holds many messages; url and error_url cannot have fields then"
        if self.tls is not None and all(template.address.scheme == "http" for template in templates):
            return "tls has no effect, because the URL begins with http://; write https://"
        return None

    def _body_fault(self) -> str | None:
        if self.cloudevents is not None:
            mode = self.cloudevents.mode
            allowed = ("json", "json_array") if mode == "structured" else ("json",)
            if self.format not in allowed:
                return f"cloudevents in {mode} mode cannot be sent as {self.format}; set format to {' or '.join(allowed)}"
            if self.fields is not None:
                return "with cloudevents, fields has no effect: an event says these things itself; leave fields out"
        if self.signature is not None and self.compression != "none":
            return "a signed body cannot be compressed: receivers differ on which bytes are signed; leave out compression"
        return None

    def _header_fault(self) -> str | None:
        if self.auth is not None and any(name.lower() == "authorization" for name in self.headers):
            return "auth and the header Authorization in headers are two logins; leave out one of them"
        name = self.idempotency_header
        fault = None if name is None else self.header_rule.fault(name, "x", ours=True)
        return fault if fault is None else f"idempotency_header: {fault}"
