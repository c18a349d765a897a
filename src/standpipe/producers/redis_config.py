"""The settings of the `redis` producer."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from standpipe.core.units import Duration
from standpipe.producers.addresses import Url, UrlOf
from standpipe.producers.cloudevents import REDIS_BINDING, Binding
from standpipe.producers.config import Section
from standpipe.producers.header_rules import REDIS, HeaderRule
from standpipe.producers.network_config import NetworkProducerConfig, plain_headers
from standpipe.producers.text_template import TextRule, TextTemplate

SEEN = "standpipe:seen:"
"""How the keys begin that remember the ids of messages."""
ERRORS = ":errors"
"""What is appended to the name of a list or a channel, for error messages."""

NAME = TextRule(
    what="name in Redis",
    allowed=re.compile(r"[^\x00-\x20\x7f]+"),
    says="text without spaces and control characters",
    longest=1024,  # Redis takes 512 MiB; nobody means that
    # ':' is what everybody separates names with, braces choose the node of a cluster.
    forbidden=":{}",
    reserved=("standpipe:",),
)

_UNIX = "unix://"


class RedisUrl(UrlOf):
    """As UrlOf, and also `unix:///path/of/socket`, which names no host."""

    __slots__ = ()

    def parse(self, value: object) -> Url:
        """`value` taken apart. Raises ValueError, with the remedy."""
        if not isinstance(value, str) or not value.startswith(_UNIX):
            return super().parse(value)
        split = urlsplit(value)
        path = unquote(split.path)
        if not path.startswith("/") or len(path) < 2 or split.hostname:
            raise ValueError("a unix:// url names the socket by its whole path; write for example unix:///run/redis/redis.sock")
        user = unquote(split.username) if split.username else None
        password = SecretStr(unquote(split.password)) if split.password else None
        text = split._replace(netloc="", fragment="").geturl()
        return Url(text, "unix", "", None, path, split.query, user, password)


URL = RedisUrl(("redis", "rediss", "unix"), {"redis": 6379, "rediss": 6379})


class WaitConfig(Section):
    """Wait until replicas have the messages."""

    replicas: int = Field(ge=1, le=100, description="so many replicas must have a message before it counts as delivered")
    timeout: Duration = Field(default=1.0, gt=0, le=60, description="how long they may take, before the batch counts as not yet delivered")


class RedisProducerConfig(NetworkProducerConfig):
    """Which server and stream, what an entry holds, and how safely."""

    type: str = Field(default="redis", description="`redis`")
    url: Annotated[Url, URL] = Field(
        description="the server: `redis://user:password@host:6379/0`, `rediss://...` for an encrypted connection, "
        "`unix:///path/of/socket`; the number at the end (of a socket: `?db=0`) is the database"
    )
    user: str | None = Field(default=None, min_length=1, description="user, if it is not in `url`; none: the server's default user")
    password: SecretStr | None = Field(default=None, description="password, if it is not in `url`")
    mode: Literal["stream", "list", "pubsub"] = Field(
        default="stream",
        description="`stream`: entries of a stream (`XADD`); `list`: elements of a list (`RPUSH`); `pubsub`: published to a channel "
        "(`PUBLISH`), **which loses every message that nobody listens to at that moment**",
    )
    stream: str = Field(
        description="name of the stream, or of the list or channel: `orders`, `orders:{customer.region}`; values must not hold "
        "`:`, `{`, `}`"
    )
    error_stream: str | None = Field(
        default=None,
        description="name for error messages, as `stream`; none: the same stream; with `list` and `pubsub`, which have no headers, the "
        "same name with `:errors` appended",
    )
    format: Literal["json", "flat"] = Field(
        default="json",
        description="of a stream's entries. `json`: the message is one field; `flat`: each of its fields is a field of the entry, text as "
        "it is and everything else as JSON",
    )
    payload_field: str = Field(default="payload", min_length=1, description="with `json`: name of the field that holds the message")
    create: bool = Field(
        default=True, description="whether a stream that does not exist is made by its first message; otherwise messages wait until it is"
    )
    max_length: int | None = Field(
        default=None,
        ge=1,
        description="how many entries a stream keeps, about (`MAXLEN ~`): **older ones are removed, read or not**; none: all",
    )
    push: Literal["right", "left"] = Field(default="right", description="with `list`: at which end messages are put in")
    transaction: bool = Field(
        default=True,
        description="send a batch as a transaction (`MULTI`): all of it or nothing, so that order is kept also within a batch. Without it, "
        "for servers and proxies that have no transactions, a batch holds one message of each key",
    )
    deduplicate: Duration | None = Field(
        default=None,
        gt=0,
        le=30 * 86_400,
        description="how long the ids of messages are remembered in Redis, so that one that is sent again is not added again; each takes "
        "about 150 bytes of the server's memory for so long; none: they are not",
    )
    wait: WaitConfig | None = Field(default=None, description="wait for replicas; none: the server's own word is enough")
    pause: Duration = Field(
        default=60.0, gt=0, le=3600, description="how long nothing is sent when the server refuses what only a person can mend"
    )
    details: bool = Field(default=True, description="whether `receipt.detail` has the stream and the id of the entry")
    key_header: str | None = Field(
        default="message-key", description="field of the entry that holds the key of messages that have one; none: no field"
    )

    header_rule: ClassVar[HeaderRule] = REDIS
    cloudevents_binding: ClassVar[Binding] = REDIS_BINDING

    @field_validator("stream", "error_stream")
    @classmethod
    def _is_a_name(cls, value: str | None, info: Any) -> str | None:
        if value is not None:
            TextTemplate(value, NAME, info.field_name)
        return value

    @field_validator("url")
    @classmethod
    def _names_a_database(cls, value: Url) -> Url:
        for name, _ in parse_qsl(value.query, keep_blank_values=True):
            if name != "db":
                raise ValueError(f"{name!r} cannot stand in url; there may be db, the rest are settings of their own")
        _database_of(value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> RedisProducerConfig:
        for fault in (self._login_fault(), self._name_fault(), self._mode_fault(), self._field_fault()):
            if fault is not None:
                raise ValueError(fault)
        return self

    # --- what follows -------------------------------------------------------------------------------------------------

    @property
    def database(self) -> int:
        """The number of the database."""
        return _database_of(self.url)

    @property
    def login(self) -> tuple[str | None, str | None]:
        """User and password in plain text; only for what is sent."""
        secret = self.password or self.url.password
        return self.user or self.url.user, None if secret is None else secret.get_secret_value()

    @property
    def names(self) -> tuple[TextTemplate, TextTemplate]:
        """The names for normal messages and for errors."""
        normal = TextTemplate(self.stream, NAME, "stream")
        error = self.error_stream
        if error is not None:
            return normal, TextTemplate(error, NAME, "error_stream")
        return normal, normal if self.mode == "stream" else TextTemplate(self.stream + ERRORS, NAME, "stream")

    def _login_fault(self) -> str | None:
        if (self.user and self.url.user) or (self.password and self.url.password):
            return "user and password stand in the url and beside it; leave out one of them"
        if self.login[0] is not None and self.login[1] is None:
            return "there is a user and no password; set password"
        if self.tls is not None and self.url.scheme != "rediss":
            return f"tls has no effect, because the url begins with {self.url.scheme}://; write rediss://"
        return None

    def _name_fault(self) -> str | None:
        if self.error_stream == self.stream and self.mode == "stream":
            return "stream and error_stream are the same; leave error_stream out: the field is_error tells the messages apart"
        return None

    def _mode_fault(self) -> str | None:
        mode = self.mode
        if mode == "pubsub" and (self.deduplicate is not None or self.wait is not None):
            return "deduplicate and wait have no effect with mode: pubsub, which keeps nothing; leave them out, or choose mode: stream"
        if mode == "stream":
            return "push has no effect with mode: stream; leave it out" if "push" in self.model_fields_set else None
        for name in ("max_length", "create", "format", "payload_field", "headers"):
            if name in self.model_fields_set:
                return f"{name} has no effect with mode: {mode}; leave it out, or choose mode: stream"
        if self.cloudevents is not None and self.cloudevents.mode == "binary":
            return f"mode: {mode} has no headers, which cloudevents.mode: binary needs; write cloudevents.mode: structured"
        return None

    def _field_fault(self) -> str | None:
        if self.mode != "stream":
            return None
        if self.format == "flat":
            if self.cloudevents is not None and self.cloudevents.mode == "structured":
                return "format: flat takes the event apart that cloudevents makes; leave out one of them, or write cloudevents.mode: binary"
            return None
        taken = [self.message_id_header, self.key_header, self.error_header, *plain_headers(self.headers)]
        if self.payload_field in taken:
            return f"payload_field {self.payload_field!r} is also the name of a header; choose another name for one of them"
        return None


def _database_of(url: Url) -> int:
    found = dict(parse_qsl(url.query, keep_blank_values=True)).get("db", "" if url.scheme == "unix" else url.path.strip("/"))
    if found and not (found.isascii() and found.isdigit() and len(found) < 9):
        raise ValueError(f"{found!r} is not the number of a database; write for example redis://host:6379/0")
    return int(found or 0)
