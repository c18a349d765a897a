"""Faults put into a producer from outside: its own methods fail, hang or are called again, as a test says, and every call is noted.

Nothing in the producer's code changes: `faulty_class` makes a subclass whose methods go through a `Faults` object.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from standpipe.delivery.report import Report
from standpipe.producers.base import BaseProducer

Method = Literal["connect", "send", "close"]

SENDING = ("_send", "_send_batch", "_submit")
"""The methods that hand over messages: whichever of them a producer has stands for `send`."""

HISTORY_MAX = 400
"""Lines of history kept: enough to see how a failure came about, and no growth in a test of a million calls."""
HANG_MAX = 60.0
"""Seconds after which a hang that nobody releases ends by itself with an error, so that no thread hangs for ever."""
LOOK_SECONDS = 0.005
"""Seconds between two looks of a coroutine that hangs at whether it may go on."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one of the producer's methods."""

    number: int
    """counted over all calls, from 0"""
    method: Method
    thread: int
    process: int
    messages: tuple[dict[str, Any], ...] = ()
    """what is to be sent, decoded"""
    report: Report | None = None
    """of a producer that writes `_submit`: where a fault can say what became of single messages"""
    nested: bool = False
    """made by another of these methods: no fault is put in once more"""


@dataclass
class _Planned:
    when: Literal["before", "after"]
    method: Method
    error: BaseException
    times: int


class Hang:
    """A call that hangs until `release()`."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self._entered = threading.Event()
        self._released = threading.Event()

    def wait_entered(self, timeout: float = 10.0) -> bool:
        """Wait until a call hangs, at most `timeout` seconds; False if none does."""
        return self._entered.wait(timeout)

    def release(self) -> None:
        """Let it go on, and every later call too."""
        self._released.set()

    def _block(self) -> None:
        self._entered.set()
        if not self._released.wait(HANG_MAX):
            raise TimeoutError(f"nobody released the hanging {self.method} within {HANG_MAX:g} s")

    async def _block_async(self) -> None:
        self._entered.set()
        end = time.monotonic() + HANG_MAX
        while not self._released.is_set():
            if time.monotonic() > end:
                raise TimeoutError(f"nobody released the hanging {self.method} within {HANG_MAX:g} s")
            await asyncio.sleep(LOOK_SECONDS)


class Faults:
    """What goes wrong in the calls of one producer, and what was called. All methods may be called from any thread.

        faults = Faults()
        producer = faulty_class(MyProducer, faults)(config)
        faults.fail("send", ConnectionError("gone"), times=2)
        hang = faults.hang("connect")

    `before` and `after`, if set, are asked before and after each real call, with the `Call`, and may raise. An error raised
    after the real call is a lost answer: the message may have arrived.
    """

    def __init__(self) -> None:
        self.before: Callable[[Call], object] | None = None
        self.after: Callable[[Call], object] | None = None
        self.closes = 1
        """How often the real `_close` is called for each call of it."""
        self.counts: dict[Method, int] = {"connect": 0, "send": 0, "close": 0}
        """Calls so far."""
        self.violations: list[str] = []
        """Calls that came from a second thread or at the same time as another one."""
        self.raised: list[tuple[Method, BaseException]] = []
        """What the producer's own code raised; what was put in is not here."""
        self.history: deque[str] = deque(maxlen=HISTORY_MAX)
        self.worker: int | None = None
        """The thread of the first call."""
        self._planned: list[_Planned] = []
        self._hangs: list[Hang] = []
        self._numbers = itertools.count()
        self._active: dict[int, tuple[Method, tuple[int, int]]] = {}
        self._began = time.monotonic()
        self._process = os.getpid()

    # --- for the test -------------------------------------------------------------------------------------------------

    def fail(self, method: Method, error: BaseException, *, times: int = 1, when: Literal["before", "after"] = "before") -> None:
        """Let the next `times` calls raise `error`, before the real call or after it."""
        self._planned.append(_Planned(when, method, error, times))

    def hang(self, method: Method) -> Hang:
        """Let the next calls hang, before the real one, until `release` is called on what is returned."""
        hang = Hang(method)
        self._hangs.append(hang)
        return hang

    def heal(self) -> None:
        """No more faults; what hangs goes on."""
        self.before = self.after = None
        self.closes = 1
        self._planned.clear()
        hangs, self._hangs = self._hangs, []
        for hang in hangs:
            hang.release()

    def note(self, text: str) -> None:
        """Add a line to the history."""
        self.history.append(f"{time.monotonic() - self._began:8.3f} s  {text}")

    def lines(self) -> list[str]:
        """The history, oldest first, with the seconds since the beginning."""
        return list(self.history)

    # --- for the producer ---------------------------------------------------------------------------------------------

    def _enter(self, method: Method, arguments: tuple[Any, ...]) -> Call:
        messages = _messages(arguments)
        report = arguments[1] if len(arguments) == 2 and isinstance(arguments[1], Report) else None
        nested = _context() in [where for _, where in list(self._active.values())]
        call = Call(next(self._numbers), method, threading.get_ident(), os.getpid(), messages, report, nested)
        self.counts[method] += 1
        self._check(call)
        self._active[call.number] = (method, _context())
        self.note(f"{_here()} _{method}{_named(messages)}")
        return call

    def _check(self, call: Call) -> None:
        if call.process != self._process:  # a fork: the child has a worker of its own
            self._process, self.worker = call.process, None
            self._active.clear()
        if self.worker is None:
            self.worker = call.thread
        elif self.worker != call.thread:
            self.violations.append(f"_{call.method} was called from thread {_here()}, which is not the worker")
        here = _context()
        for other, where in list(self._active.values()):
            if where != here and not (other == call.method == "send" and where[0] == here[0]):
                self.violations.append(f"_{call.method} was called while _{other} was not over")

    def _fault(self, when: Literal["before", "after"], call: Call) -> None:
        if call.nested:
            return
        asked = self.before if when == "before" else self.after
        if asked is not None:
            asked(call)
        for planned in self._planned:
            if planned.when == when and planned.method == call.method and planned.times:
                planned.times -= 1
                raise planned.error

    def _hanging(self, call: Call) -> list[Hang]:
        return [] if call.nested else [hang for hang in self._hangs if hang.method == call.method]

    @contextmanager
    def _called(self, method: Method, arguments: tuple[Any, ...]) -> Iterator[Call]:
        """Around a call: notes it, and how it ended."""
        call = self._enter(method, arguments)
        outcome = "returned"
        try:
            yield call
        except BaseException as error:
            outcome = f"raised {type(error).__name__}: {error}"
            raise
        finally:
            self._active.pop(call.number, None)
            self.note(f"{_here()} _{method} {outcome}")

    @contextmanager
    def _by_itself(self, method: Method) -> Iterator[None]:
        """Around the producer's own code: what it raises was not put in."""
        try:
            yield
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                self.raised.append((method, error))
            raise

    def _times(self, method: Method) -> int:
        return self.closes if method == "close" else 1


def faulty_class(kind: type[BaseProducer], faults: Faults) -> type[BaseProducer]:
    """A subclass of `kind`, of the same name, whose `_connect`, sending method and `_close` go through `faults`."""
    names: dict[str, Method] = {"_connect": "connect", "_close": "close", **dict.fromkeys(SENDING, "send")}
    wrapped: dict[str, Any] = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__qualname__": kind.__qualname__}
    for name, method in names.items():
        original = getattr(kind, name, None)
        if original is not None and original is not getattr(BaseProducer, name, None):
            wrapped[name] = (_asynchronous if inspect.iscoroutinefunction(original) else _ordinary)(original, method, faults)
    return type(kind.__name__, (kind,), wrapped)


def _ordinary(original: Callable[..., Any], method: Method, faults: Faults) -> Callable[..., Any]:
    def called(self: BaseProducer, *arguments: Any) -> Any:
        with faults._called(method, arguments) as call:
            for hang in faults._hanging(call):
                hang._block()
            faults._fault("before", call)
            for _ in range(faults._times(method)):
                with faults._by_itself(method):
                    result = original(self, *arguments)
            faults._fault("after", call)
            return result

    return called


def _asynchronous(original: Callable[..., Any], method: Method, faults: Faults) -> Callable[..., Any]:
    async def called(self: BaseProducer, *arguments: Any) -> Any:
        with faults._called(method, arguments) as call:
            for hang in faults._hanging(call):
                await hang._block_async()
            faults._fault("before", call)
            for _ in range(faults._times(method)):
                with faults._by_itself(method):
                    result = await original(self, *arguments)
            faults._fault("after", call)
            return result

    return called


def _messages(arguments: tuple[Any, ...]) -> tuple[dict[str, Any], ...]:
    """What a sending method was given: `(is_error, message)`, `(batch)` or `(batch, report)`."""
    if not arguments:
        return ()
    if isinstance(arguments[0], bool):
        return (arguments[1],)
    return tuple(arguments[0].contents())


def _context() -> tuple[int, int]:
    """Who is calling: the thread, and the task if there is one."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident(), id(task)


def _here() -> str:
    return threading.current_thread().name


def _named(messages: tuple[dict[str, Any], ...]) -> str:
    if not messages:
        return ""
    first = str(messages[0])
    shown = first if len(first) <= 60 else f"{first[:60]}..."
    return f" {shown}" if len(messages) == 1 else f" {len(messages)} messages from {shown}"
