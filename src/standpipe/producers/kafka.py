"""`type: kafka`: messages to topics of Apache Kafka, thousands on their way at once, nothing twice and nothing out of order.

librdkafka does the work in threads of its own: it makes requests of many messages, repeats them with the same numbers, and the
broker leaves out what it has. What it cannot repeat in order ends the client as a whole (`enable.gapless.guarantee`): then
all that was not confirmed is handed back by `_close`, and the engine sends it anew, in order. That is why batches are atomic.

The properties of the client are made in `kafka_client.py`, what an error means is said in `kafka_errors.py`, transactions are
in `kafka_transactions.py`.
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from confluent_kafka import KafkaError, KafkaException, Producer

from standpipe.core.errors import Misconfigured, NotSent, Reject, SendError, StandpipeError
from standpipe.core.finding import Finding
from standpipe.delivery.batch import Batch
from standpipe.delivery.report import Report
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.envelope import Envelope
from standpipe.producers.error_table import ErrorTable
from standpipe.producers.kafka_client import ClientLog, client_properties
from standpipe.producers.kafka_config import TOPIC, KafkaProducerConfig
from standpipe.producers.kafka_errors import ERRORS, MISSING_TOPIC, NOT_TAKEN, TOO_LARGE, KafkaFailure, translate
from standpipe.producers.kafka_examination import examine
from standpipe.producers.kafka_reach import LOOK, Trouble, reach
from standpipe.producers.kafka_transactions import Transactions
from standpipe.producers.kafka_window import Callback, Window
from standpipe.producers.text_template import TextChoice, TextTemplate

_log = logging.getLogger("standpipe.producers.kafka")

TOPIC_GRACE = 2.0
"""Seconds for which a topic may be unknown before people are told: a new one takes that long to be known everywhere."""
TOPIC_REMINDER = 60.0
"""Seconds until they are told again."""
TOPICS_ASKED_AT_ONCE = 5
"""Each is a request that the worker waits for."""
TOPIC_ANSWER = 0.5
"""Seconds that the worker waits for the answer."""

SILENCE = 30.0
"""Seconds without a word from the client, which has messages, after which people are told and the topics are looked for again."""

DOWN_REMINDER = 60.0
"""Seconds between two lines that say that no broker can be reached, or that one refuses us."""

ISOLATED = 1000
"""Messages that are sent each in a request of its own after a broker has refused a request because of one message in it."""
BATCH_BYTES_MIN = 16 * 2**10
"""Requests are not made smaller than this because a topic refuses larger ones: ten times smaller and they cost more than they carry."""

HAND_BACK = 0.3
"""Seconds that `_close` waits for the client to hand back what it has; it takes milliseconds."""

TELL_AFTER = 0.1
"""Seconds until a report is told what has arrived of its batch while the rest of it has not."""

ANY_PARTITION = -1
NOW = 0

Unsent = tuple[str, bytes, str | None, Callback, Any]


class KafkaProducer(BaseProducer):
    """Sends messages to topics of Apache Kafka, with thousands on their way at once, in order and without duplicates.

    `receipt.detail` is `{"topic": "orders", "partition": 3, "offset": 1742}`.
    """

    config_model: ClassVar[type[BaseProducerConfig]] = KafkaProducerConfig
    errors: ClassVar[ErrorTable] = ERRORS

    config: KafkaProducerConfig

    _client: Producer | None = None
    _trouble: Trouble
    _envelope: Envelope
    _topics: TextChoice
    _transactions: Transactions | None = None

    _batch_bytes = 0
    """largest request; 0: as configured"""
    _isolating = False
    """each message is sent in a request of its own, to find the one that the broker refuses"""
    _isolate_next = False
    """the next client has to do that"""
    _isolated_left = 0
    _sum_too_large = False
    """what was refused was too large, and no single message of it has been found to be"""

    @property
    def max_in_flight(self) -> int:  # type: ignore[override]
        """Messages with the client at once."""
        return self.config.max_in_flight

    @property
    def atomic_batches(self) -> bool:  # type: ignore[override]
        """Whether no message can overtake one of the same key that failed."""
        return self.config.idempotence

    @property
    def destination(self) -> str:
        """Servers and topics."""
        config = self.config
        errors = "" if config.error_topic is None else f", errors: {config.error_topic}"
        return f"kafka://{','.join(map(str, config.servers))}/{config.topic}{errors}"

    def examine(self) -> list[Finding]:
        """What would be lost when, as far as this producer may look."""
        return examine(self.config)

    # --- connection ---------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._close()
        config = self.config
        self._envelope = Envelope(config)
        normal = TextTemplate(config.topic, TOPIC, "topic")
        error = None if config.error_topic is None else TextTemplate(config.error_topic, TOPIC, "error_topic")
        self._topics = TextChoice(normal, error)
        try:
            client = self._open()
            reach(client, self._trouble, config.connect_timeout)
            self._trouble = Trouble()
            self._look_for({template.constant for template in (normal, error or normal)}, client)
            if config.transactional_id is not None:
                client.init_transactions(config.connect_timeout)
                self._transactions = Transactions(client, config, self._failure)
        except KafkaException as failure:
            raise translate(failure) from failure

    def _open(self) -> Producer:
        """A new client, with nothing in it. It connects by itself, in a thread of its own."""
        self._backlog: deque[Unsent] = deque()
        self._window = Window(self._failure, self.config.details)
        self._trouble = Trouble()
        self._down_told_at = self._refusal_told_at = -DOWN_REMINDER
        self._heard_at = time.monotonic()
        self._tell_at = self._heard_at + TELL_AFTER
        self._topics_used: set[str] = set()
        self._topics_unproven: dict[str, float] = {}
        self._batch_bytes = self._batch_bytes or self.config.max_batch_bytes
        self._isolating = self._isolate_next
        self._isolated_left = ISOLATED
        properties = client_properties(self.config, self._batch_bytes, alone=self._isolating)
        self._client = Producer({**properties, "error_cb": self._on_error, "logger": ClientLog(self.name)})
        return self._client

    def _look_for(self, topics: set[str | None], client: Producer) -> None:
        """If none of the topics exists there is nothing to send to: say so now. Topics with fields are looked for when used."""
        if None in topics:
            return
        until = time.monotonic() + min(TOPIC_GRACE, self.config.connect_timeout)
        while True:  # where brokers make topics by themselves, to be asked is what makes them do it
            missing = sorted(topic for topic in topics if topic is not None and self._is_missing(client, topic, TOPIC_GRACE))
            if len(missing) < len(topics):
                return
            if time.monotonic() >= until:
                raise Misconfigured(message=f"the topic {' and '.join(map(repr, missing))} does not exist; create it, or correct topic")
            client.poll(LOOK)

    @staticmethod
    def _is_missing(client: Producer, topic: str, seconds: float) -> bool:
        """Whether a broker says that there is no such topic. Raises KafkaException if we may not use it."""
        try:
            error = client.list_topics(topic, seconds).topics[topic].error
        except KafkaException:  # no answer in time: it may be there
            return False
        if error is None:
            return False
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise KafkaFailure(error)
        return error.code() in MISSING_TOPIC

    def _on_error(self, error: KafkaError) -> None:
        """What librdkafka says beside the outcome of messages. It goes on trying by itself: people are told, no more."""
        now = time.monotonic()
        self._trouble.note(error)
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._tell_refusal(translate(error), now)
            return
        if now >= self._down_told_at + DOWN_REMINDER and self._topics_used:
            self._down_told_at = now
            why = "" if self._trouble.reason is None else f" ({self._trouble.reason.str()})"
            _log.warning("%s: no broker can be reached%s; the client goes on trying", self.name, why)

    def _tell_refusal(self, error: SendError, now: float) -> None:
        """A password that was changed, a certificate that has ended: the next connection would say so, but that is `send_timeout` away."""
        if isinstance(error, Misconfigured) and now >= self._refusal_told_at + DOWN_REMINDER and self._topics_used:
            self._refusal_told_at = now
            _log.error("%s: a broker refuses us, and somebody has to mend it (%s); the messages wait", self.name, error)

    def _close(self) -> None:
        """What the client has not sent is handed back; what it has sent may have arrived."""
        client, self._client = self._client, None
        self._transactions = None
        if client is None:
            return
        unsent, self._backlog = self._backlog, deque()
        client.purge()
        until = time.monotonic() + HAND_BACK
        while len(client) and time.monotonic() < until:
            try:
                client.poll(HAND_BACK)  # `flush` would call back while an exception is set, if the client ends in the middle of it
            except KafkaException:  # it says once more that it is of no use
                pass
        for _, _, _, confirmed, _ in unsent:
            confirmed(KafkaError(KafkaError._PURGE_QUEUE), None)
        self._window.tell()

    def _after_fork(self) -> None:
        """librdkafka must not be touched in a child: its threads are the parent's. Not even freed, which would wait for them."""
        if self._client is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._client))
            self._client = None
            self._transactions = None
        super()._after_fork()

    # --- sending ------------------------------------------------------------------------------------------------------

    def _submit(self, batch: Batch, report: Report) -> None:
        if self._transactions is not None and self._isolating and self._isolated_left <= 0:
            self._end_isolation()
            self._connect()
        client = self._client
        if client is None:
            raise NotSent("the connection is closed")
        faults: dict[int, Reject] = {}
        topics = self._topics.of(batch, faults)
        bodies, made = self._envelope.wrap_one_by_one(batch, faults)
        headers: Iterable[Any] = made
        self._isolated_left -= batch.count
        keys = batch.keys()
        if self._transactions is not None:
            for position, fault in faults.items():
                report.failed(position, fault)
            self._transactions.send(zip(topics, bodies, keys, headers, strict=True), batch, report)
            return
        self._note_topics(topics)
        callbacks = self._window.take(report, topics)
        for position, fault in faults.items():
            callbacks[position](fault, None)
        sending = zip(topics, bodies, keys, callbacks, headers)  # noqa: B905 - callbacks may be more
        self._hand_over(client, sending if not faults else (it for position, it in enumerate(sending) if position not in faults))

    def _hand_over(self, client: Producer, sending: Iterator[Unsent]) -> None:
        """Give the client as many messages as it has room for; the others are handed over later."""
        produce, backlog = client.produce, self._backlog
        if backlog:
            backlog.extend(sending)
        for topic, body, key, confirmed, header in sending:
            try:  # by position, because names would cost a tenth of the call; the callback has two
                produce(topic, body, key, ANY_PARTITION, confirmed, confirmed, NOW, header)
            except BufferError:
                backlog.append((topic, body, key, confirmed, header))
                backlog.extend(sending)
            except Exception as error:
                self._not_taken(error, confirmed, sending)

    @staticmethod
    def _not_taken(error: Exception, confirmed: Callback, following: Iterable[Unsent]) -> None:
        """Report a message that the client does not take; unless it can never be sent, nothing may overtake it."""
        failure = translate(error)
        confirmed(failure, None)
        if not isinstance(failure, Reject):
            for _, _, _, later, _ in following:
                later(NotSent("a message before this one could not be sent"), None)

    def _failure(self, error: KafkaError | StandpipeError) -> StandpipeError:
        """What an error says about the message that it came for. What is one of ours stays as it is.

        A broker refuses a request as a whole, although only one of its messages may be at fault, or none of them but their sum.
        Then the client is made anew, and the next messages are sent one by one.
        """
        if isinstance(error, StandpipeError):
            return error
        code = error.code()
        if code in TOO_LARGE or code in NOT_TAKEN:
            if not self._isolating:
                self._sum_too_large = code in TOO_LARGE
                self._isolate_next = True
                return NotSent(f"the broker refused the request that this message was in ({error.str()}); trying one by one")
            self._sum_too_large = False
        return translate(error)

    def _poll(self, seconds: float) -> None:
        client = self._client
        if client is None:
            return
        try:
            heard = client.poll(seconds)
        except KafkaException as error:
            raise translate(error) from error
        self._tell(heard)
        if heard or not len(client):
            self._heard_at = time.monotonic()
        elif time.monotonic() >= self._heard_at + SILENCE:
            self._look_into_silence(client)
        if self._backlog:
            self._work_off(client)
        if self._topics_unproven:
            self._look_for_new_topics(client)

    def _tell(self, heard: int) -> None:
        """Report what has arrived of batches that are not complete: while messages arrive one after the other, not each time."""
        now = time.monotonic()
        if not heard or now >= self._tell_at:
            self._tell_at = now + TELL_AFTER
            self._window.tell()

    def _look_into_silence(self, client: Producer) -> None:
        """The client repeats what a broker does not take at the moment, and says nothing until `send_timeout`."""
        text = "%s: nothing was confirmed for %g s, and %d message(s) wait: the brokers' logs say why (a full disk, too few replicas)"
        _log.warning(text, self.name, SILENCE, len(client))
        self._heard_at = time.monotonic()
        self._topics_unproven.update(dict.fromkeys(self._topics_used, self._heard_at))  # one may have been deleted

    def _work_off(self, client: Producer) -> None:
        """Hand over what did not fit into the client, as far as it fits now."""
        backlog = self._backlog
        while backlog:
            topic, body, key, confirmed, header = backlog[0]
            try:
                client.produce(topic, body, key, on_delivery=confirmed, headers=header)
            except BufferError:
                return
            except Exception as error:
                backlog.popleft()
                self._not_taken(error, confirmed, _taken_out(backlog))
            else:
                backlog.popleft()

    def _writable(self) -> bool:
        """False for a moment when requests of many messages are to be made again: nothing may be on its way then."""
        client = self._client
        if not self._isolating or self._isolated_left > 0 or client is None or self._transactions is not None:
            return True
        if len(client) or self._backlog:
            return False
        self._end_isolation()
        try:
            self._open()
        except Exception as error:  # a certificate that is gone: the old client still works, if slowly
            _log.warning("%s: a new client could not be made (%s); going on with the one there is", self.name, translate(error))
        return True

    def _end_isolation(self) -> None:
        """The next client sends many messages in a request again."""
        self._isolate_next = False
        if self._sum_too_large:
            self._batch_bytes = max(BATCH_BYTES_MIN, self._batch_bytes // 2)
            _log.info("%s: a topic takes no requests as large as before; they are made smaller: %d bytes", self.name, self._batch_bytes)
        self._sum_too_large = False

    # --- topics -------------------------------------------------------------------------------------------------------

    def _note_topics(self, topics: list[str]) -> None:
        fresh = set(topics) - self._topics_used
        if fresh:
            self._topics_used |= fresh
            self._topics_unproven.update(dict.fromkeys(fresh, time.monotonic() + TOPIC_GRACE))

    def _look_for_new_topics(self, client: Producer) -> None:
        """Messages for a topic that does not exist wait for it in the client, which says nothing: so ask, and say so."""
        unproven = self._topics_unproven
        if not len(client):
            unproven.clear()
            return
        now = time.monotonic()
        for topic in [topic for topic, due in unproven.items() if due <= now][:TOPICS_ASKED_AT_ONCE]:
            if self._is_missing(client, topic, TOPIC_ANSWER):
                unproven[topic] = now + TOPIC_REMINDER
                _log.warning("%s: the topic %r does not exist; its messages wait until it is created", self.name, topic)
            else:
                del unproven[topic]


def _taken_out(backlog: deque[Unsent]) -> Iterator[Unsent]:
    while backlog:
        yield backlog.popleft()
