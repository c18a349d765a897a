"""`type: rabbitmq`: messages published to an exchange, thousands on their way at once, each counted when the broker confirms it.

The connection is driven from the worker thread (`rabbitmq_link.py`); what goes over the wire is written in `rabbitmq_frames.py`,
what becomes of each message is followed in `rabbitmq_window.py`, what an error means is said in `rabbitmq_errors.py`.
"""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import pika

from standpipe.core.errors import Disconnected, Reject
from standpipe.core.finding import Finding
from standpipe.delivery.batch import Batch
from standpipe.delivery.report import Report
from standpipe.producers.addresses import HostPort
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.envelope import Envelope
from standpipe.producers.error_table import ErrorTable
from standpipe.producers.rabbitmq_config import RabbitmqProducerConfig, route_shown
from standpipe.producers.rabbitmq_errors import ERRORS
from standpipe.producers.rabbitmq_examine import examine
from standpipe.producers.rabbitmq_frames import Frames
from standpipe.producers.rabbitmq_link import Link, Step
from standpipe.producers.rabbitmq_topology import steps_of
from standpipe.producers.rabbitmq_window import Sending, Window
from standpipe.producers.text_template import TextChoice
from standpipe.producers.tls import TlsConfig, ssl_context

_log = logging.getLogger("standpipe.producers.rabbitmq")

GZIP_LEVEL = 6
"""zlib's own default: more takes long and gains little."""


class RabbitmqProducer(BaseProducer):
    """Publishes messages to an exchange of RabbitMQ; each counts as delivered when the broker has confirmed it.

    `receipt.detail` is `{"delivery_tag": 1742, "exchange": "orders", "routing_key": "eu"}`.
    """

    config_model: ClassVar[type[BaseProducerConfig]] = RabbitmqProducerConfig
    errors: ClassVar[ErrorTable] = ERRORS

    config: RabbitmqProducerConfig

    _link: Link | None = None
    _window: Window
    _frames: Frames
    _envelope: Envelope
    _routing_keys: TextChoice

    _host = 0
    """which of the hosts is next"""
    _body_max: int | None = None
    """bytes of the largest body that the broker takes, once it has said so"""
    _suspects: frozenset[str] = frozenset()
    """messages of which one made the broker close the last channel"""

    @property
    def max_in_flight(self) -> int:  # type: ignore[override]
        """Messages published and not confirmed at once."""
        return self.config.max_in_flight

    @property
    def destination(self) -> str:
        """Broker, exchange and routing key."""
        config = self.config
        error_key = config.routing_key if config.error_routing_key is None else config.error_routing_key
        normal, error = route_shown(config.exchanges[0], config.routing_key), route_shown(config.exchanges[1], error_key)
        return f"{config.url} {normal}" + ("" if error == normal else f", errors: {error}")

    def examine(self) -> list[Finding]:
        """What would be lost when, as far as a publisher may look."""
        return examine(self.config, lambda host: parameters_for(self.config, host))

    # --- connection ---------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._close()
        config = self.config
        self._envelope = Envelope(config)
        self._routing_keys = TextChoice(*config.routing_keys)
        host = config.hosts[self._host % len(config.hosts)]
        try:
            link = self._link = Link(parameters_for(config, host), self._on_lost, self._on_blocked)
            window = self._window = Window(config, link.write, self._suspects)
            window.body_max = self._body_max
            link.open(self._steps(window), config.connect_timeout, lambda: self._ended)
        except Exception as error:
            self._host += 1
            self._close()
            failure = self.errors.translate(error)
            failure.args = (f"{host}: {failure}",)
            raise failure from error
        self._frames = frames_for(config, link, self._envelope.content_type)

    def _steps(self, window: Window) -> Iterable[Step]:
        def listen(channel: Any, done: Callable[[Any], None]) -> None:
            channel.add_on_return_callback(window.on_return)
            channel.confirm_delivery(window.on_confirm, done)

        yield listen
        yield from steps_of(self.config)

    def _on_lost(self, error: BaseException) -> None:
        self._window.on_lost(error)
        self._suspects, self._body_max = self._window.suspects, self._window.body_max

    def _on_blocked(self, reason: str | None, seconds: float) -> None:
        if reason is not None:
            _log.warning("%s: the broker takes no messages at the moment (%s); they wait", self.name, reason)
        else:
            _log.info("%s: the broker takes messages again, after %.1f s", self.name, seconds)

    def _close(self) -> None:
        """What was published and is not confirmed may have arrived; a connection with such messages is cut, so that nothing of
        them leaves later."""
        link, self._link = self._link, None
        if link is not None:
            link.close(politely=not len(self._window))
            self._window.give_back("the connection was closed before it was sent")

    def _after_fork(self) -> None:
        """The connection is the parent's: not even its end may be told to the broker."""
        self._link = None
        super()._after_fork()

    # --- sending ------------------------------------------------------------------------------------------------------

    def _submit(self, batch: Batch, report: Report) -> None:
        link = self._link
        if link is None or link.lost is not None:
            raise Disconnected("the connection is lost", arrived=False)
        faults: dict[int, Reject] = {}
        routing_keys = self._routing_keys.of(batch, faults)
        bodies, headers = self._envelope.wrap(batch, faults)
        for position, fault in faults.items():
            report.failed(position, fault)
        if self.config.compression == "gzip":
            bodies = [gzip.compress(body, GZIP_LEVEL, mtime=0) for body in bodies]
        sending = Sending(report, self._exchanges_of(batch), routing_keys, batch.ids(), bodies, headers)
        # Ids that Standpipe has made are unique; those of a caller may be on their way twice.
        foreign_ids = any(receipt._more is not None and receipt._more.ids is not None for receipt, _, _ in batch.slices)
        try:
            self._window.publish(sending, self._frames, faults, foreign_ids)
        except Exception as error:  # a tag may have been counted for what has not been written: this channel is of no use any more
            raise Disconnected("the message could not be handed to the client") from error

    def _exchanges_of(self, batch: Batch) -> list[str]:
        normal, error = self.config.exchanges
        if normal == error:
            return [normal] * batch.count
        return [error if flag else normal for flag in batch.is_errors()]

    def _poll(self, seconds: float) -> None:
        link = self._link
        if link is None:
            raise Disconnected("the connection is closed", arrived=False)
        if link.lost is None:
            link.turn(seconds)
        if link.lost is not None:
            raise self.errors.translate(link.lost)
        limit = self.config.send_timeout
        if limit is not None and link.stuck_for() > limit:
            raise Disconnected(f"the broker has read nothing for {limit:g} s")

    def _wake(self) -> None:
        link = self._link
        if link is not None:
            link.wake()

    def _writable(self) -> bool:
        link = self._link
        return link is None or link.lost is not None or (link.blocked_since is None and not link.full)


def parameters_for(config: RabbitmqProducerConfig, host: HostPort) -> Any:
    """How pika shall connect."""
    user, password = config.login
    external = config.auth == "external"
    tls = config.tls if config.tls is not None else TlsConfig() if config.url.scheme == "amqps" else None
    return pika.ConnectionParameters(
        host=host.host,
        port=host.port,
        virtual_host=config.virtual_host,
        credentials=pika.credentials.ExternalCredentials() if external else pika.PlainCredentials(user, password),
        heartbeat=math.ceil(config.heartbeat),
        ssl_options=None if tls is None else pika.SSLOptions(ssl_context(tls), tls.server_name or host.host),
        socket_timeout=config.connect_timeout,
        stack_timeout=config.connect_timeout,
        client_properties={"connection_name": config.name, "product": "Standpipe"},
    )


def frames_for(config: RabbitmqProducerConfig, link: Link, content_type: str) -> Frames:
    """What encodes messages for the link."""
    return Frames(
        link.channel.channel_number,
        link.frame_max,
        content_type=content_type,
        persistent=config.persistent,
        mandatory=config.unroutable != "discard",
        content_encoding="gzip" if config.compression == "gzip" else None,
        priority=config.priority,
        expiration_ms=None if config.expiration is None else max(1, round(config.expiration * 1000)),
    )
