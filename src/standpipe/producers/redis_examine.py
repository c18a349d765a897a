"""What `standpipe doctor` finds out about a Redis server: what of it loses messages, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from standpipe.core.finding import Finding, Severity
from standpipe.producers.redis_config import RedisProducerConfig
from standpipe.producers.redis_connection import ServerError, SpeakingConnection, open_connection
from standpipe.producers.tls_findings import encryption_findings

_CRITICAL, _WARNING, _INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO

_SETTINGS: Final = ("appendonly", "appendfsync", "save", "maxmemory", "maxmemory-policy", "min-replicas-to-write")
_SECTIONS: Final = ("persistence", "memory", "replication", "cluster")
_FROM_INFO: Final = {"aof_enabled": "appendonly", "maxmemory": "maxmemory", "maxmemory_policy": "maxmemory-policy"}
"""Settings that INFO says as well, for users who must not read the configuration."""

_YES = {"1": "yes", "0": "no"}

Settings = Mapping[str, str]


def findings(config: RedisProducerConfig) -> Iterator[Finding]:
    """Connect for this, and look; changes nothing. Raises redis-py's errors, ServerError and OSErrors when it cannot connect."""
    yield from _ours(config)
    connection = open_connection(config)
    try:
        _knock(connection, config)
        settings, state, missing = _read(connection, config)
        if missing:
            yield Finding(
                _INFO,
                f"could not be checked: {', '.join(missing)}",
                "nobody has looked whether these settings of the server lose messages",
                "run doctor with a user that has the rights +config|get and +info",
            )
        yield from _role(state, settings, config)
        if config.mode != "pubsub":
            yield from _persistence(settings)
            yield from _memory(settings, config)
            yield from _types(connection, config)
    finally:
        connection.disconnect()  # type: ignore[no-untyped-call]


def _knock(connection: SpeakingConnection, config: RedisProducerConfig) -> None:
    """A server lets everybody connect; only its first answer says whether it lets us in."""
    try:
        connection.ask("PING", seconds=config.connect_timeout)
    except ServerError as error:
        if error.code != "NOPERM":
            raise


# --- what the configuration says ------------------------------------------------------------------------------------------


def _ours(config: RedisProducerConfig) -> Iterator[Finding]:
    url, remedy = config.url, "write rediss:// in url, and turn on TLS at the server"
    yield from encryption_findings(config.tls, url.scheme == "rediss", [url.host] if url.scheme == "redis" else [], "server", remedy)
    if config.mode == "pubsub":
        yield Finding(
            _CRITICAL,
            "mode is pubsub",
            "a message that no subscriber listens to at that moment is gone, although it counts as delivered; also one that a subscriber "
            "is too slow for",
            "mode: stream",
        )
    if config.max_length is not None:
        yield Finding(
            _WARNING,
            f"max_length is {config.max_length}",
            "when more than that come in before they are read, the oldest are removed, although they count as delivered",
            "leave out max_length, and have readers remove what they have read (XTRIM with MINID, or XDEL)",
        )
    if config.deduplicate is None and config.mode != "pubsub":
        yield Finding(
            _INFO,
            "deduplicate is not set",
            "a message that is sent again, after a crash or a lost answer, comes twice, with the same message id",
            "deduplicate: 1h, unless readers ignore ids that they have seen",
        )


# --- what the server says -------------------------------------------------------------------------------------------------


def _read(connection: SpeakingConnection, config: RedisProducerConfig) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Settings, state (`INFO`), and what of the settings could not be read."""
    state: dict[str, str] = {}
    for section in _SECTIONS:
        try:
            text: bytes = connection.ask("INFO", section, seconds=config.connect_timeout)
        except ServerError:
            continue
        lines = (line.partition(":") for line in text.decode(errors="replace").splitlines() if not line.startswith("#"))
        state |= {name: value for name, _, value in lines}
    settings = {
        ours: _YES.get(state[name], state[name]) if name == "aof_enabled" else state[name]
        for name, ours in _FROM_INFO.items()
        if name in state
    }
    for name in _SETTINGS:
        try:
            pair: list[bytes] = connection.ask("CONFIG", "GET", name, seconds=config.connect_timeout)
        except ServerError:
            continue
        if len(pair) == 2:
            settings[name] = pair[1].decode(errors="replace")
    missing = [name for name in _SETTINGS if name not in settings] + ([] if "role" in state else ["replication"])
    return settings, state, missing


def _role(state: Settings, settings: Settings, config: RedisProducerConfig) -> Iterator[Finding]:
    if state.get("role") == "slave":
        remedy = "name the primary in url"
        yield Finding(_CRITICAL, "the server is a replica", "it takes no writes, so nothing can be delivered", remedy)
    if state.get("cluster_enabled") == "1":
        yield Finding(
            _WARNING,
            "the server is part of a Redis Cluster, which is not supported",
            "streams whose name belongs to another node cannot be written to; messages for them wait",
            "name a single server in url, or a proxy that speaks for the cluster",
        )
    replicas = int(state.get("connected_slaves", "0"))
    if config.wait is not None:
        if replicas < config.wait.replicas and "role" in state:
            yield Finding(
                _CRITICAL,
                f"wait asks for {config.wait.replicas} replicas, and {replicas} are connected",
                "nothing can be delivered",
                "connect replicas, or leave out wait",
            )
        else:
            yield Finding(_INFO, f"wait.replicas is {config.wait.replicas}", "so many replicas have what counts as delivered", "")
    elif replicas and settings.get("min-replicas-to-write", "0") == "0":
        yield Finding(
            _WARNING,
            f"{replicas} {'replica is' if replicas == 1 else 'replicas are'} connected, and nobody waits for them",
            "after a failover the last messages that counted as delivered may be missing",
            "wait: {replicas: 1}; or min-replicas-to-write on the server, which shortens the gap",
        )


def _persistence(settings: Settings) -> Iterator[Finding]:
    if settings.get("appendonly") == "no":
        save = settings.get("save")
        if save == "":
            yield Finding(
                _CRITICAL,
                "appendonly is no, and save is empty",
                "a restart of the server loses all messages",
                "appendonly yes in redis.conf",
            )
        else:
            yield Finding(
                _CRITICAL,
                "appendonly is no" + (f", and save is {save}" if save else ""),
                "a crash or kill of the server, or a power cut, loses every message since the last snapshot: minutes to an hour",
                "appendonly yes in redis.conf",
            )
    elif settings.get("appendonly") == "yes":
        yield from _log_of_commands(settings.get("appendfsync"))


def _log_of_commands(level: str | None) -> Iterator[Finding]:
    if level == "always":
        yield Finding(_INFO, "appendonly is yes, and appendfsync is always", "what is delivered survives a crash and a power cut", "")
    elif level is not None:
        gap = "of the last second" if level == "everysec" else "of half a minute"
        yield Finding(
            _WARNING,
            f"appendfsync is {level}",
            f"a power cut loses the messages {gap}, although they count as delivered; a crash of the server alone loses none",
            "appendfsync always in redis.conf, if that is fast enough",
        )


def _memory(settings: Settings, config: RedisProducerConfig) -> Iterator[Finding]:
    policy, limit = settings.get("maxmemory-policy"), settings.get("maxmemory", "0")
    if policy is None:
        return
    if limit == "0":
        yield Finding(
            _INFO,
            "maxmemory is 0",
            "the server takes messages until the machine has no memory left, and may then be ended by the system",
            "maxmemory in redis.conf, with maxmemory-policy noeviction",
        )
    elif policy.startswith("allkeys"):
        yield Finding(
            _CRITICAL,
            f"maxmemory-policy is {policy}",
            "when the server's memory is full it removes whole streams and lists, although their messages count as delivered",
            "maxmemory-policy noeviction in redis.conf; then messages wait until there is room",
        )
    elif policy != "noeviction" and config.deduplicate is not None:
        yield Finding(
            _WARNING,
            f"maxmemory-policy is {policy}",
            "when the server's memory is full it forgets ids of messages, and one that is sent again comes twice",
            "maxmemory-policy noeviction in redis.conf",
        )
    else:
        yield Finding(_INFO, f"maxmemory-policy is {policy}", "when the server's memory is full, messages wait and none is removed", "")


def _types(connection: SpeakingConnection, config: RedisProducerConfig) -> Iterator[Finding]:
    for name in dict.fromkeys(template.constant for template in config.names):
        if name is None:
            continue
        try:
            found = connection.ask("TYPE", name, seconds=config.connect_timeout).decode()
        except ServerError:
            continue
        if found not in ("none", config.mode):
            yield Finding(
                _CRITICAL, f"{name!r} is a {found}", "nothing can be delivered to it", "choose another name in stream, or remove it"
            )
        elif found == "none" and config.mode == "stream" and not config.create:
            remedy = "make it (XGROUP CREATE ... MKSTREAM), or set create: true"
            yield Finding(_CRITICAL, f"there is no stream {name!r}, and create is false", "its messages wait", remedy)
