"""The messages of one connection that are sent and not acknowledged, and what becomes of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from standpipe.core.errors import Disconnected, NotSent, StandpipeError
from standpipe.delivery.report import Report
from standpipe.producers.mqtt_errors import ERRORS, MESSAGE_FAULTS, NAMES, Closed, Ended, Faulty, Oversize, Refused
from standpipe.producers.mqtt_packets import FAILURE, NO_SUBSCRIBERS, PUBREC, Ack, Writer, pubrel

IDS = 65_535
"""Packet ids there are: 1 to this (2.2.1)."""

CHUNK = 2**16
"""Bytes of messages that are put together before they are handed on."""

STRIKES_SUSPECT, STRIKES_FAULTY = 5, 10
"""How often a connection may be closed without a reason while a message is on its way, before it is sent alone, and, alone,
before it is taken for the reason. A broker that is restarted so often at just these moments is not to be expected."""

STRIKES_MAX = 10_000
"""Messages whose strikes are remembered: more than are on their way at once."""


class Sending:
    """What is handed over together: one batch, its messages by position."""

    __slots__ = ("bodies", "headers", "ids", "report", "retains", "topics")

    def __init__(
        self,
        report: Report,
        topics: Sequence[str],
        ids: Sequence[str],
        bodies: Sequence[bytes],
        headers: Sequence[dict[str, str]],
        retains: Sequence[bool],
    ) -> None:
        self.report = report
        self.topics = topics
        self.ids = ids
        self.bodies, self.headers, self.retains = bodies, headers, retains


class _Sent(NamedTuple):
    sending: Sending
    position: int
    at: float
    """when, by the monotonic clock"""


class Suspicion:
    """Which messages may be the reason why connections end; handed from one connection to the next.

    Each of `ids` is sent when no other is on its way, so that it is known which it is.
    """

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.strikes: dict[str, int] = {}
        """how often a connection was closed without a reason while they were on their way"""

    def closed(self, ids: list[str]) -> None:
        """A connection was closed without a reason; these were on their way."""
        if len(self.strikes) > STRIKES_MAX:
            self.strikes.clear()
        for id in ids:
            strikes = self.strikes[id] = self.strikes.get(id, 0) + 1
            if strikes >= STRIKES_SUSPECT:
                self.ids.add(id)

    def clear(self, id: str) -> None:
        """It was acknowledged, or put aside."""
        self.strikes.pop(id, None)
        self.ids.discard(id)


class Window:
    """Gives messages their packet ids, sends as many as may be on their way, and says of each, once, what became of it.

    For one connection and one thread. `chosen`: whether fields of messages decide about topics.
    """

    def __init__(
        self,
        writer: Writer,
        write: Callable[[bytes], object],
        suspicion: Suspicion,
        *,
        qos: int,
        limit: int,
        packet_max: int,
        details: bool,
        chosen: bool,
        on_unheard: Callable[[str], object],
    ) -> None:
        self._writer = writer
        self._write = write
        self._suspicion = suspicion
        self._qos = qos
        self._limit = limit
        self._packet_max = packet_max
        self._details = details
        self._chosen = chosen
        self._on_unheard = on_unheard
        self._out: dict[int, _Sent] = {}
        self._waiting: deque[tuple[Sending, int]] = deque()
        self._flights: deque[tuple[int, _Sent]] = deque()  # of QoS 0: where each ends in the stream of bytes
        self._end = 0
        self._id = 0
        self._alone = False

    def __len__(self) -> int:
        """Messages that are sent and not acknowledged, or wait for their turn."""
        return len(self._out) + len(self._waiting) + len(self._flights)

    @property
    def waiting(self) -> int:
        """Messages that wait for their turn."""
        return len(self._waiting)

    def oldest(self) -> float | None:
        """When the one was handed to the connection that nothing has been heard of for the longest time."""
        if self._flights:
            return self._flights[0][1].at
        sent = next(iter(self._out.values()), None)
        return None if sent is None else sent.at

    # --- sending ------------------------------------------------------------------------------------------------------

    def publish(self, sending: Sending, skip: Iterable[int], written: int) -> None:
        """Send all messages but those in `skip`, or have them wait. `written`: bytes that have been written before."""
        self._end = written
        positions = range(len(sending.ids))
        if skip:
            positions = [position for position in positions if position not in skip]  # type: ignore[assignment]
        self._waiting.extend([(sending, position) for position in positions])
        self._send()

    def _send(self) -> None:
        waiting, out = self._waiting, self._out
        # Of QoS 0 none is ever sent again.
        suspects = self._suspicion.ids if self._qos else ()
        room = self._limit - len(out)
        if not waiting or room <= 0:
            return
        now = time.monotonic()
        packets: list[bytes] = []
        size = 0
        while waiting and room > 0:
            sending, position = waiting[0]
            if suspects or self._alone:
                is_suspect = sending.ids[position] in suspects
                if (is_suspect or self._alone) and out:
                    break
                self._alone = is_suspect
            waiting.popleft()
            packet_id = self._next_id()
            packet = self._packet(sending, position, packet_id)
            if packet is None:
                continue
            packets.append(packet)
            size += len(packet)
            if self._qos:
                out[packet_id] = _Sent(sending, position, now)
                room -= 1
            else:
                self._end += len(packet)
                self._flights.append((self._end, _Sent(sending, position, now)))
            if size > CHUNK:
                self._write(b"".join(packets))
                packets, size = [], 0
        if packets:
            self._write(b"".join(packets))

    def _next_id(self) -> int:
        if not self._qos:
            return 0
        packet_id = self._id + 1 if self._id < IDS else 1
        while packet_id in self._out:
            packet_id = packet_id + 1 if packet_id < IDS else 1
        self._id = packet_id
        return packet_id

    def _packet(self, sending: Sending, position: int, packet_id: int) -> bytes | None:
        try:
            packet = self._writer.publish(
                packet_id, sending.topics[position], sending.bodies[position], sending.headers[position], sending.retains[position]
            )
            if len(packet) > self._packet_max:
                raise Oversize(f"a packet of {len(packet)} bytes, and {self._packet_max} is the most")
        except (Oversize, ValueError, OverflowError) as error:
            self._writer.forget()  # the number of its topic has not been told
            sending.report.failed(position, ERRORS.translate(error if isinstance(error, Oversize) else Oversize(str(error))))
            return None
        return packet

    # --- what the broker says -----------------------------------------------------------------------------------------

    def on_acks(self, acks: list[Ack]) -> None:
        """Settle what is acknowledged, and send what there is room for then."""
        out, suspicion = self._out, self._suspicion
        watchful = bool(suspicion.strikes or suspicion.ids)
        for kind, packet_id, code, text in acks:
            if kind == PUBREC and code < FAILURE:
                self._write(pubrel(packet_id))
                continue
            sent = out.pop(packet_id, None)
            if sent is None:
                continue
            if code == 0:
                if self._details:
                    sending, position, _ = sent
                    sending.report.delivered(position, {"topic": sending.topics[position], "packet_id": packet_id, "reason": "success"})
                else:
                    sent.sending.report.delivered(sent.position)
            else:
                self._settle_oddly(sent, packet_id, code, text)
            if watchful:
                suspicion.clear(sent.sending.ids[sent.position])
        if self._waiting:
            self._send()

    def _settle_oddly(self, sent: _Sent, packet_id: int, code: int, text: str) -> None:
        sending, position, _ = sent
        topic = sending.topics[position]
        if code >= FAILURE:
            self._writer.forget()
            sending.report.failed(position, ERRORS.translate(Refused(code, f"{text} (topic {topic!r})".strip(), chosen=self._chosen)))
            return
        if code == NO_SUBSCRIBERS:
            self._on_unheard(topic)
        reason = NAMES.get(code, f"0x{code:02X}")
        sending.report.delivered(position, {"topic": topic, "packet_id": packet_id, "reason": reason} if self._details else None)

    def on_flushed(self, flushed: int) -> None:
        """QoS 0: what the socket has taken counts as delivered."""
        flights = self._flights
        while flights and flights[0][0] <= flushed:
            sending, position, _ = flights.popleft()[1]
            sending.report.delivered(position, {"topic": sending.topics[position]} if self._details else None)

    # --- the end ------------------------------------------------------------------------------------------------------

    def on_lost(self, error: BaseException) -> None:
        """The connection is lost. What is not acknowledged may have arrived, or it was ended because of it."""
        sent = [*self._out.values(), *(sent for _, sent in self._flights)]
        self._out.clear()
        self._flights.clear()
        verdict = self._judge(error, sent)
        for sending, position, _ in sent:
            sending.report.failed(position, verdict)
        self.give_back("the connection was lost before it was sent")

    def give_back(self, why: str) -> None:
        """Report what waits and will not be sent any more."""
        for sending, position in self._waiting:
            sending.report.failed(position, NotSent(why))
        self._waiting.clear()

    def _judge(self, error: BaseException, sent: list[_Sent]) -> StandpipeError:
        """Whose fault it is that the connection has ended."""
        suspicion = self._suspicion
        ids = [each.sending.ids[each.position] for each in sent]
        if not self._qos:
            ids = []
        names_a_fault = isinstance(error, Ended) and error.code in MESSAGE_FAULTS
        if names_a_fault:
            suspicion.ids.update(ids)
        elif isinstance(error, (Closed, ConnectionResetError, BrokenPipeError)):
            suspicion.closed(ids)
        if len(ids) == 1 and (names_a_fault or suspicion.strikes.get(ids[0], 0) >= STRIKES_FAULTY):
            suspicion.clear(ids[0])
            return ERRORS.translate(Faulty(str(error)))
        made = Disconnected(f"the connection was lost before the message was acknowledged ({str(error) or type(error).__name__})")
        made.__cause__ = error
        return made
