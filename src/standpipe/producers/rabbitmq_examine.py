"""`standpipe doctor` for RabbitMQ: what the broker and our own settings would lose, and when.

AMQP says whether exchanges and queues exist, not how they were declared; of queues in `declare` we know it, of others it is
said how to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pika
from pika import exceptions

from standpipe.core.finding import Finding, Severity
from standpipe.producers.addresses import HostPort
from standpipe.producers.rabbitmq_config import LIMITS, OVERFLOW, QueueDeclaration, RabbitmqProducerConfig
from standpipe.producers.rabbitmq_errors import ERRORS, root_of
from standpipe.producers.tls_findings import encryption_findings

_CRITICAL, _WARNING, _INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def examine(config: RabbitmqProducerConfig, parameters_for: Callable[[HostPort], Any]) -> list[Finding]:
    """What would be lost when. Raises why no broker can be reached."""
    return [*_settings(config), *_declarations(config), *_hosts(config, parameters_for)]


# --- what the configuration says ------------------------------------------------------------------------------------------


def _settings(config: RabbitmqProducerConfig) -> Iterator[Finding]:
    if not config.persistent:
        yield Finding(
            _CRITICAL,
            "persistent is false",
            "a restart of the broker loses every message that is in a queue",
            "leave out persistent: false",
        )
    if config.unroutable == "discard":
        yield Finding(
            _WARNING,
            "unroutable is discard",
            "a message that no queue is bound for counts as delivered and is gone, for example after a queue was deleted",
            "unroutable: reject, or wait",
        )
    else:
        yield Finding(_INFO, f"unroutable is {config.unroutable}", "a message that no queue is bound for is not lost", "")
    if config.expiration is not None:
        yield Finding(
            _WARNING,
            f"expiration is {config.expiration:g} s",
            "messages that nobody has read by then are removed from their queue, although they count as delivered",
            "leave out expiration, or have the queue put them aside (x-dead-letter-exchange)",
        )
    hosts, remedy = [host.host for host in config.hosts], "write amqps:// in url, and its port (5671)"
    yield from encryption_findings(config.tls, config.url.scheme == "amqps", hosts, "broker", remedy)


def _declarations(config: RabbitmqProducerConfig) -> Iterator[Finding]:
    for queue in config.declare.queues if config.declare is not None else []:
        yield _kind(queue)
        arguments = queue.all_arguments()
        if any(limit in arguments for limit in LIMITS) and queue.type != "stream" and arguments.get(OVERFLOW) == "drop-head":
            yield Finding(
                _CRITICAL,
                f"the queue {queue.name} has a bound and {OVERFLOW} is drop-head",
                "a full queue drops its oldest messages, which count as delivered",
                f"leave out {OVERFLOW} (it is reject-publish then), or the bound",
            )


def _kind(queue: QueueDeclaration) -> Finding:
    if queue.type == "quorum":
        return Finding(_INFO, f"the queue {queue.name} is a quorum queue", "messages are on disk before they are confirmed", "")
    return Finding(
        _WARNING,
        f"the queue {queue.name} is a {queue.type} {'queue' if queue.type == 'classic' else ''}".rstrip(),
        "a power cut may lose messages that were confirmed shortly before: newer brokers confirm before they are on disk",
        "type: quorum",
    )


# --- what the brokers say -------------------------------------------------------------------------------------------------


def _hosts(config: RabbitmqProducerConfig, parameters_for: Callable[[HostPort], Any]) -> Iterator[Finding]:
    """Every host is tried, the first that answers is asked."""
    failures: list[Exception] = []
    asked = False
    for host in config.hosts:
        try:
            connection = pika.BlockingConnection(parameters_for(host))
        except Exception as error:  # many layers have their own
            failures.append(_translated(error))
            yield _unreachable(host, failures[-1])
            continue
        with closing(connection):
            if not asked:
                yield from _broker(config, host, connection)
            asked = True
    if not asked:
        raise failures[-1]


def _unreachable(host: HostPort, failure: Exception) -> Finding:
    return Finding(_WARNING, f"{host} cannot be reached", "messages wait when no other host answers", str(failure))


def _translated(error: Exception) -> Exception:
    inner = error.args[0] if isinstance(error, exceptions.AMQPConnectionError) and error.args else error
    return ERRORS.translate(root_of(inner if isinstance(inner, BaseException) else error))


def _broker(config: RabbitmqProducerConfig, host: HostPort, connection: Any) -> Iterator[Finding]:
    properties = connection._impl.server_properties or {}
    product, version = (str(properties.get(name, "?")) for name in ("product", "version"))
    yield Finding(_INFO, f"{host} answers: {product} {version}", "it takes us in", "")
    declare = config.declare
    for name in dict.fromkeys(config.exchanges):
        if name and (declare is None or declare.exchange_type is None):
            yield from _presence(connection, "exchange", name)
    declared = [queue.name for queue in declare.queues] if declare is not None else []
    for name in config.fixed_queues:
        if name not in declared:
            yield from _presence(connection, "queue", name)
    if not declared:
        yield Finding(
            _INFO,
            "how the queues were declared could not be checked: AMQP does not say it",
            "a classic queue may lose confirmed messages in a power cut, one that is not durable in a restart, and a bounded one that "
            "drops its head at any time",
            "look at: rabbitmqctl list_queues name type durable arguments effective_policy_definition",
        )


def _presence(connection: Any, kind: str, name: str) -> Iterator[Finding]:
    channel = connection.channel()
    look = channel.exchange_declare if kind == "exchange" else channel.queue_declare
    try:
        look(name, passive=True)
    except exceptions.ChannelClosedByBroker as error:
        if error.reply_code == 404:
            yield Finding(
                _CRITICAL, f"the {kind} {name} does not exist", "nothing can be delivered", "create it, or have it made by declare"
            )
        else:
            yield Finding(
                _INFO, f"the {kind} {name} could not be checked ({error.reply_text})", "it may not exist", "give the user the right"
            )
    else:
        channel.close()
        yield Finding(_INFO, f"the {kind} {name} exists", "messages can be published", "")
