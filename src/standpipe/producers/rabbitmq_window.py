"""The messages of one channel that are published and not confirmed, and what becomes of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pika import spec

from standpipe.core.errors import Disconnected, NotSent, StandpipeError
from standpipe.delivery.report import Report
from standpipe.producers.rabbitmq_config import RabbitmqProducerConfig, route_shown
from standpipe.producers.rabbitmq_errors import (
    ERRORS,
    TOO_LARGE,
    AwaitsQueue,
    BadId,
    Faulty,
    Oversize,
    Refused,
    Returned,
    RouteLost,
    broker_code,
    refused_topic,
)
from standpipe.producers.rabbitmq_frames import CHUNK, Frames, HeadersTooLarge

REFUSED_FIRST, REFUSED_MAX = 0.1, 5.0
"""Seconds that a full queue is left alone: doubled each time, as its reader may be down for long."""

NAMELESS = "amq.default"
"""What RabbitMQ calls the exchange without a name in its errors."""

_MESSAGE_FAULTS = (311, 406, 501, 502)
"""Codes with which the broker says that a message itself cannot be (content too large, precondition failed, frame and syntax error)."""


class Sending:
    """What is published together: one batch, its messages by position."""

    __slots__ = ("bodies", "exchanges", "headers", "ids", "marks", "report", "routing_keys")

    def __init__(
        self,
        report: Report,
        exchanges: Sequence[str],
        routing_keys: Sequence[str],
        ids: Sequence[str],
        bodies: Sequence[bytes],
        headers: Sequence[dict[str, str]],
    ) -> None:
        self.report = report
        self.exchanges = exchanges
        self.routing_keys = routing_keys
        self.ids = ids
        self.marks: Sequence[str | None] = ()
        self.bodies, self.headers = bodies, headers

    def route(self, position: int) -> tuple[str, str]:
        """Exchange and routing key of a message."""
        return self.exchanges[position], self.routing_keys[position]


Sent = tuple[Sending, int]
"""A message: what it is published with, and its position there."""


class Window:
    """Counts delivery tags and says of each message, once, what became of it. For one channel and one thread.

    Returned messages are found by their id, and where two with the same id are on their way, by a mark: `basic.return` has no
    delivery tag, and to confuse two messages would be to lose one.

    `suspects` are ids of messages of which one made the broker close the former channel. Each of them is sent when no other is
    on its way, so that it is known which it is.
    """

    def __init__(self, config: RabbitmqProducerConfig, write: Callable[[bytes], object], suspects: frozenset[str]) -> None:
        self._config = config
        self._write = write
        self._out: dict[int, Sent] = {}
        self._tag = self._settled_to = 0
        self._given_ids: set[str] = set()
        self._marks = 0
        self._held: deque[tuple[Sent, bytes]] = deque()
        self._alone = False
        self._returned: set[int] = set()
        self._refusals, self._refused_until = 0, 0.0
        # Whether no field of a message decides where it goes; and on which of the ways nothing has got through yet.
        normal, error = config.routing_keys
        keys = (normal.constant, normal.constant if error is None else error.constant)
        self._is_one_way = None not in keys
        self._untried = {(exchange, key) for exchange, key in zip(config.exchanges, keys, strict=True) if self._is_one_way}
        self.suspects = suspects
        self.body_max: int | None = None
        """bytes of the largest body that the broker takes, when it has said so"""

    def __len__(self) -> int:
        """Messages that are published and not confirmed, or held back."""
        return len(self._out) + len(self._held)

    # --- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, sending: Sending, frames: Frames, skip: Iterable[int], foreign_ids: bool) -> None:
        """Write all messages but those in `skip`, or hold them back. `foreign_ids`: an id may come twice."""
        report, ids, limit = sending.report, sending.ids, self.body_max
        if foreign_ids:
            sending.marks = [self._mark(id) for id in ids]
        marks = sending.marks or (None,) * len(ids)
        columns = zip(sending.exchanges, sending.routing_keys, ids, sending.bodies, sending.headers, marks, strict=True)
        sending.bodies = sending.headers = ()  # they are needed only now
        hold = bool(self.suspects or self._held)
        pieces: list[bytes] = []
        size = 0
        for position, (exchange, key, id, body, headers, mark) in enumerate(columns):
            if skip and position in skip:
                continue
            try:
                if limit is not None and len(body) > limit:
                    raise Oversize(f"{len(body)} bytes, and the broker takes {limit}")
                frames.add(pieces, exchange, key, id, body, headers, mark)
            except (Oversize, HeadersTooLarge, ValueError) as error:
                report.failed(position, ERRORS.translate(BadId(str(error)) if isinstance(error, ValueError) else error))
                continue
            if hold:
                self._held.append(((sending, position), b"".join(pieces)))
                pieces = []
                continue
            self._tag += 1
            self._out[self._tag] = (sending, position)
            size += len(body)
            if size > CHUNK:
                self._write(b"".join(pieces))
                pieces, size = [], 0
        if pieces:
            self._write(b"".join(pieces))
        self._send_held()

    def _mark(self, id: str) -> str | None:
        if id not in self._given_ids:
            self._given_ids.add(id)
            return None
        self._marks += 1
        return str(self._marks)

    def _send_held(self) -> None:
        while self._held:
            (sending, position), data = self._held[0]
            is_suspect = sending.ids[position] in self.suspects
            if self._out and (is_suspect or self._alone):
                return
            self._held.popleft()
            self._alone = is_suspect
            self._tag += 1
            self._out[self._tag] = (sending, position)
            self._write(data)

    # --- what the broker says -----------------------------------------------------------------------------------------

    def on_confirm(self, frame: Any) -> None:
        """An ack or nack, for one message or for all up to it."""
        method = frame.method
        last: int = method.delivery_tag
        tags: Iterable[int] = (last,)
        if method.multiple:
            last = last or self._tag
            tags = range(self._settled_to + 1, last + 1)
            self._settled_to = max(self._settled_to, last)
        pop = self._out.pop
        settled = [(tag, sent) for tag in tags if (sent := pop(tag, None)) is not None]
        if isinstance(method, spec.Basic.Ack):
            self._acked(settled)
        else:
            self._refused(settled)
        if self._given_ids or self.suspects:
            self._forget(settled)
        if self._held:
            self._send_held()

    def _forget(self, settled: list[tuple[int, Sent]]) -> None:
        for _, (sending, position) in settled:
            id = sending.ids[position]
            if not sending.marks or sending.marks[position] is None:
                self._given_ids.discard(id)
            if id in self.suspects:
                self.suspects -= {id}

    def _acked(self, settled: list[tuple[int, Sent]]) -> None:
        """What was returned is here as well: that has been reported, and the first word counts."""
        self._refusals = 0
        if self._untried:
            self._untried -= {sending.route(position) for tag, (sending, position) in settled if tag not in self._returned}
        if self._returned:
            self._returned -= {tag for tag, _ in settled}
        if self._config.details:
            for tag, (sending, position) in settled:
                exchange, key = sending.exchanges[position], sending.routing_keys[position]
                sending.report.delivered(position, {"delivery_tag": tag, "exchange": exchange, "routing_key": key})
        else:
            for _, (sending, position) in settled:
                sending.report.delivered(position)

    def _refused(self, settled: list[tuple[int, Sent]]) -> None:
        """A queue is full. Where all messages go the same way, everything waits; else each waits for itself."""
        seconds = 0.0
        if self._is_one_way:
            now = time.monotonic()
            if now >= self._refused_until:
                self._refusals += 1
            seconds = min(REFUSED_FIRST * 2.0 ** min(self._refusals - 1, 10), REFUSED_MAX)
            self._refused_until = now + seconds
        for _, (sending, position) in settled:
            sending.report.failed(position, ERRORS.translate(Refused(seconds)))

    def on_return(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        """No queue is bound for a message; its ack will follow."""
        tag = self._tag_of(properties.message_id, properties.correlation_id)
        if tag is None:
            return
        self._returned.add(tag)
        sending, position = self._out[tag]
        said = f"{method.reply_text}: {route_shown(method.exchange, method.routing_key)}"
        error: Exception = Returned(said)
        if self._config.unroutable == "wait":
            error = AwaitsQueue(said)
        elif self._is_one_way and sending.route(position) not in self._untried:
            error = RouteLost(said)
        sending.report.failed(position, ERRORS.translate(error))

    def _tag_of(self, id: str, mark: str | None) -> int | None:
        for tag, (sending, position) in self._out.items():
            if sending.ids[position] == id and mark == (sending.marks[position] if sending.marks else None):
                return tag
        return None

    # --- the end ------------------------------------------------------------------------------------------------------

    def on_lost(self, error: BaseException) -> None:
        """The channel or the connection is closed. What is not confirmed may have arrived, or the channel was closed for it."""
        out, self._out = self._out, {}
        too_large = TOO_LARGE.search(str(error))
        if too_large is not None:
            self.body_max = int(too_large.group(1))  # tried again, and then found out before they are sent
        for sending, position in out.values():
            sending.report.failed(position, self._verdict(error, sending.route(position), alone=len(out) == 1))
        self.give_back("the connection was lost before it was sent")
        if broker_code(error) in _MESSAGE_FAULTS and too_large is None:
            many = len(out) > 1
            self.suspects = frozenset(sending.ids[position] for sending, position in out.values()) if many else frozenset()

    def give_back(self, why: str) -> None:
        """Report what has been held back and will not be sent any more."""
        for (sending, position), _ in self._held:
            sending.report.failed(position, NotSent(why))
        self._held.clear()

    def _verdict(self, error: BaseException, route: tuple[str, str], alone: bool) -> StandpipeError:
        """Whose fault it is that the channel is closed."""
        code, text = broker_code(error), str(error)
        at_fault = f"exchange '{route[0] or NAMELESS}'" in text
        if code == 403 and not self._is_one_way and (key := refused_topic(error)) is not None:
            return ERRORS.translate(Faulty(text)) if at_fault and key == route[1] else _unconfirmed(error)
        if code in (403, 404) and at_fault:
            return ERRORS.translate(error)
        if code in _MESSAGE_FAULTS and alone and TOO_LARGE.search(text) is None:
            return ERRORS.translate(Faulty(text))
        return _unconfirmed(error)


def _unconfirmed(error: BaseException) -> Disconnected:
    made = Disconnected(f"the connection was lost before the message was confirmed ({str(error) or type(error).__name__})")
    made.__cause__ = error
    return made
