"""Where a service is: `host:port`, lists of them, and URLs whose password is kept apart, so that it never gets into a log."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

from standpipe.core.redaction import REDACTED, redact_url

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~-]+)?\]")
_SPACE_OR_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]")


class HostPort(NamedTuple):
    """One server. An IPv6 address stands without its brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Url(NamedTuple):
    """A URL without user and password, which are kept beside it. `str()` of it is safe to show."""

    text: str
    """the URL without user, password and fragment; `str()` hides tokens in its query"""
    scheme: str
    host: str
    port: int | None
    """None: it has none, and its scheme has no default"""
    path: str
    query: str
    user: str | None
    password: SecretStr | None

    def __str__(self) -> str:
        return redact_url(self.text)


@dataclass(frozen=True, slots=True)
class UrlOf:
    """Makes a setting a URL: `url: Annotated[Url, UrlOf(("redis", "rediss"), {"redis": 6379})]` takes text.

    `ports`: the port of a scheme when the URL has none. `credentials`: whether `user:password@` may stand in it; they are
    taken out, percent-decoded, and redacted wherever the engine writes.
    """

    schemes: Sequence[str]
    ports: Mapping[str, int] = field(default_factory=dict, hash=False)  # hashable, as `... | None` needs it
    credentials: bool = True
    words: ClassVar[str] = "URL"

    def parse(self, value: object) -> Url:
        """`value` taken apart; for defaults, too. Raises ValueError, with the remedy."""
        return parse_url(value, self.schemes, self.ports, credentials=self.credentials)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """For Pydantic."""
        return core_schema.no_info_plain_validator_function(
            self.parse,
            json_schema_input_schema=core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )


@dataclass(frozen=True, slots=True)
class HostsOf:
    """Makes a setting one or several servers: `servers: Annotated[tuple[HostPort, ...], HostsOf(9092)]` takes `a:1,b:2` or a list."""

    default_port: int
    words: ClassVar[str] = "`host:port`, several with commas between them or as a list"

    def parse(self, value: object) -> tuple[HostPort, ...]:
        """`value` taken apart; for defaults, too. Raises ValueError, with the remedy."""
        return parse_hosts(value, self.default_port)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """For Pydantic."""
        text = core_schema.str_schema()
        return core_schema.no_info_plain_validator_function(
            self.parse,
            json_schema_input_schema=core_schema.union_schema([text, core_schema.list_schema(text)]),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda hosts: [str(each) for each in hosts]),
        )


def parse_url(value: object, schemes: Sequence[str], ports: Mapping[str, int], *, credentials: bool = True) -> Url:
    """`value` taken apart. Raises ValueError, without the password, with the remedy."""
    if isinstance(value, Url):
        return value
    example = f"{schemes[0]}://host" + (f":{ports[schemes[0]]}" if schemes[0] in ports else "")
    if not isinstance(value, str) or _SPACE_OR_CONTROL.search(value) is not None:
        raise ValueError(f"this is not a URL; write for example {example}")
    try:
        split = urlsplit(value)
    except ValueError:  # its text may hold a part of the password
        raise ValueError(f"{_shown(value)!r} is not a URL; write for example {example}{_quoting(value)}") from None
    try:
        port = split.port
    except ValueError:
        raise ValueError(f"{_shown(value)!r}: the port is no number up to 65535; write for example {example}{_quoting(value)}") from None
    if split.scheme not in schemes:
        raise ValueError(f"{_shown(value)!r} must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if not split.hostname or _HOST.fullmatch(_bracketed(split.hostname)) is None:
        raise ValueError(f"{_shown(value)!r} names no host; write for example {example}{_quoting(value)}")
    if not credentials and (split.username or split.password):
        raise ValueError(f"{_shown(value)!r} must not hold a user or password; there are settings for them")
    return _url(split, split.hostname, port if port is not None else ports.get(split.scheme))


def _url(split: SplitResult, host: str, port: int | None) -> Url:
    netloc = split.netloc.rpartition("@")[2]
    text = split._replace(netloc=netloc, fragment="").geturl()
    user = unquote(split.username) if split.username else None
    password = SecretStr(unquote(split.password)) if split.password else None
    return Url(text, split.scheme, host, port, split.path, split.query, user, password)


def parse_hosts(value: object, default_port: int) -> tuple[HostPort, ...]:
    """Servers from `a:1,b:2` or a list of such. Raises ValueError, with the remedy, for none and for what is no server."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise ValueError(f"no server is named; write for example localhost:{default_port}, or a list of such")
    return tuple(item if isinstance(item, HostPort) else parse_host(item, default_port) for item in items)


def parse_host(value: object, default_port: int) -> HostPort:
    """`host`, `host:port` or `[address]:port`. Raises ValueError, with the remedy."""
    example = f"write for example localhost:{default_port}"
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a server; {example}")
    text = value.strip()
    if "@" in text or "/" in text:
        raise ValueError(f"{_shown(text)!r} is not host:port; {example}, without scheme, user and path")
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host = text
    if _HOST.fullmatch(host) is None:
        raise ValueError(f"{value!r} is not host:port; {example}, and an IPv6 address in brackets: [::1]:{default_port}")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{value!r}: {port!r} is not a port; {example}")
    return HostPort(host.strip("[]"), int(port) if colon else default_port)


def is_local(host: str) -> bool:
    """Whether `host` is this machine: what goes there passes nobody."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _quoting(value: str) -> str:
    return "; in a password '/' is written as %2F, '?' as %3F, '#' as %23, '@' as %40, '%' as %25" if "@" in value else ""


def _shown(value: str) -> str:
    """`value` for an error: whatever stands before the last `@` may be a password, however wrongly it is written."""
    rest = redact_url(value.rpartition("@")[2])
    return f"{REDACTED}@{rest}" if "@" in value else rest


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
