"""One run: the clock, the disk, the destination and the source, and process after process among them."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from standpipe.core.dead_letter import DeadLetter
from standpipe.producers import spooled_queue
from standpipe.spool import positions
from standpipe.testing.crashing_files import Stopped
from tests.simulation.destination import Destination, Fault
from tests.simulation.disk import ProcessDisk
from tests.simulation.oracle import Oracle, Told
from tests.simulation.plan import HORIZON, NUMBERS_EACH, Event, Plan, Setup, draw
from tests.simulation.process import Process, make_config
from tests.simulation.source import Source
from tests.simulation.virtual_clock import VirtualClock

TURN = 0.5
"""Seconds between the turns of the lane."""

HEALING = 120.0
"""Seconds after the last fault within which everything has to be delivered: the longest waits for a connection, twice, and what
the messages themselves take."""

_log = logging.getLogger("standpipe.delivery")


class Failure(AssertionError):
    """Something that must hold does not."""


class Letters:
    """Dead letters, in a store that outlives the process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kept: list[DeadLetter] = []
        self.fails_until = 0.0

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these, or fail."""
        process, setup = self.world.process, self.world.plan.setup
        if process is None:
            raise Stopped
        process.alive()
        if self.world.clock.now < self.fails_until:
            raise OSError("the dead letters cannot be stored")
        for letter in letters:
            self.world.oracle.letter(letter, deadline=setup.deadline, max_resets=setup.max_resets)
        self.kept += letters
        process.put_aside(len(letters))
        process.tell("put aside", [letter.content()["n"] for letter in letters], letters[0].reason.value)
        self.world.saw(letters[0].reason.value)

    def __len__(self) -> int:
        return len(self.kept)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self.kept)


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
        self.lives = 0
        self._disk = ProcessDisk(plan.seed)
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
        if self.plan.setup.queue != "memory":
            self._plan(self.plan.setup.sync_interval, self._sync)
        with _small(self.plan.setup), self._listening():
            while not (self._over or self.failure):
                self._step()
        if not self.failure:
            self._guarded(self._final_check)

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
        process.trouble = self._disk_fails()
        if self._dies_again is not None:
            self._disk.stop_after(self._dies_again)
            self._dies_again = None
        try:
            opened = process.open()
        except Stopped:
            return self._died(process)
        if not opened:
            return self._restart(process, 1.0)
        if self._expected is not None and process.restored != self._expected:
            self.fail(f"the last shutdown left {self._expected} messages in the spool, this start finds {process.restored}")
        self._expected = None
        if self.plan.setup.queue != "memory" and not self._disk_fails():
            self.oracle.synced()
        return None

    def _live(self, process: Process) -> None:
        report = process.live()
        if process.dead or report is None:
            return self._died(process)
        process.take_back(report)
        self.saw("shut down")
        if self.plan.setup.queue != "memory" and not (process.trouble or self._disk_fails()):
            self._expected = report.spooled
            self.oracle.synced()
        elif self.plan.setup.queue != "memory":
            self.oracle.process_died(self.plan.setup.queue, power=False, in_doubt=None)
            self.forgetful = True
        return self._restart(process, self._down)

    def _died(self, process: Process) -> None:
        process.die(power=False, why="")
        power = process.power_cut and self.plan.setup.queue != "memory"
        self.oracle.process_died(self.plan.setup.queue, power=power, in_doubt=process.in_doubt())
        process.bury()
        self.forgetful = self.forgetful or power or process.trouble
        self._restart(process, self._down)

    def _restart(self, process: Process, seconds: float) -> None:
        self.oracle.unsettled_drops = sum(self.anonymous_drops.values())
        self._disk = process.disk.crash() if process.power_cut else process.disk.kill()  # type: ignore[assignment]
        self.process = None
        self.cuts_power = False
        self.destination.dies_at = None
        self._start_at = self.clock.now + seconds

    def _final_check(self) -> None:
        self.oracle.nothing_is_missing(self.source.numbers())
        if self.plan.setup.queue != "memory":
            last = Process(self, self.lives + 1, self._disk)
            opened = last.open()
            with last.queue.lock:
                waiting = len(last.queue)  # what is damaged is not known to be before it is read
            if not opened or waiting or last.queue.messages:
                self.fail(f"everything is settled, and {last.queue.messages} messages are still in the spool")
            last.die(power=False, why="over")
            last.bury()

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

    def _do_disk_full(self, event: Event, seconds: float) -> None:
        disk = self.process.disk if self.process is not None else self._disk
        disk.capacity = sum(map(len, disk.contents().values()))
        self._disk_trouble(seconds)

    def _do_disk_fails(self, event: Event, seconds: float, action: str, times: int | None) -> None:
        disk = self.process.disk if self.process is not None else self._disk
        disk.fail(action, times=times)
        self._disk_trouble(seconds)

    def _disk_trouble(self, seconds: float) -> None:
        if self.process is not None:
            self.process.trouble = True
        self._plan(self.clock.now + seconds, self._heal_disk)

    def _do_write_back(self, event: Event) -> None:
        if self.process is not None:
            self.process.disk.write_back()

    def _disk_fails(self) -> bool:
        return self._disk.capacity is not None or bool(self._disk._faults)

    def _heal_disk(self) -> None:
        disk = self.process.disk if self.process is not None else self._disk
        disk.heal()
        disk.capacity = None

    # --- what goes on all the time ------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._plan(self.clock.now + TURN, self._turn)
        self._turn_once()

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
        self.letters.fails_until = 0.0
        self._heal_disk()
        self._down, self._dies_again = 0.0, None
        if self.process is not None:
            self.process.disk._stop_at = None
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
        """A fault of the worker itself goes to the log and nowhere else."""
        handler = _Listener(self)
        level, propagates = _log.level, _log.propagate
        _log.setLevel(logging.CRITICAL)
        _log.propagate = False
        _log.addHandler(handler)
        try:
            yield
        finally:
            _log.removeHandler(handler)
            _log.propagate = propagates
            _log.setLevel(level)


class _Listener(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__(logging.CRITICAL)
        self.world = world

    def emit(self, record: logging.LogRecord) -> None:
        """An internal error is one unless the process is dead: what is left of it may stumble."""
        process = self.world.process
        if process is not None and not process.dead and self.world.failure is None:
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
    sizes: dict[tuple[Any, str], int] = {
        (spooled_queue, "WINDOW_BYTES"): setup.window_bytes,
        (spooled_queue, "READ_BYTES"): setup.read_bytes,
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
