"""One route's way into its producer: hands parcels over without ever waiting, and holds what does not fit, in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from standpipe.core.clock import Clock
from standpipe.core.errors import QueueFull
from standpipe.core.payload import encode
from standpipe.delivery.receipt import Receipt, State
from standpipe.pipelines.routes import Parcel, Route
from standpipe.producers.base import BaseProducer
from standpipe.spool.errors import SpoolError, SpoolFull

_log = logging.getLogger("standpipe.pipelines")

Settled = Callable[[Receipt, int], None]

RETRY_DELAY: Final = 0.25
"""Seconds before anything is handed over again to a disk that refused a parcel; twice as long after each further refusal."""

RETRY_DELAY_MAX: Final = 30.0
"""Seconds: soon enough for whoever mends a disk, rare enough for a disk that has other things to do."""


class Feeder:
    """Feeds `producer` from one lane. `settled(receipt, ticket)` is called, from any thread, when a parcel is settled.

    `only_copy`: the agent cannot read again what is not delivered before the end; then it is put aside as dead letters.
    `clock`: for the delays between attempts while a disk refuses. For the lane's thread only.
    """

    def __init__(
        self,
        route: Route,
        producer: BaseProducer,
        settled: Settled,
        room: Callable[[], None],
        clock: Clock,
        *,
        only_copy: bool = False,
    ) -> None:
        self.route = route
        self.producer = producer
        self.held_bytes = 0
        self.held_messages = 0
        self.oversized = 0
        self.disk_refusals = 0
        self._clock = clock
        self._only_copy = only_copy
        self._settled = settled
        self._room = room
        self._held: deque[tuple[Parcel, int]] = deque()
        self._doubtful: dict[Receipt, int] = {}  # the producer has them; whether the disk does is unknown
        self._watching = False
        self._retry_delay = 0.0  # more than zero while the disk refuses
        self._retry_at = 0.0

    def feed(self, parcel: Parcel, ticket: int) -> None:
        """Hand `parcel` over now, or hold it behind those that are held already. Raises ProducerClosed."""
        if self._held or not self._hand_over(parcel, ticket):
            self._held.append((parcel, ticket))
            self.held_bytes += len(parcel.payload)
            self.held_messages += parcel.count
            self._watch()

    def catch_up(self) -> bool:
        """Hand over what is held as far as there is room; True when nothing is held any more. Raises ProducerClosed."""
        while self._held:
            parcel, ticket = self._held[0]
            if not self._hand_over(parcel, ticket):
                self._watch()
                return False
            self._held.popleft()
            self.held_bytes -= len(parcel.payload)
            self.held_messages -= parcel.count
        return True

    def woken(self) -> None:
        """The producer has made room (any thread)."""
        self._watching = False
        self._room()

    def _watch(self) -> None:
        if not self._watching and not self._retry_delay:  # there is room; the lane looks by itself whether it is time
            self._watching = True
            self.producer.when_room(self.woken)

    def fitting(self, parcel: Parcel) -> list[Parcel]:
        """`parcel` in pieces that fit into the producer's queue when it is empty; larger ones would wait for ever."""
        queue = self.producer.config.queue
        if parcel.count <= queue.max_messages and len(parcel.payload) <= queue.max_bytes:
            return [parcel]
        if parcel.count > 1:
            return [piece for half in parcel.halves() for piece in self.fitting(half)]
        self.oversized += 1
        return [_shortened(parcel, queue.max_bytes)]

    def _hand_over(self, parcel: Parcel, ticket: int) -> bool:
        if self._retry_delay and self._clock.monotonic() < self._retry_at:
            return False
        if not self.producer.has_room(parcel.count, len(parcel.payload)):
            return False
        try:
            receipt = self.producer.produce_encoded(
                parcel.is_error, parcel.payload, parcel.count, keys=parcel.keys, timeout=0.0, only_copy=self._only_copy
            )
        except SpoolFull as error:  # of the disk's room nobody tells; that of the queue is there
            self._refused(error)
            return False
        except QueueFull:  # somebody else was quicker, or the policy is to raise: for an agent both mean to wait
            return False
        except SpoolError as error:
            self._refused(error)
            if error.receipt is None:
                return False
            # The producer has it and delivers it, under the ids that it has given it: handed over again it would have others.
            # But it is not known to be on the disk, so that its position does not move yet.
            self._doubtful[error.receipt] = ticket
            error.receipt.add_done_callback(self._doubtful_ended)
            return True
        if self._retry_delay:
            self._retry_delay = 0.0
            _log.info("the spool of %s takes messages again", self.route.to)
        if receipt.state is State.STORED:
            # The spool has it: it survives us, so that the agent need not read it again.
            self._settled(receipt, ticket)
            self._settle_doubtful()
        else:
            receipt.add_done_callback(lambda settled: self._settled(settled, ticket))
        return True

    def _settle_doubtful(self) -> None:
        """A message is on the disk, and with it every earlier one: a sync brings them there in order."""
        while self._doubtful:
            with suppress(KeyError):  # the last of them has just been delivered
                receipt, ticket = self._doubtful.popitem()
                self._settled(receipt, ticket)

    def _doubtful_ended(self, receipt: Receipt) -> None:
        """It was delivered or put aside (any thread), or the producer has ended: then it is read again, unless it is settled."""
        ticket = self._doubtful.pop(receipt, None)
        if ticket is not None and receipt.state is not State.QUEUED:
            self._settled(receipt, ticket)

    def _refused(self, error: SpoolError | SpoolFull) -> None:
        """The disk failed or is full, not the message: it and what follows is held, so that its position does not move, and tried again."""
        if not self._retry_delay:
            _log.error("%s; what goes to %s is held and tried again", error, self.route.to)
        self.disk_refusals += 1
        self._retry_delay = min(2 * self._retry_delay, RETRY_DELAY_MAX) or RETRY_DELAY
        self._retry_at = self._clock.monotonic() + self._retry_delay


def _shortened(parcel: Parcel, max_bytes: int) -> Parcel:
    """An error message in place of one that is larger than the producer's whole queue, with as much of it as there is room for."""
    shown = parcel.payload.decode("utf-8", "replace")[: max(0, min(2000, max_bytes // 8))]
    note = encode({"message": shown, "oversized": f"the message has {len(parcel.payload)} bytes, the queue takes {max_bytes}"})
    return Parcel(True, note, 1, parcel.keys)
