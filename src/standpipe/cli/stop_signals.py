"""SIGTERM, SIGINT and SIGHUP as something that can be waited for.

A handler may interrupt any line of the main thread, also one that holds a lock, so ours only writes a byte into a pipe; the
main thread reads it when it is ready to.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """While it is open, the signals that ask a process to stop are counted instead of ending it. For the main thread.

    A signal that was ignored when the process was started (`nohup`, a shell's background job) stays ignored.
    """

    def __init__(self) -> None:
        self.received: list[signal.Signals] = []
        self._handlers: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._write(bytes([number]))

    def wake(self) -> None:
        """End the `wait` under way, or the next one, without a signal. From any thread."""
        self._write(b"\0")

    def _write(self, byte: bytes) -> None:
        with contextlib.suppress(OSError):  # full: it is going to be read anyway
            os.write(self._writer, byte)

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for a signal; True if one came."""
        ready = select.poll()
        ready.register(self._reader, select.POLLIN)
        ready.poll(seconds * 1000)
        with contextlib.suppress(BlockingIOError):
            new = [signal.Signals(number) for number in os.read(self._reader, 64) if number]
            self.received += new
            return bool(new)
        return False

    def let_through(self) -> None:
        """From now on these signals end the process, as if nobody had ever asked to hear of them."""
        for number in self._handlers:
            signal.signal(number, signal.SIG_DFL)
