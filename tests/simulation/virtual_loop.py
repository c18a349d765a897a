"""An event loop in virtual time: while it waits, what is planned happens, in the one thread that there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.simulation.virtual_clock import VirtualClock

TURNS_AT_ONCE = 100
"""Turns in a row in no time; later ones take some, as they really do: else a timer that is due within the resolution of the loop's
clock, and is set again by somebody who finds that its time has not come, would be due for ever."""

SPIN_LIMIT = 20_000
"""Turns in a row without a wait; more is a task that spins."""


class VirtualLoop(asyncio.BaseEventLoop):
    """`between` is called between two turns, when every task stands still, with whether the loop is about to wait; what it raises
    ends the loop."""

    def __init__(self, clock: VirtualClock, between: Callable[[bool], object]) -> None:
        super().__init__()
        self._selector = self  # of a selector, the base class needs `select` only
        self._virtual = clock
        self._between = between
        self._turns = 0
        self._tasks_made = 0
        self.set_task_factory(self._numbered)
        self.set_exception_handler(lambda loop, context: None)  # what a task of a dead process raises when it is cancelled

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._virtual.now

    def select(self, timeout: float | None) -> list[Any]:
        """Wait, at most `timeout` seconds; nothing ever comes from outside."""
        waits = timeout is None or timeout > 0
        self._between(waits)
        self._turns = 0 if waits else self._turns + 1
        if self._turns > TURNS_AT_ONCE:
            self._virtual.advance_alone(1e-6)
        if self._turns > SPIN_LIMIT:
            raise RuntimeError("the event loop spins: tasks go on and on and no time passes")
        if waits:
            self._virtual.wait(None, timeout)
        return []

    def _process_events(self, events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        self._virtual.wake()

    def _numbered(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **details: Any) -> Any:
        self._tasks_made += 1
        return _Task(self._tasks_made, coroutine, loop, **details)


class _Task(asyncio.Task[Any]):
    """Sets of tasks, which asyncio and the worker go through, have the same order in every process."""

    def __init__(self, number: int, coroutine: Any, loop: asyncio.AbstractEventLoop, **details: Any) -> None:
        self._number = number
        super().__init__(coroutine, loop=loop, **details)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other
