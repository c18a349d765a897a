"""The engine of one producer: every rule of delivery, without the thread that drives it.

`worker.py` (and `async_worker.py`) ask `choose` for the next batch, try to send it, and report what happened: `delivered`,
`failed`, `rejected`. All state is guarded by one lock, the queue's; nothing is logged, called back or waited for under it.

The order of things for one message: taken (`choose`) -> `under_way` -> settled (receipt, counters, room in the queue, key
freed) or back in the schedule, each in one step under the lock, so that every snapshot adds up and every pending message is
in exactly one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from standpipe.core.clock import Clock
from standpipe.core.errors import Misconfigured
from standpipe.core.message import Message
from standpipe.core.outcome import Outcome, Verdict
from standpipe.delivery.batch import Batch, Slice
from standpipe.delivery.breaker import Breaker, BreakerState
from standpipe.delivery.dead_letters import DeadLetter, DeadLetters, Fault, Reason
from standpipe.delivery.journal import Journal
from standpipe.delivery.leaving import keep_details, letters_of, messages_of
from standpipe.delivery.memory_queue import NEVER, MemoryQueue
from standpipe.delivery.rate import RateLimit
from standpipe.delivery.receipt import DEAD_LETTERED, DELIVERED, OPEN, UNDELIVERED, Origin, Receipt, State
from standpipe.delivery.schedule import Schedule, count_of
from standpipe.delivery.selection import Selection
from standpipe.delivery.settings import Settings
from standpipe.delivery.statistics import ProducerStatistics

DEAD_LETTER_RETRY = 5.0
"""Seconds until a message is tried again whose dead letter could not be stored."""

DAMAGED = "what the disk kept of it does not have its checksum any more"
"""What a dead letter says that was put aside for this reason: nobody has tried to send it."""


class Abandoned(BaseException):
    """Raised in the worker when `shutdown` has stopped waiting for it: whatever it was doing no longer counts."""


class Engine:
    """One producer's messages, counters and decisions. Every method may be called from any thread unless it says otherwise."""

    def __init__(
        self,
        settings: Settings,
        queue: MemoryQueue,
        dead_letters: DeadLetters,
        origin: Origin,
        clock: Clock,
        jitter: Callable[[], float],
        journal: Journal,
    ) -> None:
        self.settings = settings
        self.queue = queue
        self.lock = queue.lock
        self.dead_letters = dead_letters
        self.origin = origin
        self.clock = clock
        self.journal = journal
        self.schedule = Schedule(settings.ordering, settings.exclusive)
        self.breaker = Breaker(threshold=settings.retry.max_retries)
        self.selection = Selection(settings, queue, self.schedule)
        self.rate = RateLimit(settings.rate_limit)
        self.connected = False
        self.closing = False
        self.abandoned = False
        self.stop_at: float | None = None
        self.under_way: list[Batch] = []
        self.done = 0  # messages of the only batch under way that `delivered_next` has settled
        self.delivered_count = 0
        self.dead_lettered_count = 0
        self.attempts = 0
        self.retries = 0
        self.resets = 0
        self.connects = 0
        self.connect_failures = 0
        self.possible_duplicates = 0
        self.last_error: str | None = None
        self.last_error_at: float | None = None
        self.last_success_at: float | None = None
        self._jitter = jitter
        self._epoch = 0
        self._paused_until = 0.0
        self._sweep_at = 0.0
        origin.observer_failed = self._observer_failed

    # --- what to send next (the worker) -------------------------------------------------------------------------------

    def choose(self, now: float) -> tuple[Batch | None, float | None]:
        """The batch to try now, else when to look again (None: when something new comes). Called under the lock."""
        if self.abandoned:  # what is left has been handed back
            raise Abandoned
        if now < self._paused_until:
            return None, self._paused_until
        breaker = self.breaker.at(now)
        if breaker.state is BreakerState.OPEN:
            return None, breaker.probe_at
        probing = breaker.state is BreakerState.HALF_OPEN
        if probing and self.under_way:
            return None, None
        limit, allowed_at = self.rate.allowance(now, 1 if probing else self.settings.batch_messages)
        if limit < 1:
            return None, allowed_at
        batch, due = self.selection.next(now, limit, probing, self.closing)
        if batch is not None:
            if probing:
                self.breaker = breaker
            self.rate.spend(batch.count)
            if batch.first_attempt is None:
                batch.first_attempt = now
            if batch.epoch != self._epoch:  # a new connection: the retries start again
                batch.epoch, batch.attempts = self._epoch, 0
            self.attempts += batch.count
            if batch.tries:
                self.retries += batch.count
            self.under_way.append(batch)
            self.done = 0
        return batch, due

    def expiry_wake_level(self) -> int:
        """As `Selection.wake_level`, for a worker that can send nothing: new messages concern it only if it waits for none to expire."""
        return self.queue.accepted + 1 if self.settings.deadline is not None and self.next_expiry() is None else NEVER

    def empty(self) -> bool:
        """Whether nothing is pending. Called under the lock."""
        return self.queue.messages == 0

    def finished(self) -> bool:
        """Whether `shutdown` has been called and nothing is left to do."""
        return self.closing and self.empty()

    def over(self, now: float) -> bool:
        """Whether the time that `shutdown` gave is up, or nobody waits any more."""
        return self.abandoned or (self.stop_at is not None and now >= self.stop_at)

    # --- what happened (the worker) -----------------------------------------------------------------------------------

    def delivered_next(self, batch: Batch, receipt: Receipt, index: int) -> None:
        """The next message of `batch`, the only one under way, has arrived: message `index` of `receipt`. The hot path of `_send`."""
        with self.lock:
            if self.abandoned:
                raise Abandoned
            if receipt._count == 1:
                receipt._payload = b""
                receipt._state = DELIVERED
                self.queue.release_one(receipt)
            else:
                receipt._settle(1, DELIVERED)
                self.queue.release_part(receipt, index)
            self.delivered_count += 1
            self.last_success_at = self.clock.monotonic()
            self.done += 1
            if self.done == batch.count:
                self.under_way.clear()
                self.done = 0
            if receipt._more is not None and receipt._more.unknown and not batch.unknown:
                self.possible_duplicates += 1
            if batch.tries or self.schedule.held:
                self.possible_duplicates += batch.unknown
                self.schedule.settled(Batch([(receipt, index, index + 1)], 1))
        if receipt._more is not None and receipt._state not in OPEN:
            receipt._notify()
        if self.breaker.failures:
            self._well()

    def delivered(self, batch: Batch) -> None:
        """Every message of `batch` has arrived."""
        if batch.details is not None:
            keep_details(batch.slices, batch.details)
        with self.lock:
            finished = self._settle(batch, DELIVERED)
            self.delivered_count += batch.count
            self.last_success_at = self.clock.monotonic()
            if batch.unknown:
                self.possible_duplicates += batch.count
            elif self.queue.keeps or self.schedule.uncertain:
                self.possible_duplicates += sum(stop - start for r, start, stop in batch.slices if r._more is not None and r._more.unknown)
            if self.schedule.held:
                self.schedule.settled(batch)
        _notify(finished)
        if self.breaker.failures:
            self._well()

    def _well(self) -> None:
        """The destination has answered: the breaker closes, and halves of failed batches need not wait."""
        with self.lock:
            closed = self.breaker.state is not BreakerState.CLOSED
            self.breaker = self.breaker.succeeded()
            if closed:
                self._everything_due()
            else:
                self.schedule.hurry(self.clock.monotonic())
        if closed:
            self.journal.info("the breaker is closed: the destination answers again")
            self.journal.recovered()

    def rejected(self, batch: Batch, error: BaseException, whole: bool) -> None:
        """The destination refuses `batch` for good. Of a batch that was refused as a `whole` the halves are tried at once,
        until the message at fault is alone."""
        self._note(error)
        batch.tries += 1
        if whole and batch.count > 1:
            with self.lock:
                self._leave(batch)
                batch.due = self.clock.monotonic()
                self.schedule.retry_halves(batch)
        else:
            self.bury(batch, Reason.REJECTED, error)
        if self.breaker.failures:
            self._well()

    def failed(self, batch: Batch, verdict: Verdict, whole: bool) -> bool:
        """`batch` did not arrive, or may not have. Returns True when the connection has to be reset.

        `whole`: the batch failed as a whole and the messages at fault are not known.
        """
        self._note(verdict.error)
        batch.tries += 1
        batch.unknown = batch.unknown or verdict.outcome is Outcome.UNKNOWN
        if verdict.retry_after is not None:
            self._pause(batch, verdict.retry_after, verdict.error)
            return False
        if batch.born < 0:
            batch.born = batch.epoch
        batch.attempts += 1
        most = self.settings.retry.max_retries
        # Of several sends that were under way on a connection, only the first to fail can ask for its reset.
        current = batch.epoch == self._epoch
        if current and (verdict.reset_now or batch.attempts > most or self.breaker.cycle >= most):
            self._exhausted(batch, whole, verdict.error)
            return True
        self._again(batch, whole, verdict.error, current)
        return False

    def _again(self, batch: Batch, whole: bool, error: BaseException, current: bool) -> None:
        """Try `batch` again after a growing delay.

        `current`: it was sent on this connection. What was under way on a connection that is gone fails as a crowd and says nothing
        new about the destination: it must not put off the next probe, with a window of sends by as much as the largest delay.
        """
        policy, jitter = self.settings.retry, self._jitter()
        with self.lock:
            self._leave(batch)
            now = self.clock.monotonic()
            batch.due = now + policy.delay(batch.attempts, jitter)
            was_closed = self.breaker.state is BreakerState.CLOSED
            if current or was_closed:
                self.breaker = self.breaker.failed(now + policy.delay(max(batch.attempts, self.breaker.cycle + 1), jitter))
            opened = was_closed and self.breaker.state is not BreakerState.CLOSED
            # While the breaker is open, messages are tried one by one anyway: no need to take the batch apart.
            if whole and batch.count > 1 and self.breaker.state is BreakerState.CLOSED:
                self.schedule.retry_halves(batch)
            else:
                self.schedule.retry(batch)
        self.journal.repeated(
            f"failed {type(error).__name__}",
            "sending failed (%s); attempt %d of %d%s",
            self.last_error,
            batch.attempts,
            policy.max_retries + 1,
            f", {batch.count} messages" if batch.count > 1 else "",
        )
        if opened:
            self.journal.warning("the breaker is open: %d attempts in a row failed; trying one message at a time", self.breaker.failures)

    def _exhausted(self, batch: Batch, whole: bool, error: BaseException) -> None:
        """The retries are used up: the connection is reset and they start again, or, after `max_resets`, the message is put aside."""
        policy, jitter = self.settings.retry, self._jitter()
        with self.lock:
            # Nothing at all has arrived through as many resets, and one at least: a few poison messages in a row look no better.
            down = self.breaker.resets >= max(1, self.settings.max_resets or 0)
            lived = self._epoch - batch.born
            self.breaker = self.breaker.failed(0.0)
            resets = max(lived, self.breaker.resets) + 1
            batch.due = self.clock.monotonic() + policy.pause(resets, jitter)
            self.breaker = self.breaker.reset(batch.due)
            self._epoch += 1
            lost = self._spent(batch, whole, lived, down)
            if batch in lost:
                self.under_way += [spent for spent in lost if spent is not batch]
            else:
                self.under_way += lost
                self._leave(batch)
                if whole and batch.count > 1:
                    self.schedule.retry_halves(batch)
                else:
                    self.schedule.retry(batch)
        for spent in lost:
            self.bury(spent, Reason.EXHAUSTED, error)

    def _spent(self, batch: Batch, whole: bool, lived: int, down: bool) -> list[Batch]:
        """Those that have lived through `max_resets` resets and failed again. While the destination takes nothing at all,
        this holds for everything that waits for it, not only for the message that happened to be the probe."""
        most = self.settings.max_resets
        if most is None:
            return []
        lost = [batch] if lived >= most and (down or not whole or batch.count == 1) else []
        if down:
            others = [other for other in self.schedule.waiting if other.born >= 0 and self._epoch - 1 - other.born >= most]
            for other in others:
                self.schedule.waiting.remove(other)
            lost += others
        return lost

    def _pause(self, batch: Batch, seconds: float, error: BaseException) -> None:
        """The destination asked for a pause: nothing is sent until then."""
        with self.lock:
            self._leave(batch)
            until = self.clock.monotonic() + seconds
            self._paused_until = max(self._paused_until, until)
            batch.due = until
            self.schedule.retry(batch)
        if isinstance(error, Misconfigured):
            self.journal.alarm("nothing can be delivered until somebody mends it (%s); tried again every %.0f s", self.last_error, seconds)
            return
        self.journal.repeated("retry after", "the destination asks for a pause of %.1f s (%s)", seconds, self.last_error)

    def split(self, batch: Batch, parts: Sequence[Batch]) -> None:
        """What is left of `batch`, under way, is from here on treated as `parts`, because they fared differently."""
        with self.lock:
            self._leave(batch)
            self.under_way += [part for part in parts if part.count]

    def join(self, batches: Sequence[Batch]) -> Batch:
        """Batches under way that fared alike are treated as one from here on, in their order."""
        with self.lock:
            for batch in batches:
                self._leave(batch)
            joined = Batch.joined(batches)
            self.under_way.append(joined)
        return joined

    def give_back(self, batch: Batch) -> None:
        """Messages under way that have not been tried after all."""
        with self.lock:
            self._leave(batch)
            self.attempts -= batch.count
            if batch.tries:
                self.retries -= batch.count
            self.schedule.give_back(batch)

    # --- messages put aside -------------------------------------------------------------------------------------------

    def bury(self, batch: Batch, reason: Reason, error: BaseException | None) -> bool:
        """Put `batch` aside: the dead letters are stored first, then the messages are settled. False when they could not be
        stored: the messages are kept. Worker thread."""
        fault = Fault.of(error, self.journal.secrets)
        if not self._store(self._letters(batch, reason, fault)):
            with self.lock:
                self._leave(batch)
                batch.due = self.clock.monotonic() + DEAD_LETTER_RETRY
                self.schedule.retry(batch)
            return False
        with self.lock:
            if error is not None:
                for receipt, _, _ in batch.slices:
                    receipt._rest().error = error
            finished = self._settle(batch, DEAD_LETTERED)
            self.dead_lettered_count += batch.count
            self.schedule.settled(batch)
        _notify(finished)
        self._tell_dead_letters(batch.count, reason, fault)
        return True

    def _store(self, letters: list[DeadLetter]) -> bool:
        """Store dead letters; False if that was not possible."""
        try:
            self.dead_letters.add(letters)
        except Exception as failure:
            self.journal.repeated("dead letters", "a dead letter could not be stored, the message is kept (%s)", self.journal.line(failure))
            return False
        return True

    def _tell_dead_letters(self, count: int, reason: Reason, fault: Fault) -> None:
        why = f"{reason.value} ({fault.error})" if fault.error is not None else reason.value
        self.journal.repeated(f"dead letter {reason.value}", "%d message(s) put aside as dead letters: %s", count, why)

    def _letters(self, batch: Batch, reason: Reason, fault: Fault) -> list[DeadLetter]:
        return letters_of(batch.slices, lambda _: batch, self.settings, reason, fault, self.clock)

    def sweep(self, now: float) -> None:
        """Put aside what has waited longer than `deadline`, and what came back from the disk damaged. Worker thread; cheap when
        there is neither."""
        deadline = self.settings.deadline
        if now < self._sweep_at:
            return
        if self.queue.damaged:
            self._bury_damaged()
        if deadline is None:
            return
        with self.lock:
            batches = self.schedule.expired(now - deadline)
            if slices := self.queue.take_expired(now - deadline):
                batches.append(Batch(slices, count_of(slices), holds=False))
            if not batches:
                return
            self.under_way += batches
            self.done = 0
        for batch in batches:
            if not self.bury(batch, Reason.EXPIRED, None):
                self._sweep_at = batch.due

    def _bury_damaged(self) -> None:
        """They are not in the schedule and never under way: nothing could send them by mistake."""
        with self.lock:
            slices = list(self.queue.damaged)
        batch, fault = Batch(slices, count_of(slices), holds=False), Fault(error=DAMAGED)
        if not self._store(self._letters(batch, Reason.CORRUPT, fault)):
            self._sweep_at = self.clock.monotonic() + DEAD_LETTER_RETRY
            return
        with self.lock:
            finished = self._settle(batch, DEAD_LETTERED)
            del self.queue.damaged[: len(slices)]
            self.dead_lettered_count += batch.count
        _notify(finished)
        self._tell_dead_letters(batch.count, Reason.CORRUPT, fault)

    def next_expiry(self) -> float | None:
        """When the oldest waiting message expires, or something else is to be put aside. Called under the lock."""
        if self.queue.damaged:
            return self._sweep_at
        deadline = self.settings.deadline
        if deadline is None:
            return None
        ages = [age for age in (self.queue.oldest_accepted_at(), self.schedule.oldest()) if age is not None]
        # `sweep` takes what is older than the deadline, not as old: wake up a moment after.
        return max(min(ages) + deadline + 1e-6, self._sweep_at) if ages else None

    # --- connection (the worker) --------------------------------------------------------------------------------------

    def connection_opened(self) -> None:
        """`_connect` returned."""
        with self.lock:
            self.connected = True
            self.connects += 1
        self.journal.info("connected")

    def connection_failed(self, error: BaseException, attempt: int) -> None:
        """`_connect` raised, for the `attempt`-th time in a row."""
        self._note(error)
        with self.lock:
            self.connect_failures += 1
        if isinstance(error, Misconfigured):
            self.journal.alarm("cannot connect, and somebody has to mend it (%s); the messages wait", self.last_error)
            return
        self.journal.repeated("connect", "cannot connect (%s); attempt %d of %d", self.last_error, attempt, self.settings.retry.max_retries)

    def connection_lost(self, error: BaseException) -> None:
        """The client says that the connection, which was open, is gone."""
        self._note(error)
        self.journal.repeated("lost", "%s", self.last_error)

    def retry_delay(self, attempt: int) -> float:
        """Seconds before retry `attempt`."""
        return self.settings.retry.delay(attempt, self._jitter())

    def unreachable(self) -> None:
        """The retries of connecting are used up."""
        with self.lock:
            opened = self.breaker.state is BreakerState.CLOSED
            self.breaker = self.breaker.unreachable()
        if opened:
            self.journal.warning("the breaker is open: the destination cannot be reached")

    # --- shutdown -----------------------------------------------------------------------------------------------------

    def stop(self, deadline: float) -> None:
        """Accept nothing more, end every wait, deliver until `deadline` (seconds of the monotonic clock)."""
        self.queue.close()
        with self.lock:
            self.closing = True
            self.stop_at = deadline if self.stop_at is None else min(self.stop_at, deadline)
            self._everything_due()
            self.queue.wake()

    def _everything_due(self) -> None:
        now = self.clock.monotonic()
        self._paused_until = min(self._paused_until, now)
        self._sweep_at = min(self._sweep_at, now)  # what has expired must not be sent because it is due
        if self.breaker.state is not BreakerState.CLOSED:
            self.breaker = self.breaker.due(now)
        for batch in self.schedule.waiting:
            batch.due = min(batch.due, now)

    def abandon(self) -> tuple[list[Message], int, list[Receipt]]:
        """Nothing more is sent or counted from here on: the messages that are left, oldest first, how many of them were being
        sent, and the receipts that are settled by this, to be told to `Origin.end`. They become UNDELIVERED; where the queue keeps
        the messages nothing is handed back. What came from a source that cannot be read again is put aside as a dead letter."""
        with self.lock:
            self.abandoned = True
            under_way = [part for batch in self.under_way for part in batch.part(self.done, batch.count).slices]
            sending = min(len(self.under_way), 1) if self.settings.singly else count_of(under_way)
            left = under_way + list(self.schedule) + self.queue.take_all()
            left.sort(key=lambda part: part[0]._first + part[1])
            left = self.queue.keep(left)
        put_aside = self._put_aside_at_the_end([part for part in left if part[0]._more is not None and part[0]._more.put_aside])
        with self.lock:
            finished: list[Receipt] = []
            if put_aside:
                finished += [receipt for receipt, start, stop in put_aside if receipt._settle(stop - start, DEAD_LETTERED)]
                self.queue.release(put_aside)
                self.dead_lettered_count += count_of(put_aside)
                gone = set(map(id, put_aside))
                left = [part for part in left if id(part) not in gone]
            messages = messages_of(left, self.clock)
            finished += [receipt for receipt, start, stop in left if receipt._settle(stop - start, UNDELIVERED)]
        return messages, sending, finished

    def _put_aside_at_the_end(self, parts: list[Slice]) -> list[Slice]:
        """Store as dead letters what nobody would take back; returns what was stored: all of it, or nothing.

        Only where they outlast the process. Without the lock: the disk may take a second, and nothing changes any more.
        """
        if not parts or not getattr(self.dead_letters, "outlasts_the_process", False):  # a store of somebody's own need not say
            return []
        fault, never_tried = Fault(error=self.last_error), Batch([], 0)
        tried = {(id(part[0]), part[2]): batch for batch in [*self.under_way, *self.schedule.waiting] for part in batch.slices}
        letters = letters_of(
            parts, lambda part: tried.get((id(part[0]), part[2]), never_tried), self.settings, Reason.UNDELIVERABLE, fault, self.clock
        )
        if not self._store(letters):
            return []
        self._tell_dead_letters(len(letters), Reason.UNDELIVERABLE, fault)
        return parts

    # --- telling ------------------------------------------------------------------------------------------------------

    def statistics(self) -> ProducerStatistics:
        """A consistent snapshot."""
        with self.lock:
            queue = self.queue
            return ProducerStatistics(
                accepted=queue.accepted,
                delivered=self.delivered_count,
                dead_lettered=self.dead_lettered_count,
                dropped=queue.dropped,
                pending=queue.accepted - self.delivered_count - self.dead_lettered_count - queue.dropped,
                attempts=self.attempts,
                retries=self.retries,
                resets=self.resets,
                connects=self.connects,
                connect_failures=self.connect_failures,
                possible_duplicates=self.possible_duplicates,
                queue_messages=queue.messages,
                queue_bytes=queue.bytes,
                queue_messages_max=queue.messages_max,
                queue_bytes_max=queue.bytes_max,
                breaker=self.breaker.at(self.clock.monotonic()).state,
                connected=self.connected,
                observer_failures=self.origin.observer_failures + self.journal.failures,
                last_error=self.last_error,
                last_error_at=self.last_error_at,
                last_success_at=None if self.last_success_at is None else self.wall(self.last_success_at),
            )

    def wall(self, monotonic: float) -> float:
        """The wall-clock time (seconds since 1970) of a moment of the monotonic clock."""
        return self.clock.time() - (self.clock.monotonic() - monotonic)

    def _observer_failed(self, error: BaseException) -> None:
        self.journal.repeated("callback", "a receipt callback raised, the message is not affected (%s)", self.journal.line(error))

    # --- in common ----------------------------------------------------------------------------------------------------

    def _settle(self, batch: Batch, state: State) -> list[Receipt]:
        """Receipts and room of a batch that is settled, under the lock; returns the receipts that are final and watched."""
        self._leave(batch)
        finished = [r for r, start, stop in batch.slices if r._settle(stop - start, state) and r._more is not None]
        self.queue.release(batch.slices)
        return finished

    def _leave(self, batch: Batch) -> None:
        """`batch` is no longer under way; the caller, who holds the lock, puts it where it belongs."""
        if self.abandoned:
            raise Abandoned
        if batch in self.under_way:
            self.under_way.remove(batch)
        self.done = 0

    def _note(self, error: BaseException) -> None:
        self.last_error = self.journal.line(error)
        self.last_error_at = self.clock.time()


def _notify(finished: Sequence[Receipt]) -> None:
    for receipt in finished:
        receipt._notify()
