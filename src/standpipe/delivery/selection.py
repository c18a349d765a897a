"""Which messages make the next batch: failed ones whose time has come, released ones, fresh ones from the queue."""

from __future__ import annotations

from standpipe.delivery.batch import Batch
from standpipe.delivery.memory_queue import MemoryQueue
from standpipe.delivery.schedule import Schedule
from standpipe.delivery.settings import Settings


class Selection:
    """Puts batches together for one engine, under its lock."""

    def __init__(self, settings: Settings, queue: MemoryQueue, schedule: Schedule) -> None:
        self._settings = settings
        self._queue = queue
        self._schedule = schedule
        self._probe_fresh = False

    def next(self, now: float, limit: int, probing: bool, closing: bool) -> tuple[Batch | None, float | None]:
        """At most `limit` messages to try now, else when to look again. `closing`: do not wait for a batch to fill up."""
        # With the breaker open one message at a time is tried; a failed one and a fresh one by turns, so that a poison
        # message that is for ever the one waiting longest cannot keep the breaker open.
        if probing and self._probe_fresh:
            batch, _ = self._fresh(now, limit, closing)
            if batch is not None:
                self._probe_fresh = False
                return batch, None
        retried = self._schedule.due(now)
        if retried is not None:
            self._probe_fresh = True
            return (retried if retried.count <= limit else self._schedule.split(retried, limit)), None
        batch, due = self._fresh(now, limit, closing)
        if batch is not None:
            return batch, due
        again = self._queue.read_again_at
        if again is not None and again <= now:  # then something else holds the messages back, and says when it does no longer
            again = None
        return None, min((time for time in (due, self._schedule.next_due(), again) if time is not None), default=None)

    def _fresh(self, now: float, limit: int, closing: bool) -> tuple[Batch | None, float | None]:
        schedule, queue = self._schedule, self._queue
        if schedule.ordering == "fifo" and schedule.waiting:
            return None, None
        if not schedule.ready and queue.untaken and (lingering := self._linger_until(now, limit, closing)) is not None:
            return None, lingering
        slices, count = schedule.take_ready(limit)
        while count < limit and len(queue):
            more, _ = queue.take(limit - count, self._settings.batch_bytes)
            admitted, number = schedule.admit(more)
            slices += admitted
            count += number
            if number:
                break
        return (Batch(slices, count), None) if count else (None, None)

    def _linger_until(self, now: float, limit: int, closing: bool) -> float | None:
        """When the batch that is filling up has to go, if it should not go now."""
        linger = self._settings.linger
        oldest = self._queue.oldest_accepted_at()
        if not linger or oldest is None or closing or self._queue.flushing or self._queue.untaken >= limit:
            return None
        if self._queue.bytes >= self._settings.batch_bytes or now >= oldest + linger:
            return None
        return oldest + linger

    def wake_level(self) -> int:
        """How many accepted messages the worker, about to wait, wants to be woken at. Called under the lock."""
        queue = self._queue
        if self._settings.linger and queue.untaken and not self._schedule.ready:
            return queue.accepted + max(1, self._settings.batch_messages - queue.untaken)
        return queue.accepted + 1
