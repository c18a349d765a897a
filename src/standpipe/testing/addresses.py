"""Where the configuration of a producer says that its service is, and the same configuration leading somewhere else.

Understood are `host` and `port`, URLs (`url`, `dsn`, or any text that looks like one) and lists of servers (`host:port`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from standpipe.producers.addresses import HostPort, Url
from standpipe.producers.config import BaseProducerConfig

PORTS = {
    "http": 80,
    "https": 443,
    "amqp": 5672,
    "amqps": 5671,
    "nats": 4222,
    "tls": 4222,
    "redis": 6379,
    "rediss": 6379,
    "mqtt": 1883,
    "mqtts": 8883,
    "postgres": 5432,
    "postgresql": 5432,
    "mysql": 3306,
    "mongodb": 27017,
}
"""The ports that are meant when a URL names none."""

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/]+")
_SERVERS = re.compile(r"(?:servers?|bootstrap|brokers?|hosts?|address(?:es)?|endpoints?|nodes?)", re.IGNORECASE)
_HOST_PORT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")


def address_of(config: BaseProducerConfig) -> tuple[str, int] | None:
    """Host and port of the service (of the first server, if there are several); None if the configuration does not say."""
    return next((found for _, found, _ in _addresses(config)), None)


def redirected(config: BaseProducerConfig, port: int) -> BaseProducerConfig:
    """The same configuration, leading to `port` of this machine. Raises ValueError if it has no address."""
    for name, (host, _), value in _addresses(config):
        return config.model_copy(update=_replacing(name, value, here(host), port))
    raise ValueError("the configuration has no address")


def here(host: str) -> str:
    """The name that stands for this machine in place of `host`: its own if it is one, so that certificates still fit."""
    try:
        is_here = ipaddress.ip_address(host) == ipaddress.ip_address("127.0.0.1")
    except ValueError:
        is_here = host == "localhost"
    return host if is_here else "127.0.0.1"


def _addresses(config: BaseProducerConfig) -> Iterator[tuple[str, tuple[str, int], Any]]:
    """Each field that holds an address: its name, the address, its value."""
    values = {name: getattr(config, name) for name in type(config).model_fields}
    host, port = values.get("host"), values.get("port")
    if isinstance(host, str) and isinstance(port, int):
        yield "host", (host, port), host
    for name, value in values.items():
        found = _in_value(name, value)
        if found is not None:
            yield name, found, value


def _in_value(name: str, value: Any) -> tuple[str, int] | None:
    if isinstance(value, Url):
        return (value.host, value.port) if value.port is not None else None
    if isinstance(value, HostPort):
        return value.host, value.port
    if isinstance(value, SecretStr):
        return _in_value(name, value.get_secret_value())
    if isinstance(value, (list, tuple)) and value:
        return _in_value(name, value[0])
    if not isinstance(value, str):
        return None
    if _URL.match(value):
        return _in_url(value)
    found = _HOST_PORT.match(value) if _SERVERS.search(name) else None
    return (found["host"].strip("[]"), int(found["port"])) if found else None


def _in_url(text: str) -> tuple[str, int] | None:
    try:
        split = urlsplit(text)
        port = split.port or PORTS.get(split.scheme.partition("+")[0])
    except ValueError:
        return None
    return (split.hostname, port) if split.hostname and port else None


def _replacing(name: str, value: Any, host: str, port: int) -> dict[str, Any]:
    if name == "host":
        return {"host": host, "port": port}
    return {name: _moved(value, host, port)}


def _moved(value: Any, host: str, port: int) -> Any:
    if isinstance(value, Url):
        return value._replace(text=_moved_url(value.text, host, port), host=host, port=port)
    if isinstance(value, HostPort):
        return HostPort(host, port)
    if isinstance(value, SecretStr):
        return SecretStr(_moved(value.get_secret_value(), host, port))
    if isinstance(value, tuple):
        return (_moved(value[0], host, port),)
    if isinstance(value, list):
        return [_moved(value[0], host, port)]
    return _moved_url(value, host, port) if _URL.match(value) else f"{host}:{port}"


def _moved_url(text: str, host: str, port: int) -> str:
    split = urlsplit(text)
    user, at, _ = split.netloc.rpartition("@")
    return split._replace(netloc=f"{user}{at}{host}:{port}").geturl()
