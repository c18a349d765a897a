"""The engine under random histories: messages, failures of every kind, time, shutdown at any point. After each step every
message is in exactly one place, the counters add up, and the order that was promised holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from standpipe.core.errors import Disconnected, NotSent, ProducerClosed, QueueFull, Reject, RetryAfter
from standpipe.core.outcome import Outcome
from standpipe.delivery.dead_letters import MemoryDeadLetters
from standpipe.delivery.receipt import Receipt
from standpipe.delivery.statistics import ShutdownReport
from standpipe.producers.base import BaseProducer, BaseProducerConfig, Batch
from tests.model.lockstep import Lockstep
from tests.unit.delivery.scripted import check

KEYS = st.sampled_from([None, None, "a", "b"])
FATES = st.sampled_from(["ok", "ok", "ok", "fail", "lost", "reject", "busy", "gone", "not sent", "exit"])


class Destination:
    """What arrives, and what happens to each message on the way."""

    def __init__(self) -> None:
        self.fates: list[str] = []
        self.whole: list[str] = []
        self.connects: list[bool] = []
        self.arrived: list[int] = []
        self.confirmed: Counter[int] = Counter()
        self.uncertain: set[int] = set()
        self.stuck = False

    def meet(self, number: int) -> object:
        """The fate of one message: None when it arrived and is confirmed, else its result."""
        fate = self.fates.pop(0) if self.fates else "ok"
        if fate in ("ok", "lost"):
            self.arrived.append(number)
        if fate == "ok":
            self.confirmed[number] += 1
            return None
        if fate in ("lost", "fail", "gone", "exit"):
            self.uncertain.add(number)
        errors: dict[str, BaseException] = {
            "fail": OSError("failed before it arrived"),
            "lost": TimeoutError("no answer, but it arrived"),
            "reject": Reject("never"),
            "busy": RetryAfter(3.0),
            "gone": Disconnected("gone"),
            "not sent": NotSent("buffer full"),
            "exit": SystemExit(1),
        }
        return errors[fate]


class Single(BaseProducer):
    """One message at a time."""

    def __init__(self, config: BaseProducerConfig, clock: Lockstep, destination: Destination, store: MemoryDeadLetters) -> None:
        self.destination_ = destination
        self.shares = iter(range(10**9))
        super().__init__(config, clock=clock, dead_letters=store, jitter=lambda: (next(self.shares) * 7 % 11) / 10)

    def start(self) -> None:
        """The machine runs the worker."""

    def _connect(self) -> None:
        if self.destination_.connects and not self.destination_.connects.pop(0):
            raise ConnectionRefusedError("down")

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        check(self.statistics())
        result = self.destination_.meet(message["n"])
        if isinstance(result, BaseException):
            raise result

    def _close(self) -> None:
        pass


class Several(Single):
    """Batches, each message with a fate of its own; now and then the batch fails as a whole, after some have arrived."""

    def _send_batch(self, batch: Batch) -> Any:
        check(self.statistics())
        numbers = [message["n"] for message in batch.contents()]
        whole = self.destination_.whole.pop(0) if self.destination_.whole else None
        if whole is not None:
            self._fail_as_a_whole(whole, numbers)
        return self._results(numbers, batch.keys())

    def _fail_as_a_whole(self, kind: str, numbers: list[int]) -> None:
        if kind == "reject":
            raise Reject("one of them is bad")
        self.destination_.arrived += numbers[: len(numbers) // 2]
        self.destination_.uncertain |= set(numbers)
        raise OSError("the connection broke half-way")

    def _results(self, numbers: list[int], keys: list[str | None]) -> list[object]:
        return [self.destination_.meet(number) or Outcome.DELIVERED for number in numbers]


class Atomic(Several):
    """Batches of a transport that keeps its promise: behind a message that failed, nothing of the same key arrives."""

    atomic_batches: ClassVar[bool] = True

    def _results(self, numbers: list[int], keys: list[str | None]) -> list[object]:
        results: list[object] = []
        broken: set[str | None] = set()
        for number, key in zip(numbers, keys, strict=True):
            line = "everything" if self.config.ordering == "fifo" else key
            if line is not None and line in broken:
                results.append(Outcome.FAILED)
                continue
            result = self.destination_.meet(number) or Outcome.DELIVERED
            if result is not Outcome.DELIVERED and not isinstance(result, Reject):
                broken.add(line)
            results.append(result)
        return results


class EngineMachine(RuleBasedStateMachine):
    """See above. `kind` and `ordering` are set by the test."""

    kind: ClassVar[type[Single]] = Single
    ordering: ClassVar[str] = "key"

    @initialize(
        on_full=st.sampled_from(["block", "raise", "drop_newest", "drop_oldest"]),
        deadline=st.sampled_from([None, None, 4.0]),
        max_resets=st.sampled_from([None, None, 0, 2]),
        linger=st.sampled_from([0.0, 0.5]),
        rate=st.sampled_from([None, None, 3.0]),
        shutdown_after=st.integers(0, 100),
    )
    def begin(
        self, on_full: str, deadline: float | None, max_resets: int | None, linger: float, rate: float | None, shutdown_after: int
    ) -> None:
        self.steps_until_shutdown = shutdown_after
        self.clock = Lockstep()
        self.destination = Destination()
        self.store = MemoryDeadLetters()
        config = BaseProducerConfig.model_validate(
            {
                "type": "machine",
                "name": "machine",
                "max_retries": 2,
                "ordering": self.ordering,
                "deadline": deadline,
                "max_resets": max_resets,
                "rate_limit": rate,
                "batch": {"max_messages": 4, "linger": linger},
                "queue": {"max_messages": 10, "on_full": on_full, "full_timeout": 0.0},
            }
        )
        self.producer = self.kind(config, self.clock, self.destination, self.store)
        self.queue = self.producer._BaseProducer__queue  # type: ignore[attr-defined]
        self.engine = self.producer._BaseProducer__engine  # type: ignore[attr-defined]
        self.queue.wake = self.clock.notify
        self.receipts: list[tuple[Receipt, list[int]]] = []
        self.keys: dict[int, str | None] = {}
        self.report: ShutdownReport | None = None
        self.clock.run(self.producer._worker)

    # --- what happens -------------------------------------------------------------------------------------------------

    @rule(keys=st.lists(KEYS, min_size=1, max_size=6), together=st.booleans(), is_error=st.booleans())
    def produce(self, keys: list[str | None], together: bool, is_error: bool) -> None:
        groups = [keys] if together else [[key] for key in keys]
        for group in groups:
            numbers = [len(self.keys) + offset for offset in range(len(group))]
            try:
                receipt = self._hand_over(is_error, numbers, group)
            except (QueueFull, ProducerClosed):
                assert self.producer.config.queue.on_full in ("block", "raise") or self.producer.closed
                continue
            self.receipts.append((receipt, numbers))
            self.keys |= dict(zip(numbers, group, strict=True))
        self.clock.resume()

    def _hand_over(self, is_error: bool, numbers: list[int], keys: list[str | None]) -> Receipt:
        if len(numbers) == 1:
            return self.producer.produce(is_error, {"n": numbers[0]}, key=keys[0])
        return self.producer.produce_many(is_error, [{"n": number} for number in numbers], keys=keys)

    @rule(fates=st.lists(FATES, min_size=1, max_size=8))
    def destination_will(self, fates: list[str]) -> None:
        self.destination.fates += fates

    @rule(kinds=st.lists(st.sampled_from(["reject", "fail", "fail"]), min_size=1, max_size=4))
    def batches_will_fail(self, kinds: list[str]) -> None:
        self.destination.whole += kinds

    @rule(results=st.lists(st.sampled_from([False, False, True]), min_size=1, max_size=7))
    def connects_will(self, results: list[bool]) -> None:
        self.destination.connects += results

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.3, 1.0, 5.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_time(seconds)

    @precondition(lambda self: not self.producer.closed and self.steps_until_shutdown < 0)
    @rule(timeout=st.sampled_from([0.5, 5.0]))
    def shutdown_begins(self, timeout: float) -> None:
        self.producer._begin_shutdown(timeout)
        self.clock.resume()

    @precondition(lambda self: self.report is None and self.steps_until_shutdown < 0)
    @rule()
    def shutdown_gives_up(self) -> None:
        self._end(timeout=0.0)

    def _end(self, timeout: float) -> ShutdownReport:
        if not self.clock.over and timeout:
            self.producer._begin_shutdown(timeout)
            self.clock.pass_time(timeout)
        self.report = self.producer.shutdown(timeout=0.0)
        self.clock.resume()
        assert self.clock.over
        self.clock.join()
        self._compare_with_report(self.report)
        return self.report

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def shutdown_comes_nearer(self) -> None:
        self.steps_until_shutdown -= 1

    @invariant()
    def the_counters_add_up(self) -> None:
        now = check(self.producer.statistics())
        total: Counter[str] = Counter()
        for receipt, _ in self.receipts:
            total.update(receipt.counts)
            assert receipt.done() == (receipt.counts["queued"] == 0)
        assert (total["delivered"], total["dead_lettered"], total["dropped"]) == (now.delivered, now.dead_lettered, now.dropped)
        assert total["queued"] + total["undelivered"] == now.pending
        assert now.accepted == sum(len(numbers) for _, numbers in self.receipts)
        assert now.dead_lettered == len(self.store)
        assert now.possible_duplicates <= now.delivered
        assert now.queue_messages_max <= 10

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        if self.report is not None:
            return
        waiting = [
            number for receipt, start, stop in self.engine.schedule for number in range(receipt._first + start, receipt._first + stop)
        ]
        taken = self.queue._taken
        for entry in self.queue._entries:
            waiting += range(entry._first + taken, entry._first + entry._count)
            taken = 0
        assert self.engine.under_way == []
        assert len(waiting) == len(set(waiting)) == self.producer.statistics().pending

    @invariant()
    def confirmed_is_delivered(self) -> None:
        assert self.producer.statistics().delivered == sum(self.destination.confirmed.values())
        assert set(self.destination.confirmed.values()) <= {1}

    @invariant()
    def nothing_arrives_twice_unless_an_attempt_was_uncertain(self) -> None:
        twice = {number for number, times in Counter(self.destination.arrived).items() if times > 1}
        assert twice <= self.destination.uncertain

    @invariant()
    def the_promised_order_holds(self) -> None:
        first = list(dict.fromkeys(self.destination.arrived))
        if self.ordering == "fifo":
            assert first == sorted(first)
        elif self.ordering == "key":
            lines: dict[str | None, list[int]] = defaultdict(list)
            for number in first:
                lines[self.keys.get(number)].append(number)
            assert all(line == sorted(line) for key, line in lines.items() if key is not None)

    def _compare_with_report(self, report: ShutdownReport) -> None:
        handed_back = [message.content()["n"] for message in report.messages]
        assert len(handed_back) == len(set(handed_back)) == report.undelivered
        assert handed_back == sorted(handed_back)
        settled = {letter.content()["n"] for letter in self.store} | set(self.destination.confirmed)
        assert not settled & set(handed_back)

    def teardown(self) -> None:
        """With a destination that is well again, everything that is left arrives."""
        if not hasattr(self, "clock") or self.report is not None:
            return
        self.destination.fates.clear()
        self.destination.whole.clear()
        self.destination.connects.clear()
        if not self.producer.closed:
            self.clock.pass_time(1000.0)
            assert self.producer.statistics().pending == 0, "a message is held for ever, or the worker was not woken"
            self.produce(["a", None], False, False)
            self.clock.pass_time(10.0)
            assert self.producer.statistics().pending == 0, "an idle worker was not woken by a message"
        self._end(timeout=10_000.0)
        self.the_counters_add_up()
        self.the_promised_order_holds()


@pytest.mark.parametrize("ordering", ["key", "fifo", "none"])
@pytest.mark.parametrize("kind", [Single, Several, Atomic])
def test_the_engine_keeps_its_promises_in_every_history(kind: type[Single], ordering: str) -> None:
    machine = type(f"{kind.__name__}{ordering}Machine", (EngineMachine,), {"kind": kind, "ordering": ordering})
    checked = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=checked)
