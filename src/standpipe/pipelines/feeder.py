"""One route's way into its producer: hands parcels over without ever waiting, and holds what does not fit, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from standpipe.core.errors import QueueFull
from standpipe.core.payload import encode
from standpipe.delivery.receipt import Receipt, State
from standpipe.pipelines.routes import Parcel, Route
from standpipe.producers.base import BaseProducer

Settled = Callable[[Receipt, int], None]


class Feeder:
    """Feeds `producer` from one lane. `settled(receipt, ticket)` is called, from any thread, when a parcel is settled.

    For the lane's thread only.
    """

    def __init__(self, route: Route, producer: BaseProducer, settled: Settled, room: Callable[[], None]) -> None:
        self.route = route
        self.producer = producer
        self.held_bytes = 0
        self.held_messages = 0
        self.oversized = 0
        self._settled = settled
        self._room = room
        self._held: deque[tuple[Parcel, int]] = deque()
        self._watching = False

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
        if not self._watching:
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
        if not self.producer.has_room(parcel.count, len(parcel.payload)):
            return False
        try:
            receipt = self.producer.produce_encoded(parcel.is_error, parcel.payload, parcel.count, keys=parcel.keys, timeout=0.0)
        except QueueFull:  # somebody else was quicker, or the policy is to raise: for an agent both mean to wait
            return False
        if receipt.state is State.STORED:
            # The spool has it: it survives us, so that the agent need not read it again.
            self._settled(receipt, ticket)
        else:
            receipt.add_done_callback(lambda settled: self._settled(settled, ticket))
        return True


def _shortened(parcel: Parcel, max_bytes: int) -> Parcel:
    """An error message in place of one that is larger than the producer's whole queue, with as much of it as there is room for."""
    shown = parcel.payload.decode("utf-8", "replace")[: max(0, min(2000, max_bytes // 8))]
    note = encode({"message": shown, "oversized": f"the message has {len(parcel.payload)} bytes, the queue takes {max_bytes}"})
    return Parcel(True, note, 1, parcel.keys)
