"""One life of the process: a producer with its queue, a lane with its agent. It ends by a shutdown, or at any moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from standpipe.core.errors import ProducerClosed, QueueFull, StandpipeError
from standpipe.delivery.completion_worker import CompletionWorker
from standpipe.delivery.receipt import Receipt, State
from standpipe.delivery.statistics import ProducerStatistics, ShutdownReport
from standpipe.pipelines.config import RouteConfig
from standpipe.pipelines.lane import Lane
from standpipe.pipelines.routes import Route
from standpipe.producers.base import BaseProducerConfig
from standpipe.producers.config import SpoolConfig
from standpipe.producers.spilling_queue import SpillingQueue
from standpipe.producers.spooled_queue import SpooledQueue
from standpipe.spool.errors import SpoolError
from standpipe.spool.log import Spool
from standpipe.testing.crashing_files import Stopped
from tests.simulation.destination import UNCERTAIN
from tests.simulation.disk import Storage
from tests.simulation.oracle import Told
from tests.simulation.plan import Setup
from tests.simulation.source import ReplayAgent
from tests.simulation.styles import STYLES
from tests.simulation.virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from tests.simulation.world import World

FOR_EVER = 1e6
"""Seconds between the syncs of the spool's own thread: the simulation syncs, at planned moments."""


def make_config(setup: Setup) -> BaseProducerConfig:
    """The producer's configuration; segments may be smaller than anybody could configure."""
    full: dict[str, Any] = {"on_full": setup.on_full, "max_bytes": setup.max_bytes}
    queue: Any = {"type": "memory", "max_messages": setup.max_messages, **full}
    if setup.queue == "spill":
        queue |= {"on_full": "spill", "path": "/simulated", "spill_max_bytes": setup.spill_max_bytes}
    elif setup.queue != "memory":
        spool = SpoolConfig.model_validate(
            {"type": "spool", "path": "/simulated", "durability": setup.queue, "sync_interval": FOR_EVER, **full}
        )
        queue = spool.model_copy(update={"segment_bytes": setup.segment_bytes})
    return BaseProducerConfig.model_validate(
        {
            "type": "simulated",
            "name": "simulated",
            "max_retries": setup.max_retries,
            "max_resets": setup.max_resets,
            "deadline": setup.deadline,
            "rate_limit": setup.rate,
            "ordering": setup.ordering,
            "reconnect_wait": setup.reconnect_wait,
            "send_timeout": setup.send_timeout,
            "retry": {"initial": 0.1, "max": 2.0},
            "batch": {"max_messages": setup.batch, "linger": setup.linger},
            "queue": queue,
        }
    )


@cache
def _route(in_order: bool) -> Route:
    """Made once, because compiling its expressions takes longer than a short run; all it remembers are counts."""
    return Route(RouteConfig(to="simulated", key="k", is_error="bad"), in_order)


class Process:
    """See above. Everything in it is gone when it is `dead`."""

    def __init__(self, world: World, number: int, disk: Storage) -> None:
        self.world = world
        self.number = number
        self.disk = disk
        self.dead = False
        self.power_cut = False
        self.trouble = False  # the disk has failed in this life: the guarantees that need it are weaker
        self.restored = 0
        self.loop_ends = False  # the destination's client is about to end the loop of the worker
        self._sending = 0
        self._taken_in = 0  # accepted by this life
        self._confirmed = 0
        self._letters = 0
        self._repeated = 0
        self.drops = 0
        self._in_doubt: dict[int, int] = {}  # with the number of the settling that it belongs to
        self._settling = 0
        self._receipts: list[tuple[Receipt, list[int]]] = []
        self._doubtful: list[int] = []  # of the source: accepted, and perhaps in memory only
        self.producer = STYLES[world.plan.setup.style](self, world.config)
        self.queue = self.producer._BaseProducer__queue  # type: ignore[attr-defined]
        self.engine = self.producer._BaseProducer__engine  # type: ignore[attr-defined]
        self.queue.wake = world.clock.wake
        self._use_small_spools()
        driver = self.producer._BaseProducer__driver  # type: ignore[attr-defined]
        self.asynchronous = hasattr(driver, "loop_factory")
        self.settles_by_itself = self.asynchronous or isinstance(driver, CompletionWorker)
        if self.asynchronous:
            driver.loop_factory = lambda: VirtualLoop(world.clock, self._between_turns)
        self.agent = ReplayAgent(self, world.source)
        route = _route(world.config.ordering == "fifo")
        self.lane = Lane("simulated", self.agent, [], [(route, self.producer)], world.plan.setup.held_max, clock=world.clock)
        disk.on_stop = self._stopped_by_disk
        disk.noted = self._noted
        disk.on_sync_failure = world.oracle.sync_failed

    def _use_small_spools(self) -> None:
        """Spools whose segments are smaller than those of a queue that spills ever are."""
        make, size = getattr(self.queue, "_make_spool", None), self.world.plan.setup.segment_bytes
        if make is None:
            return

        def small(*place: Any) -> Spool:
            spool: Spool = make(*place)
            spool._segment_bytes = size
            return spool

        self.queue._make_spool = small

    # --- life ---------------------------------------------------------------------------------------------------------

    def open(self) -> bool:
        """Begin with what the disk has; False if it cannot be read now. Raises Stopped."""
        if not isinstance(self.queue, SpooledQueue | SpillingQueue):
            return True
        try:
            recovery = self.queue.open()
        except SpoolError as error:
            self.tell("cannot open the spool", str(error))
            return False
        self.restored = recovery.backlog
        self.tell("spool opened", recovery.backlog, recovery.in_flight, recovery.lost)
        if recovery.backlog:
            self.world.saw("backlog")
        if recovery.lost and not (self.world.forgetful or self.trouble):
            self.world.fail(f"the spool says that it has lost {recovery.lost} messages, and the disk has never failed")
        return True

    def live(self) -> ShutdownReport | None:
        """Until it ends. The report of its shutdown; None: it died."""
        try:
            self.producer._worker()
        except Stopped:  # in what was left of the worker
            assert self.dead
        if self.dead:
            return None
        if not self.producer.closed:
            self.world.failure = "the worker has ended, and nobody has shut it down"
        self.check()
        pending = self.producer.statistics().pending
        try:
            report = self.producer.shutdown(timeout=0.0)
        except Stopped:
            return None
        if self.world.plan.setup.queue == "spill" and not report.messages:
            self.world.oracle.kept()
        self._end_of_lane()
        self.tell("shut down", report.delivered, report.dead_lettered, report.dropped, report.spooled, report.undelivered)
        if report.spooled + report.undelivered != pending:
            self.world.fail(f"{pending} messages were pending, the report says {report}")
        return report

    def _end_of_lane(self) -> None:
        self.lane._acknowledge()
        self.agent.close()

    def die(self, *, power: bool, why: str) -> None:
        """Here and now."""
        if self.dead:
            return
        self._note_drops()
        self.dead, self.power_cut = True, power
        self.tell("power cut" if power else "killed", why)
        self.world.saw("power cut" if power else "killed")
        self.disk.ended = True
        self.engine.abandoned = True
        self.world.clock.wake()
        with self.queue.lock:
            self.queue.wake()

    def killed(self, why: str, *, power: bool = False) -> NoReturn:
        """In the middle of something that it does."""
        self.die(power=power, why=why)
        raise Stopped

    def _stopped_by_disk(self) -> None:
        self.die(power=self.world.cuts_power, why=f"at step {self.disk.last_step}")

    def bury(self) -> None:
        """What is left of a dead process must not do anything any more, nor be found by the garbage collector half alive."""
        if isinstance(self.queue, SpooledQueue | SpillingQueue):
            self.queue.forget_spool()
        self.producer.shutdown(timeout=0.0)

    def in_doubt(self) -> list[int] | None:
        """Confirmed messages of which the spool may not know; None: any."""
        vague = self.trouble or self.power_cut or self.world.plan.setup.queue == "spill"
        return None if vague else list(self._in_doubt)

    # --- what the destination does with it ----------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds of virtual time."""
        return self.world.clock.now

    def alive(self) -> None:
        """Raises Stopped in what is left of a dead process."""
        if self.dead:
            raise Stopped
        if self.world.failure is not None:
            self.die(power=False, why="something is wrong")
            raise Stopped

    def spend(self, seconds: float) -> None:
        """The destination takes its time."""
        if seconds:
            self.world.clock.advance(seconds)
        self.alive()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """The counters are compared when a send begins, not while it goes on."""
        if not self._sending:
            self.check()
        self._sending += 1
        try:
            yield
        finally:
            self._sending -= 1

    def next_batch(self) -> None:
        """What became of the last batch has been noted."""
        self._in_doubt.clear()

    def _noted(self) -> None:
        if self.world.plan.setup.style == "single":
            self._in_doubt.clear()
        elif self.settles_by_itself:  # but what is being settled right now may be noted in part
            self._in_doubt = {number: settling for number, settling in self._in_doubt.items() if settling == self._settling}

    def _between_turns(self, waits: bool) -> None:
        """The worker's loop begins another turn: what is confirmed is settled."""
        self.settles()
        if self.dead and waits:
            raise Stopped

    def settles(self) -> None:
        """The engine settles something, or has: what comes now is not settled together with that."""
        self._settling += 1

    def arrived(self, content: dict[str, Any], bad: bool, message_id: str | None) -> None:
        """The destination has got a message."""
        self.tell("arrived", content["n"])
        self.world.oracle.arrived(content["n"], content, bad, message_id)

    def confirmed(self, numbers: Sequence[int]) -> None:
        """The engine is told that these arrived."""
        for number in numbers:
            repeated = self.world.oracle.confirmed(number)
            if repeated:
                self._repeated += 1
                self.world.saw("duplicate")
            self._in_doubt[number] = self._settling
        self._confirmed += len(numbers)

    def failed(self, number: int, what: str) -> None:
        """What became of an attempt."""
        told = self.world.oracle.messages.get(number)
        if what == "ok" or told is None:
            return
        self.tell(what, number)
        self.world.saw(what)
        told.uncertain = told.uncertain or what in UNCERTAIN
        told.rejected = told.rejected or what.startswith("reject")

    def put_aside(self, count: int) -> None:
        """So many dead letters have been stored."""
        self._letters += count

    # --- handing over -------------------------------------------------------------------------------------------------

    def produce(self, messages: list[Told], together: bool) -> None:
        """Hand over messages of a caller, together or one by one."""
        for group in [messages] if together else [[told] for told in messages]:
            if self.dead:
                return
            for told in group:
                self.world.oracle.attempted(told)
            self._hand_over(group)

    def _hand_over(self, group: list[Told]) -> None:
        before = self.queue.accepted
        try:
            receipt = self._produce(group)
        except (QueueFull, ProducerClosed) as error:
            return self._refused(group, error)
        except SpoolError as error:  # unknown; the counter tells what the text cannot
            self.trouble = True
            if self.queue.accepted == before:
                return self._refused(group, error)
            self._taken_in += len(group)
            return self._say(group, "unknown", error)
        except Stopped:
            return self._say(group, "unknown", None)
        except StandpipeError as error:
            return self._refused(group, error)
        self._taken_in += len(group)
        self._took(receipt, [told.number for told in group])
        return self._say(group, "accepted", None)

    def _say(self, group: list[Told], status: str, error: BaseException | None) -> None:
        for told in group:
            told.status = status
        self.tell(status, [told.number for told in group], str(error or ""))
        self.world.saw(status)

    def _refused(self, group: list[Told], error: BaseException) -> None:
        self._say(group, "refused", error)

    def _produce(self, group: list[Told]) -> Receipt:
        first = group[0]
        if len(group) == 1:
            return self.producer.produce(first.bad, first.content, key=first.key, headers=first.headers, message_id=first.given_id)
        keys = [told.key for told in group]
        ids = [told.given_id for told in group if told.given_id is not None]
        contents = [told.content for told in group]
        return self.producer.produce_many(first.bad, contents, keys=keys, headers=first.headers, message_ids=ids or None)

    def _took(self, receipt: Receipt, numbers: list[int]) -> None:
        """Remember a receipt of something accepted; `holds` says whether for good."""
        queue = self.world.plan.setup.queue
        level = queue if queue != "spill" else "written" if receipt.state is State.STORED else "memory"
        for number, message_id in zip(numbers, receipt.message_ids, strict=True):
            told = self.world.oracle.messages[number]
            told.status = "accepted"
            self.world.oracle.accepted(told, message_id, level)
        if level == "written" and queue == "spill":
            self.world.saw("spilled")
        if receipt.state is State.QUEUED and level == "synced":
            self.world.fail(f"{receipt!r} was accepted and is not stored")
        if self.world.plan.setup.holds:
            self._receipts.append((receipt, numbers))

    # --- the source ---------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """One turn of the lane: what its thread does between two waits."""
        lane = self.lane
        try:
            lane._acknowledge()
            lane._catch_up()
            while not self.dead and lane._held_bytes() <= self.world.plan.setup.held_max:
                batch = self.agent.read(0.0)
                if batch is None:
                    break
                lane._process(batch)
        except ProducerClosed:
            pass
        except SpoolError:
            self.trouble = True
            self.die(power=False, why="the pipeline cannot go on: the disk fails")

    def read_from_source(self, contents: list[dict[str, Any]]) -> None:
        """The agent has read these, perhaps again."""
        for content in contents:
            if content["n"] in self.world.oracle.messages:
                self.world.saw("read again")
            self.world.oracle.attempted(Told(content["n"], content["k"], content["bad"], content, "source"))
        self.tell("read", [content["n"] for content in contents])

    def fed(self, receipt: Receipt, payload: bytes) -> None:
        """The lane has handed these over."""
        numbers = [orjson.loads(line)["n"] for line in payload.split(b"\n")]
        self._taken_in += len(numbers)
        self._took(receipt, numbers)
        if receipt.state is State.STORED and self._doubtful:  # a sync brings everything before it to the disk as well
            self.world.oracle.stored_after_all(self._doubtful)
            self._doubtful = []
        self.tell("fed", numbers)

    def fed_in_vain(self, receipt: Receipt | None, payload: bytes) -> None:
        """The disk has refused these; with a `receipt` they wait all the same, but perhaps in memory only."""
        self.trouble = True
        numbers = [orjson.loads(line)["n"] for line in payload.split(b"\n")]
        if receipt is not None:
            self._taken_in += len(numbers)
            self._doubtful += numbers
            self.world.saw("fed in doubt")
            for number, message_id in zip(numbers, receipt.message_ids, strict=True):
                told = self.world.oracle.messages[number]
                told.status = "accepted"
                self.world.oracle.accepted(told, message_id, "memory")
            self._receipts += [(receipt, numbers)] if self.world.plan.setup.holds else []
        self.tell("fed in vain", receipt is not None, numbers)

    def acknowledged(self, contents: list[dict[str, Any]]) -> None:
        """The source need not keep these any more."""
        self._note_drops()
        for content in contents:
            told = self.world.oracle.messages[content["n"]]
            told.acknowledged = True
            if not (told.settled or (told.level != "memory" and told.status == "accepted")):
                self.world.fail(f"message {told.number} of the source was acknowledged and is neither delivered nor put aside")

    @property
    def caught_up(self) -> bool:
        """Whether nothing is pending and everything that was read is acknowledged."""
        done = not self.lane._tracker.outstanding and self.agent.position == len(self.world.source.batches)
        return not self.producer.closed and self.producer.statistics().pending == 0 and done

    # --- what must hold at every moment -------------------------------------------------------------------------------

    def check(self) -> None:
        """The ledger adds up, and says what the oracle says."""
        if self.dead:
            return
        now = self.producer.statistics()
        if now.accepted != now.delivered + now.dead_lettered + now.dropped + now.pending or now.pending != now.queue_messages:
            self.world.fail(f"the ledger does not add up: {now}")
        self._note_drops()
        restored = self._still_restored(now)
        if restored < self.restored - self.world.drops and not (self.trouble or self.world.forgetful):
            self.world.fail(f"{self.restored - restored} messages cannot be read any more, and the disk has never failed")
        counted = {
            "accepted": (now.accepted, restored + self._taken_in),
            "delivered": (now.delivered, self._confirmed),
            "dead-lettered": (now.dead_lettered, self._letters),
        }
        for what, (said, seen) in counted.items():
            if said != seen:
                self.world.fail(f"the statistics say {said} {what}, there were {seen}")
        counts = not (self.trouble or self.world.forgetful)
        if counts and self._repeated > now.possible_duplicates:
            self.world.fail(
                f"{self._repeated} messages were delivered again, the statistics say {now.possible_duplicates} possible duplicates"
            )
        self._check_bounds(now)

    def _still_restored(self, now: ProducerStatistics) -> int:
        """What came from the last process: fewer than first told if some cannot be read."""
        if self.world.plan.setup.queue != "spill":
            return getattr(self.queue, "restored", 0)
        return now.accepted - self._taken_in if self.trouble or self.world.forgetful else self.restored

    def _check_bounds(self, now: ProducerStatistics) -> None:
        setup = self.world.plan.setup
        if setup.queue == "memory" and (now.queue_messages_max > setup.max_messages or now.queue_bytes_max > setup.max_bytes):
            self.world.fail(f"the queue held {now.queue_messages_max} messages of {now.queue_bytes_max} bytes")

    def _note_drops(self) -> None:
        """The receipts say which messages were dropped; of those of former lives nobody holds one."""
        dropped = self.producer.statistics().dropped
        if dropped == self.drops:
            return
        self.drops = dropped
        self.world.saw("dropped")
        known = 0
        for receipt, numbers in self._receipts:
            mine = receipt.counts["dropped"]
            known += mine
            for number in numbers[len(numbers) - mine :]:
                self.world.oracle.messages[number].dropped = True
        self.world.anonymous_drops[self.number] = dropped - known

    def take_back(self, report: ShutdownReport) -> None:
        """Messages that the shutdown has handed back are the caller's again."""
        if report.messages:
            self.world.saw("handed back")
        for message in report.messages:
            self.world.oracle.messages[message.content()["n"]].handed_back = True

    def tell(self, what: str, *details: object) -> None:
        """Into the history."""
        self.world.tell(self.number, what, *details)
