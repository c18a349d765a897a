"""`type: mqtt`: messages published to topics of an MQTT broker, each counted when the broker acknowledges it.

The connection is paho's, driven from the worker thread (`mqtt_link.py`); what goes over the wire is written in
`mqtt_packets.py`, what becomes of each message is followed in `mqtt_window.py`, what a reason means is said in `mqtt_errors.py`.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import time
from typing import ClassVar

import paho.mqtt  # noqa: F401 - so that a missing client is noticed here

from standpipe.core.errors import Disconnected, Reject, SendError
from standpipe.core.finding import Finding
from standpipe.delivery.batch import Batch
from standpipe.delivery.report import Report
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.envelope import Envelope
from standpipe.producers.error_table import ErrorTable
from standpipe.producers.mqtt_config import MqttProducerConfig
from standpipe.producers.mqtt_errors import ERRORS, Ended, Unfit
from standpipe.producers.mqtt_examine import examine
from standpipe.producers.mqtt_link import Link
from standpipe.producers.mqtt_packets import Writer
from standpipe.producers.mqtt_window import Sending, Suspicion, Window
from standpipe.producers.record_fields import RecordFields
from standpipe.producers.text_template import TextChoice

_log = logging.getLogger("standpipe.producers.mqtt")

AHEAD = 2
"""Batches that the window may be ahead of what the broker takes at once: the next one is there when the last is under way."""

UNHEARD_TOLD = 10
"""Topics without a subscriber that people are told of; where messages decide about topics, there may be very many."""

TAKEN_OVER = 0x8E


class MqttProducer(BaseProducer):
    """Publishes messages to topics of an MQTT broker; each counts as delivered when the broker has acknowledged it.

    `receipt.detail` is `{"topic": "orders/eu", "packet_id": 17, "reason": "success"}`.
    """

    config_model: ClassVar[type[BaseProducerConfig]] = MqttProducerConfig
    errors: ClassVar[ErrorTable] = ERRORS

    config: MqttProducerConfig

    _link: Link | None = None
    _window: Window
    _envelope: Envelope
    _topics: TextChoice
    _fields: RecordFields | None
    _suspicion: Suspicion | None = None
    _made_id: tuple[int, str] = (0, "")
    _taken_over: Ended | None = None
    _unheard: frozenset[str] = frozenset()
    """topics without a subscriber that people were told of"""

    @property
    def max_in_flight(self) -> int:  # type: ignore[override]
        """Messages that are handed over at once: those on their way, and the next ones."""
        return self.config.max_in_flight + AHEAD * self.config.batch.max_messages

    @property
    def destination(self) -> str:
        """Broker and topics."""
        config = self.config
        return f"{config.url} topic {config.topic}" + ("" if config.error_topic is None else f", errors: {config.error_topic}")

    def examine(self) -> list[Finding]:
        """What would be lost when, as far as a publisher may look."""
        return examine(self.config, self._client_id() if self.config.client_id is None else self.config.client_id)

    # --- connection ---------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._close()
        config = self.config
        other, self._taken_over = self._taken_over, None
        if other is not None:  # to come back at once would only take the other's place in turn
            raise self.errors.translate(other)
        link = self._link = Link(config, self._client_id(), lambda: self._ended)
        try:
            link.open()
            check_fitness(config, link.server)
        except Exception as error:
            self._close()
            raise self.errors.translate(error) from error
        self._topics = TextChoice(*config.topics)
        self._envelope = envelope_for(config)
        self._fields = RecordFields(config.field_names) if config.field_names else None
        self._suspicion = self._suspicion or Suspicion()
        self._window = self._new_window(link, self._suspicion)

    def _new_window(self, link: Link, suspicion: Suspicion) -> Window:
        config = self.config
        writer = Writer(
            v5=config.is_v5,
            qos=config.qos,
            content_type=self._envelope.content_type,
            expiry=None if config.message_expiry is None else math.ceil(config.message_expiry),
            alias_max=link.alias_max if config.topic_aliases else 0,
        )
        return Window(
            writer,
            link.write,
            suspicion,
            qos=config.qos,
            limit=min(config.window, link.receive_max),
            packet_max=min(config.max_packet_bytes, link.packet_max),
            details=config.details,
            chosen=any(template is not None and template.constant is None for template in config.topics),
            on_unheard=self._on_unheard,
        )

    def _client_id(self) -> str:
        """One for each process: two with the same would push each other out. 23 letters and digits is what every broker takes."""
        if self.config.client_id is not None:
            return self.config.client_id
        process, made = self._made_id
        if process != os.getpid():
            made = f"standpipe{secrets.token_hex(7)}"
            self._made_id = (os.getpid(), made)
        return made

    def _on_unheard(self, topic: str) -> None:
        if topic in self._unheard or len(self._unheard) >= UNHEARD_TOLD:
            return
        self._unheard = self._unheard | {topic}
        _log.warning("%s: nobody has subscribed to %r: the broker takes the messages and drops them", self.name, topic)

    def _close(self) -> None:
        """What was sent and is not acknowledged may have arrived; a connection with such messages is cut, so that nothing of
        them leaves later."""
        link, self._link = self._link, None
        if link is not None:
            window = getattr(self, "_window", None)
            link.close(politely=not window)
            if window is not None:
                window.give_back("the connection was closed before it was sent")

    def _after_fork(self) -> None:
        """The connection is the parent's: not even its end may be told to the broker."""
        link, self._link = self._link, None
        if link is not None:
            link.drop()
        super()._after_fork()

    # --- sending ------------------------------------------------------------------------------------------------------

    def _submit(self, batch: Batch, report: Report) -> None:
        link = self._link
        if link is None or link.lost is not None:
            raise Disconnected("the connection is lost", arrived=False)
        faults: dict[int, Reject] = {}
        topics = self._topics.of(batch, faults)
        bodies, headers = self._envelope.wrap(batch, faults)
        if self._fields is not None:
            bodies = self._fields.jsonl(batch)[:-1].split(b"\n")
        for position, fault in faults.items():
            report.failed(position, fault)
        self._window.publish(Sending(report, topics, batch.ids(), bodies, headers, self._retains(batch)), faults, link.written)

    def _retains(self, batch: Batch) -> list[bool]:
        normal, error = self.config.retains
        if normal == error:
            return [normal] * batch.count
        return batch.is_errors()

    def _poll(self, seconds: float) -> None:
        link = self._link
        if link is None:
            raise Disconnected("the connection is closed", arrived=False)
        window = self._window
        link.turn(seconds)
        acks = link.acks()
        if acks:
            window.on_acks(acks)
            link.flush()
        if not self.config.qos:
            window.on_flushed(link.flushed)
        if link.lost is not None:
            window.on_lost(link.lost)
            if isinstance(link.lost, Ended) and link.lost.code == TAKEN_OVER:
                self._taken_over = link.lost
            raise self._said_of(link.lost)
        limit, oldest = self.config.send_timeout, window.oldest()
        if limit is not None and oldest is not None and time.monotonic() - oldest > limit:
            raise Disconnected(f"the broker has not answered within {limit:g} s")

    def _said_of(self, error: BaseException) -> SendError:
        failure = self.errors.translate(error)
        if self.config.client_id is not None and not isinstance(error, Ended):  # what many brokers do without a word
            failure.args = (f"{failure}; if it happens again and again, another client has the client_id {self.config.client_id!r}",)
        return failure

    def _wake(self) -> None:
        link = self._link
        if link is not None:
            link.wake()

    def _writable(self) -> bool:
        """Not while messages wait for acknowledgements of others: their time begins when they are sent."""
        link = self._link
        return link is None or link.lost is not None or not (self._window.waiting or link.full)


def envelope_for(config: MqttProducerConfig) -> Envelope:
    """What goes with messages; with MQTT 3.1.1 nothing does."""
    if config.is_v5:
        return Envelope(config)
    return Envelope(config.model_copy(update={"headers": {}, "message_id_header": None, "key_header": None, "error_header": None}))


def check_fitness(config: MqttProducerConfig, server: dict[str, object]) -> None:
    """Raises Unfit if the broker has said that it does not have what is asked for."""
    qos = server.get("MaximumQoS", 2)
    if isinstance(qos, int) and config.qos > qos:
        raise Unfit(f"it takes QoS {qos} at most; set qos: {qos}")
    if server.get("RetainAvailable", 1) == 0 and config.retain is not False:
        raise Unfit("it does not retain messages; leave out retain")
