"""One run: the clock, the disk, the destination and the source, and process after process among them."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from standpipe.producers import spilling_queue, spooled_queue
from standpipe.spool import positions
from standpipe.testing.crashing_files import Stopped
from tests.simulation.damage import flip, places
from tests.simulation.destination import Destination, Fault
from tests.simulation.disk import Storage
from tests.simulation.letters import Letters
from tests.simulation.oracle import Oracle, Told
from tests.simulation.plan import HORIZON, NUMBERS_EACH, Event, Plan, Setup, draw
from tests.simulation.process import Process, make_config
from tests.simulation.source import Source
from tests.simulation.virtual_clock import VirtualClock

TURN = 0.5
"""Seconds between the turns of the lane."""

SHUTDOWN_MAX = 60.0
"""Seconds after the end of a shutdown's time: more than the slowest send takes."""

HEALING = 120.0
"""Seconds after the last fault within which everything has to be delivered: the longest waits for a connection, twice, and what
the messages themselves take."""

_LOGS = [logging.getLogger(f"standpipe.{room}") for room in ("delivery", "spool", "pipelines")]


class Failure(AssertionError):
    """Something that must hold does not."""


class World:
    """See above. `run` plays the plan; `failure` says what went wrong."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.config = make_config(plan.setup)
        self.clock = VirtualClock()
        self.history: list[tuple[object, ...]] = []
        self.seen: Counter[str] = Counter()
        self.failure: str | None = None
        self.destination = Destination(plan.seed)
        self.source = Source()
        self.letters = Letters(self)
        self.oracle = Oracle(plan.setup.ordering, self.fail)
        self.process: Process | None = None
        self.forgetful = False  # a process died, and the disk had failed or lost its power: what was noted may be gone
        self.cuts_power = False  # the planned end of the process takes the power with it
        self.anonymous_drops: dict[int, int] = {}
        self.drops = 0  # of former processes: what was dropped and not noted counts as waiting until its place is read
        self.lives = 0
        self._disk = Storage(plan.seed, forgets=plan.setup.forgets)
        self._damages: list[tuple[float, float, int]] = []
        self._dies_again: int | None = None
        self._give_up_at = 0.0
        self._over = False
        self._start_at: float | None = 0.0
        self._down = 0.0
        self._expected: int | None = None  # the backlog that the last shutdown has left
        self._jitters = 0

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Play the plan, heal everything, and see that nothing is missing."""
        for event in self.plan.events:
            self._plan(event.at, lambda event=event: self._happen(event))  # type: ignore[misc]
        self._plan(HORIZON, self._heal)
        self._plan(TURN, self._turn)
        if self.plan.setup.queue in ("written", "synced"):
            self._plan(self.plan.setup.sync_interval, self._sync)
        try:
            with _small(self.plan.setup), self._listening():
                while not (self._over or self.failure):
                    self._step()
            if not self.failure:
                self._guarded(self._final_check)
        finally:
            self.letters.remove()

    def _step(self) -> None:
        if self.process is not None:
            self._live(self.process)
        elif self._start_at is not None and self.clock.now >= self._start_at:
            self._start()
        else:
            idle = threading.Condition()
            with idle:
                self.clock.wait(idle, None if self._start_at is None else self._start_at - self.clock.now)

    def _start(self) -> None:
        self._start_at, self.lives = None, self.lives + 1
        process = self.process = Process(self, self.lives, self._disk)
        process.tell("starts")
        process.trouble = self._disk.failing
        if self._dies_again is not None:
            self._disk.stop_after(self._dies_again)
            self._dies_again = None
        try:
            opened = process.open()
        except Stopped:
            return self._died(process)
        if not opened:
            return self._restart(process, 1.0)
        # After a power cut a message counts until its place is read of which only the note is gone that it was settled.
        missing = 0 if self._expected is None else self._expected - process.restored
        if missing < 0 or (missing > 0 and not self.forgetful):
            self.fail(f"the last shutdown left {self._expected} messages in the spool, this start finds {process.restored}")
        self._expected = None
        if self.plan.setup.queue != "memory" and not self._disk.failing:
            self._all_stored()
        return None

    def _all_stored(self) -> None:
        if self.plan.setup.queue == "spill":
            self.oracle.kept()
        else:
            self.oracle.synced()

    def _live(self, process: Process) -> None:
        report = process.live()
        if process.dead or report is None:
            return self._died(process)
        process.take_back(report)
        self.oracle.unsettled_drops = sum(self.anonymous_drops.values())
        self.saw("shut down")
        if self.plan.setup.queue != "memory" and not (process.trouble or self._disk.failing):
            self._expected = report.spooled
            self._all_stored()
        elif self.plan.setup.queue != "memory":
            self.oracle.process_died(power=False, in_doubt=None)
            self.forgetful = True
        return self._restart(process, self._down)

    def _died(self, process: Process) -> None:
        process.die(power=False, why="")
        self.oracle.unsettled_drops = sum(self.anonymous_drops.values())
        power = process.power_cut and self.plan.setup.queue != "memory"
        self.oracle.process_died(power=power, in_doubt=process.in_doubt())
        process.bury()
        self.forgetful = self.forgetful or power or process.trouble
        self._restart(process, self._down)

    def _restart(self, process: Process, seconds: float) -> None:
        self.drops += process.drops
        self._disk = process.disk.next(power=process.power_cut)
        self.letters.process_ended(power=process.power_cut, dead=process.dead)
        self._damage()
        self.process = None
        self.cuts_power = False
        self.destination.dies_at = None
        self._start_at = self.clock.now + seconds

    def _final_check(self) -> None:
        self.oracle.nothing_is_missing(self.source.numbers())
        self.letters.check()
        if self.plan.setup.queue != "memory":
            last = Process(self, self.lives + 1, self._disk)
            opened = last.open()
            with last.queue.lock:
                waiting = len(last.queue)  # what is damaged is not known to be before it is read
            if not opened or waiting or last.queue.messages:
                self.fail(f"everything is settled, and {last.queue.messages} messages are still in the spool")
            last.die(power=False, why="over")
            last.bury()
            self.letters.process_ended(power=False, dead=True)

    # --- events -------------------------------------------------------------------------------------------------------

    def _plan(self, at: float, action: Callable[[], object]) -> None:
        self.clock.at(at, lambda: self._guarded(action))

    def _guarded(self, action: Callable[[], object]) -> None:
        """What goes wrong in an event must not be taken for a fault of the engine, which runs around it."""
        try:
            if self.failure is None:
                action()
        except Stopped:
            pass
        except BaseException as error:
            if self.failure is None:
                self.failure = f"{type(error).__name__}: {error}"
        if self.failure is not None and self.process is not None:
            self.process.die(power=False, why="something is wrong")

    def _happen(self, event: Event) -> None:
        self.tell(0, event.kind, sorted(event.details.items()))
        getattr(self, "_do_" + event.kind.replace(" ", "_"))(event, **event.details)
        if self.process is not None and not self.process._sending:
            self.process.check()

    def _do_produce(self, event: Event, **details: Any) -> None:
        if self.process is not None:
            self.process.produce(_messages(event, "caller", **details), details.get("together", False))

    def _do_lines(self, event: Event, **details: Any) -> None:
        self.source.batches.append([told.content for told in _messages(event, "source", **details)])
        self._turn_once()

    def _do_fault(self, event: Event, what: str, seconds: float, share: float, value: float) -> None:
        self.destination.faults.append(Fault(what, self.clock.now + seconds, share, value, event.index))

    def _do_jump(self, event: Event, seconds: float) -> None:
        self.clock.jump_wall(seconds)

    def _do_letters_fail(self, event: Event, seconds: float) -> None:
        self.letters.fails_until = self.clock.now + seconds

    def _do_shutdown(self, event: Event, down: float, timeout: float) -> None:
        if self.process is not None:
            self._down = down
            self.process.producer.shutdown(timeout=timeout)
            self.clock.wake()

    def _do_kill(self, event: Event, down: float, again: int | None = None) -> None:
        self._end(down, again, power=False)

    def _do_power_cut(self, event: Event, down: float, again: int | None = None) -> None:
        self._end(down, again, power=True)

    def _end(self, down: float, again: int | None, *, power: bool) -> None:
        if self.process is not None:
            self._down, self._dies_again = down, again
            self.process.die(power=power, why="")

    def _do_kill_at_send(self, event: Event, down: float, after: int, again: int | None = None) -> None:
        self._down, self._dies_again = down, again
        self.destination.dies_at = after

    def _do_kill_at_step(self, event: Event, down: float, after: int, again: int | None = None) -> None:
        self._down, self._dies_again, self.cuts_power = down, again, event.kind.startswith("power")
        if self.process is not None:
            self.process.disk.stop_after(after)

    _do_power_cut_at_step = _do_kill_at_step

    def _do_kill_after(self, event: Event, down: float, action: str, steps: int, again: int | None = None) -> None:
        self._down, self._dies_again, self.cuts_power = down, again, event.kind.startswith("power")
        if self.process is not None:
            self.process.disk.stop_after_next(action, steps)

    _do_power_cut_after = _do_kill_after

    def _do_kill_at_letter(self, event: Event, down: float, after: int, again: int | None = None) -> None:
        self._down, self._dies_again = down, again
        self.letters.dies_at, self.letters.cuts_power = after, event.kind.startswith("power")

    _do_power_cut_at_letter = _do_kill_at_letter

    def _do_damage(self, event: Event, down: float, which: float, where: float, bit: int) -> None:
        self._damages.append((which, where, bit))
        if self.process is None:
            self._damage()
        self._end(down, None, power=False)

    def _damage(self) -> None:
        """Bits flip while no process runs."""
        damages, self._damages = self._damages, []
        if self.plan.setup.queue not in ("written", "synced"):  # nowhere else it is certain what became of which message
            return
        for which, where, bit in damages:
            (files,) = self._disk.folders.values()
            found = places(files)
            if not found:
                continue
            place = found[int(which * len(found))]
            numbers = [orjson.loads(line)["n"] for line in place.record.payload.split(b"\n")]
            payloads = flip(files, place, where, bit)
            if payloads is not None:
                self.tell(0, "damaged", numbers)
                self.saw("damaged")
                self.oracle.damage(numbers, place.ids(), payloads)

    def _do_disk_full(self, event: Event, seconds: float) -> None:
        self._disk_now.fill()
        self._disk_trouble(seconds)

    def _do_disk_fails(self, event: Event, seconds: float, action: str, times: int | None) -> None:
        self._disk_now.fail(action, times)
        self._disk_trouble(seconds)

    def _disk_trouble(self, seconds: float) -> None:
        if self.process is not None:
            self.process.trouble = True
        self._plan(self.clock.now + seconds, self._heal_disk)

    def _do_write_back(self, event: Event) -> None:
        if self.process is not None:
            self.process.disk.write_back()

    @property
    def _disk_now(self) -> Storage:
        return self.process.disk if self.process is not None else self._disk

    def _heal_disk(self) -> None:
        self._disk_now.heal()

    # --- what goes on all the time ------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._plan(self.clock.now + TURN, self._turn)
        self._turn_once()
        stop_at = self.process.engine.stop_at if self.process is not None else None
        if stop_at is not None and self.clock.now > stop_at + SHUTDOWN_MAX:
            self.fail("the time for the shutdown is long over, and the worker has not ended")

    def _turn_once(self) -> None:
        if self.process is not None and not self.process.dead:
            self.process.turn()

    def _sync(self) -> None:
        self._plan(self.clock.now + self.plan.setup.sync_interval, self._sync)
        process = self.process
        if process is None or process.dead:
            return
        if process.queue._sync_now():
            self.oracle.synced()
        else:
            process.trouble = True

    def _heal(self) -> None:
        """Everything works from here on; the process, if it is down or about to end, comes back."""
        self.tell(0, "healed")
        self.destination.heal()
        self.letters.heal()
        self._heal_disk()
        self._down, self._dies_again = 0.0, None
        if self.process is not None:
            self.process.disk.go_on()
        most = sum(len(event.details.get("keys", ())) for event in self.plan.events)
        self._give_up_at = self.clock.now + HEALING + 2 * most / (self.plan.setup.rate or 100.0)
        self._look()

    def _look(self) -> None:
        """Whether everything has arrived by now."""
        if self.process is not None and self.process.caught_up:
            self._over = True
            self.process.producer.shutdown(timeout=10.0)
            self.clock.wake()
        elif self.clock.now > self._give_up_at:
            now = self.process.producer.statistics() if self.process is not None else None
            self.fail(f"everything works, and not everything is delivered: {now}")
        else:
            self._plan(self.clock.now + 2.0, self._look)

    # --- telling ------------------------------------------------------------------------------------------------------

    def fail(self, text: str) -> None:
        """Something that must hold does not."""
        if self.failure is None:
            self.failure = text
            self.tell(0, "WRONG", text)
        raise Failure(text)

    def tell(self, life: int, what: str, *details: object) -> None:
        """One line of the history."""
        self.history.append((round(self.clock.now, 6), life, what, *details))

    def saw(self, what: str) -> None:
        """Something worth knowing that it happened at all."""
        self.seen[what] += 1

    def digest(self) -> str:
        """The history as a number: two runs that did the same have the same."""
        return hashlib.sha256(repr(self.history).encode()).hexdigest()

    def jitter(self) -> float:
        """A share for a random delay."""
        self._jitters += 1
        return draw(self.plan.seed, self._jitters, 7)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """A fault of the worker itself goes to the log and nowhere else. Nobody else listens: a record that is kept, as pytest
        keeps them, keeps receipts alive through the traceback of its error, and who holds receipts is a part of the history."""
        handler = _Listener(self)
        usual = [(log, log.level, log.propagate) for log in _LOGS]
        for log in _LOGS:
            log.setLevel(logging.CRITICAL)
            log.propagate = False
            log.addHandler(handler)
        try:
            yield
        finally:
            for log, level, propagates in usual:
                log.removeHandler(handler)
                log.propagate = propagates
                log.setLevel(level)


class _Listener(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__(logging.CRITICAL)
        self.world = world

    def emit(self, record: logging.LogRecord) -> None:
        """An internal error is one unless the process is dead: what is left of it may stumble."""
        process = self.world.process
        if process is not None and process.loop_ends and "event loop" in record.getMessage():
            process.loop_ends = False
        elif process is not None and not process.dead and self.world.failure is None:
            self.world.failure = f"{record.getMessage()}: {record.exc_info and record.exc_info[1]!r}"
            process.die(power=False, why="something is wrong")


def _messages(
    event: Event, source: str, keys: list[str | None], bad: bool, size: int, poison: str | None = None, **rest: Any
) -> list[Told]:
    made = []
    for place, key in enumerate(keys):
        number = event.index * NUMBERS_EACH + place
        content: dict[str, Any] = {"n": number, "k": key, "bad": bad, "pad": "x" * size}
        if poison is not None and place == 0:
            content["poison"] = poison
        told = Told(number, key, bad, content, source)
        if rest.get("own") and source == "caller":
            told.given_id, told.headers = f"own-{number}", {"number": str(number // NUMBERS_EACH)}
        made.append(told)
    return made


@contextmanager
def _small(setup: Setup) -> Iterator[None]:
    """Windows so small that a handful of messages passes through every one of them."""
    sizes: dict[tuple[Any, str], Any] = {
        (spooled_queue, "WINDOW_BYTES"): setup.window_bytes,
        (spooled_queue, "READ_BYTES"): setup.read_bytes,
        (spilling_queue, "READ_BYTES"): setup.read_bytes,
        (positions, "JOURNAL_MAX"): setup.journal_max,
    }
    usual = {place: getattr(*place) for place in sizes}
    try:
        for (module, name), value in sizes.items():
            setattr(module, name, value)
        yield
    finally:
        for (module, name), value in usual.items():
            setattr(module, name, value)
