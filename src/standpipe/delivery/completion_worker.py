"""The worker for the completion style: batches are handed to the client, which reports later what became of each message.

Nothing is awaited one by one: up to `max_in_flight` messages are with the client at once. What has been handed over stays
`under_way` in the engine until its `Report` is complete, its time is up or the connection is reset.

Order. A client whose messages fare independently of one another (`atomic_batches` is False) never has two messages of one key
at once: the engine keeps the keys apart. One that cannot deliver a later message of a key after an earlier one has failed (an
`ordered` one, `atomic_batches`) gets them all. When a message of it fails, later ones may be under way already: the connection
is closed, and all that failed on it is tried again as one batch, in order.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque

from standpipe.core.errors import ContractError, Disconnected
from standpipe.core.outcome import Outcome, Verdict, judge
from standpipe.delivery.batch import Batch
from standpipe.delivery.engine import Abandoned, Engine
from standpipe.delivery.memory_queue import NEVER
from standpipe.delivery.report import Report
from standpipe.delivery.worker import ALL_DELIVERED, RESET_GRACE, Transport, Worker, settle_results, verdict_on, worst

PARTLY_AFTER = 1.0
"""Seconds after which the confirmed messages of a batch are settled although others of it are not confirmed yet."""

POLL_UNWOKEN = 0.01
"""Seconds that a client which cannot be woken is polled at a time while messages are with it: new ones wait that long."""

POLL_LONGEST = 1.0
"""Longest time between two polls, in seconds: clients need them for their heartbeats and errors."""

UNCONFIRMED = "the connection was reset before the message was confirmed"


class CompletionWorker(Worker):
    """As `Worker`, for producers that write `_submit`. Reports come from any thread, everything else happens in the worker's."""

    def __init__(self, engine: Engine, transport: Transport, max_in_flight: int, send_timeout: float | None, ordered: bool) -> None:
        super().__init__(engine, transport)
        self.ordered = ordered
        self.max_in_flight = 1 if engine.settings.ordering == "fifo" and not ordered else max_in_flight
        self.send_timeout = send_timeout
        self._open: dict[Report, Batch] = {}  # what is with the client, oldest first, and what of it is not settled
        self._in_flight = 0
        self._told: deque[Report] = deque()  # those that are complete, or say that a message failed
        self._polling = False
        self._asleep = False  # the worker waits, or is about to look for the last time whether it may
        self._writable = True
        self._losses = 0  # connections that broke in a row without anything having been delivered

    def run(self) -> None:
        """Connect, then send until `shutdown` has been called and nothing is pending or its time is up; then close."""
        self.engine.queue.wake = self._wake
        super().run()

    def _turn(self) -> bool:
        """Settle what has been reported, hand over what there is room for, or wait."""
        engine = self.engine
        now = engine.clock.monotonic()
        if engine.over(now):
            return False
        if self._open or self._told:  # also a second word about what is settled: as long as it is there, nobody waits
            self._settle(now)
        engine.sweep(now)
        if engine.finished():
            return False
        if not engine.connected:
            self.transport.safe_connect()
            return True
        batch, due = self._next_batch(now)
        if batch is not None:
            self._submit(batch, now)
        elif engine.finished():
            return False
        else:
            self._wait_for_more(due, now)
        return True

    # --- handing over -------------------------------------------------------------------------------------------------

    def _next_batch(self, now: float) -> tuple[Batch | None, float | None]:
        """The next batch to hand over, if there is one and the client may have it."""
        engine = self.engine
        if self._in_flight >= self.max_in_flight or not self._is_writable(now):
            return None, None
        with engine.lock:
            engine.queue.progress()
            return engine.choose(now)

    def _is_writable(self, now: float) -> bool:
        """Whether the client takes messages. While it does not, the time of those that it has does not run."""
        writable = self.transport.writable is None or bool(self.transport.writable())
        if not (writable and self._writable):
            for report in self._open:
                report.since = now
        self._writable = writable
        return writable

    def _submit(self, batch: Batch, now: float) -> None:
        report = Report(batch, now, self._tell)
        self._open[report] = batch
        self._in_flight += batch.count
        try:
            self.transport.submit(batch, report)  # type: ignore[misc]
        except BaseException as error:
            report.all_failed(_of_whole_batch(error, batch.count))
        if self.transport.poll is not None:
            self._poll(0.0)

    def _tell(self, report: Report) -> None:
        """Everything has been said about a batch, or that a message failed. Any thread.

        We add to the list first and look whether the worker is asleep second; it does it the other way round. Whoever comes second
        sees the other.
        """
        self._told.append(report)
        if self._asleep and self.engine.origin.worker != threading.get_ident():
            with self.engine.lock:
                self._wake()

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Called under the lock."""
        self.engine.queue.ready.notify_all()
        if self._polling and self.transport.wake is not None:
            with contextlib.suppress(Exception):  # the client is being closed: then the worker does not wait in it
                self.transport.wake()

    def _wait_for_more(self, due: float | None, now: float) -> None:
        """Wait until a batch is complete, `due`, a new message (if the client has room for it), an expiry, or shutdown."""
        engine, transport = self.engine, self.transport
        try:
            with engine.lock:
                self._asleep = True
                if self._told:
                    return
                times = [time for time in (due, engine.stop_at, engine.next_expiry(), self._next_look(now)) if time is not None]
                wait = max(0.0, min(times) - now) if times else None
                full = self._in_flight >= self.max_in_flight or not self._writable
                engine.queue.wake_at = engine.expiry_wake_level() if full else engine.selection.wake_level()
                in_client = transport.poll is not None and (transport.wake is not None or bool(self._open))
                if not in_client:
                    longest = None if transport.poll is None else POLL_LONGEST
                    engine.clock.wait(engine.queue.ready, _shorter(wait, longest))
                    wait = 0.0
                self._polling = in_client
            if transport.poll is not None:
                longest = POLL_UNWOKEN if transport.wake is None else POLL_LONGEST
                self._poll(min(longest, longest if wait is None else wait))
        finally:
            self._polling = self._asleep = False
            engine.queue.wake_at = NEVER

    def _next_look(self, now: float) -> float | None:
        """When what is with the client has to be looked at although no batch is complete."""
        if not self._writable:
            return now + POLL_LONGEST
        oldest = next(iter(self._open), None)
        if oldest is None:
            return None
        # While a batch of several messages is with the client: the word about some of them wakes nobody.
        partly = now + PARTLY_AFTER if self._in_flight > len(self._open) else None
        late = None if self.send_timeout is None else oldest.since + self.send_timeout
        return _shorter(partly, late)

    def _poll(self, seconds: float) -> None:
        """Let the client work. What it raises means that the connection is lost."""
        try:
            self.transport.poll(seconds)  # type: ignore[misc]
        except BaseException as error:
            lost = Disconnected(f"the connection is lost ({self.engine.journal.line(error)})")
            lost.__cause__ = error
            self.engine.connection_lost(lost)
            self._losses += 1
            self._close(lost)
            # A connection that can be opened and then breaks at once must not be opened in a circle.
            if self._losses > 1:
                self.pause(self.engine.retry_delay(min(self._losses - 1, self.engine.settings.retry.max_retries)))
            self.transport.safe_connect()

    # --- settling -----------------------------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Settle what has been reported; reset the connection if that is what the failures ask for."""
        self._give_up_overdue(now)
        reset = gone = False
        for report in self._take_told():
            complete = report.complete  # asked first: what is said while we read comes with a word of its own
            verdicts = [] if report.all_arrived else [verdict_on(result) for result in report.results()]
            failed = [verdict for verdict in verdicts if verdict is not None and _transient(verdict)]
            gone = gone or any(verdict.reset_now for verdict in failed)
            if failed and self.ordered:
                self.reset()  # which settles everything
                return
            if complete:
                reset = self._settle_one(report, verdicts) or reset
        self._settle_partly(now)
        if reset or gone:
            self._reset_after(0.0 if gone else RESET_GRACE)

    def _take_told(self) -> list[Report]:
        told: dict[Report, None] = {}
        while self._told:
            told[self._told.popleft()] = None
        return [report for report in told if report in self._open]

    def _give_up_overdue(self, now: float) -> None:
        if self.send_timeout is None or not self._writable:
            return
        for report in list(self._open):
            if report.since + self.send_timeout > now:
                break
            report.all_failed(Disconnected(f"no confirmation within {self.send_timeout:g} s"))

    def _settle_one(self, report: Report, verdicts: list[Verdict | None]) -> bool:
        """Settle each message by what was reported (no verdicts: all arrived); True when the connection has to be reset."""
        batch = self._open.pop(report)
        self._in_flight -= batch.count
        if not batch.count:
            return False
        if not verdicts or None in verdicts:
            self._losses = 0
        batch.details = report.details_of(None if not report.settled else report.positions())
        return settle_results(self.engine, batch, verdicts or ALL_DELIVERED)

    def _settle_partly(self, now: float) -> None:
        """A message that is slow must not hold back the receipts of all the others of its batch."""
        for report in list(self._open):
            if report.since + PARTLY_AFTER > now:
                break
            if report.begun:
                self._settle_arrived(report)

    def _settle_arrived(self, report: Report) -> None:
        """Settle those messages that are confirmed, and only those."""
        arrived = self._take(report, report.arrived())
        if arrived.count:
            self._losses = 0
            self.engine.delivered(arrived)

    def _take(self, report: Report, positions: list[int]) -> Batch:
        """Messages of a batch that from now on go a way of their own."""
        whole, left, wanted = self._open[report], report.positions(), set(positions)
        part = whole.choose(lambda index: left[index] in wanted)
        rest = whole.choose(lambda index: left[index] not in wanted)
        part.details = report.details_of(positions)
        self.engine.split(whole, [part, rest])
        report.settled |= wanted
        self._open[report] = rest
        self._in_flight -= part.count
        return part

    def _settle_everything(self, error: BaseException) -> None:
        """The connection is closed: what nothing has been said about may have arrived. If the client is `ordered`, all that
        failed is tried again as one batch."""
        again: list[Batch] = []
        failures: list[Verdict] = []
        for report in list(self._open):
            report.all_failed(error)
            if self.ordered:
                verdicts = {position: verdict_on(report.result(position)) for position in report.positions()}
                failed = {position: verdict for position, verdict in verdicts.items() if verdict is not None and _transient(verdict)}
                if failed:  # else the others would get the history of messages that are not among them
                    again.append(self._take(report, list(failed)))
                    failures += failed.values()
            self._settle_one(report, [verdict_on(report.result(position)) for position in report.positions()])
        self._told.clear()
        if failures:
            self.engine.failed(self.engine.join(again), worst(failures), whole=False)

    # --- connection ---------------------------------------------------------------------------------------------------

    def _reset_after(self, grace: float) -> None:
        """Reset the connection; what is with the client gets `grace` seconds to be confirmed."""
        engine = self.engine
        until = engine.clock.monotonic() + grace
        while True:
            self._told.clear()  # closing settles whatever has been reported; here only news ends a wait
            if all(report.complete for report in self._open):
                break
            now = engine.clock.monotonic()
            if now >= until or engine.over(now):
                break
            connects = engine.connects
            self._wait_for_reports(until - now)
            if engine.connects != connects or not engine.connected:  # lost meanwhile, and opened again
                return
        self.reset()

    def _wait_for_reports(self, seconds: float) -> None:
        engine = self.engine
        if self.transport.poll is not None:
            self._poll(min(seconds, POLL_UNWOKEN))
            return
        with engine.lock:
            self._asleep = True
            if not self._told:
                left = None if engine.stop_at is None else max(0.0, engine.stop_at - engine.clock.monotonic())
                engine.clock.wait(engine.queue.ready, _shorter(seconds, left))
            self._asleep = False

    def _close(self, because: BaseException | None = None) -> None:
        """Close; what the client reports while it is closed still counts. When time is up, what has not been confirmed stays
        under way: `shutdown` hands it back as possibly sent."""
        super()._close()
        if not self.engine.over(self.engine.clock.monotonic()):
            self._settle_everything(because or Disconnected(UNCONFIRMED))
            return
        with contextlib.suppress(Abandoned):
            for report in list(self._open):
                self._settle_arrived(report)

    def _recover(self) -> None:
        """As for every worker; and the connection is closed, so that nothing of what goes back can arrive later."""
        with contextlib.suppress(Exception):
            self._close()
        self._open.clear()
        self._told.clear()
        self._in_flight = 0
        super()._recover()


def _of_whole_batch(error: BaseException, count: int) -> BaseException:
    """A rejection that names no message must not put all of a batch aside: they are tried again, in the end one by one."""
    if count > 1 and judge(error).outcome is Outcome.REJECTED:
        made = ContractError(f"_submit raised {type(error).__name__} for {count} messages ({error}); say which by report.failed")
        made.__cause__ = error
        return made
    return error


def _transient(verdict: Verdict) -> bool:
    return verdict.outcome is not Outcome.REJECTED


def _shorter(first: float | None, second: float | None) -> float | None:
    """The shorter of two waits, None being endless."""
    return second if first is None else first if second is None else min(first, second)
