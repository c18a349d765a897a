"""`standpipe doctor` for Kafka: what the brokers, the topics and our own settings would lose, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from standpipe.core.finding import Finding, Severity
from standpipe.producers.kafka_client import ClientLog, access_properties
from standpipe.producers.kafka_config import TOPIC, KafkaProducerConfig
from standpipe.producers.kafka_errors import translate
from standpipe.producers.kafka_reach import Trouble, reach
from standpipe.producers.text_template import TextTemplate

CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO

REPLICAS_WANTED = 3
"""As Kafka's own documentation advises: one may be down for maintenance and another may fail."""
IN_SYNC_WANTED = 2


def examine(config: KafkaProducerConfig) -> list[Finding]:
    """What would be lost when. Raises what says why no broker can be reached. Opens a connection of its own; changes nothing."""
    return [*_own(config), *_brokers(config)]


def _own(config: KafkaProducerConfig) -> Iterator[Finding]:
    if config.acks != "all":
        yield Finding(
            CRITICAL,
            f"acks is {config.acks}",
            "messages count as delivered that no replica has: they are lost when the leader fails"
            if config.acks == "1"
            else "messages count as delivered that no broker has: they are lost with any connection",
            "leave acks and idempotence out",
        )
    elif not config.idempotence:
        yield Finding(
            WARNING,
            "idempotence is off",
            "messages come twice whenever an answer of the broker is late or lost",
            "leave idempotence out; the user may need the permission IdempotentWrite with brokers before 3.0",
        )
    else:
        yield Finding(INFO, "acks is all and idempotence is on", "nothing is lost or repeated while a broker is changed for another", "")
    if config.partitioner == "random" and config.ordering != "none":
        yield Finding(
            WARNING,
            "partitioner is random",
            "messages of one key go to several partitions, so readers see them in any order",
            "leave partitioner out, or set ordering: none",
        )
    yield from _security(config)


def _security(config: KafkaProducerConfig) -> Iterator[Finding]:
    if config.tls is None:
        secret = config.auth is not None and config.auth.type in ("plain", "token", "oauth")
        yield Finding(
            CRITICAL if secret else INFO,
            "the connection is not encrypted" + (" and carries the password or token" if secret else ""),
            "whoever is between here and the brokers can read and change messages" + (", and log in as this user" if secret else ""),
            "set tls",
        )
    elif not config.tls.verify:
        yield Finding(
            CRITICAL,
            "tls.verify is false",
            "whoever is between here and the brokers can pose as them, and read and change everything",
            "name the authority of the brokers' certificates in tls.ca_file and leave verify out",
        )


def _brokers(config: KafkaProducerConfig) -> Iterator[Finding]:
    trouble = Trouble()
    properties: dict[str, Any] = {**access_properties(config), "logger": ClientLog(config.name), "error_cb": trouble.note}
    client = AdminClient(properties)
    try:
        reach(client, trouble, config.connect_timeout)
        # All topics, because one that is asked for by its name may be created by that.
        found = client.list_topics(timeout=config.connect_timeout).topics
    except KafkaException as error:
        client.poll(0)
        raise translate(trouble.reason or error) from error
    wanted = [config.topic] if config.error_topic is None else [config.topic, config.error_topic]
    for text in dict.fromkeys(wanted):
        name = TextTemplate(text, TOPIC, "topic").constant
        if name is None:
            yield Finding(INFO, f"topic {text} depends on the messages", "its topics could not be checked", "")
        else:
            yield from _topic(config, client, name, found.get(name))


def _topic(config: KafkaProducerConfig, client: AdminClient, name: str, found: Any) -> Iterator[Finding]:
    if found is None or found.error is not None:
        why = "does not exist, or may not be seen" if found is None else f"cannot be used: {found.error.str()}"
        yield Finding(
            CRITICAL,
            f"the topic {name} {why}",
            "its messages wait in the queue until it is full, unless the brokers create it when it is used (with their own settings)",
            "create it, correct topic, or allow the user to describe it and to write to it",
        )
        return
    replicas = min((len(partition.replicas) for partition in found.partitions.values()), default=0)
    yield from _replication(name, replicas)
    behind = sum(len(partition.isrs) < len(partition.replicas) for partition in found.partitions.values())
    if behind:
        yield Finding(
            WARNING,
            f"{behind} of {len(found.partitions)} partitions of {name} lack replicas that are in sync",
            "what is acknowledged now is on fewer brokers than it should be",
            "look at the brokers that are down or slow",
        )
    try:
        settings = _settings(client, name, config.connect_timeout)
    except (KafkaException, TimeoutError) as error:
        text = str(translate(error))
        yield Finding(
            INFO, f"the settings of {name} could not be checked: {text}", "unknown", "allow the user DescribeConfigs to check them"
        )
        return
    yield from _configured(config, name, settings, replicas)


def _replication(name: str, replicas: int) -> Iterator[Finding]:
    if replicas == 1:
        yield Finding(
            CRITICAL,
            f"the topic {name} has one replica",
            "when its broker fails nothing can be delivered; when its disk does, messages that were acknowledged are lost",
            f"replicate it to {REPLICAS_WANTED} brokers",
        )
    elif replicas < REPLICAS_WANTED:
        yield Finding(
            WARNING,
            f"the topic {name} has {replicas} replicas",
            "while one broker is down, the failure of another loses messages or stops delivery",
            f"replicate it to {REPLICAS_WANTED} brokers",
        )
    else:
        yield Finding(INFO, f"the topic {name} has {replicas} replicas", "it outlives a broker", "")


def _settings(client: AdminClient, name: str, seconds: float) -> dict[str, Any]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    futures = client.describe_configs([resource], request_timeout=seconds)
    return {entry: setting.value for entry, setting in futures[resource].result(seconds).items()}


def _configured(config: KafkaProducerConfig, name: str, settings: dict[str, Any], replicas: int) -> Iterator[Finding]:
    in_sync = _number(settings.get("min.insync.replicas"))
    if in_sync is not None and in_sync < IN_SYNC_WANTED and replicas > 1:
        yield Finding(
            CRITICAL,
            f"min.insync.replicas of {name} is {in_sync}",
            "messages count as delivered that one broker alone has: they are lost when it fails",
            f"set it to {IN_SYNC_WANTED}",
        )
    if settings.get("unclean.leader.election.enable") == "true":
        yield Finding(
            CRITICAL,
            f"unclean.leader.election.enable of {name} is true",
            "a broker that lags behind may become the leader, and what it does not have is lost",
            "set it to false",
        )
    if "compact" in str(settings.get("cleanup.policy", "")):
        yield Finding(
            WARNING,
            f"the topic {name} is compacted",
            "messages without a key are rejected, and of each key only the last message is kept",
            "give every message a key, or set cleanup.policy to delete",
        )
    largest = _number(settings.get("max.message.bytes"))
    if largest is not None and largest < config.max_message_bytes:
        yield Finding(
            WARNING,
            f"max.message.bytes of {name} is {largest}, and max_message_bytes is {config.max_message_bytes}",
            "messages between the two become dead letters only after the broker has refused them, which slows the others down",
            f"set max_message_bytes to {largest}",
        )
    if in_sync is not None and in_sync >= replicas > 1:
        yield Finding(
            WARNING,
            f"min.insync.replicas of {name} is {in_sync} of {replicas} replicas",
            "while one broker is down nothing can be delivered",
            "have more replicas than have to be in sync",
        )


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, str) and value.isdigit() else None
