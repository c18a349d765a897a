"""One connection to a broker with one channel in confirm mode, driven from the producer's worker thread by turns of its loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop

from standpipe.producers.rabbitmq_errors import ConnectTimeout, root_of

TURN = 0.1
"""Seconds at most between two looks at the deadline, and at whether anybody still waits, while a connection is opened."""

FAREWELL = 0.5
"""Seconds that the broker gets to answer a polite close; it takes milliseconds unless it is frozen."""

BUFFERED_MAX = 4 * 2**20
"""Bytes that wait for the socket before no more messages are taken: several round trips' worth on a fast network."""

Step = Callable[[Any, Callable[[Any], None]], Any]
"""What is asked of the broker before the link is ready: gets the channel, and a callback for the answer."""


class Link:
    """A connection; made for one `open`. Everything but `wake` is for one thread."""

    def __init__(self, parameters: Any, on_lost: Callable[[BaseException], None], on_blocked: Callable[[str | None, float], None]) -> None:
        """`on_lost` is called once, with the reason, when an open link can carry no more messages; `on_blocked` with the reason
        when the broker stops taking messages, and with None and for how many seconds it did not when it takes them again."""
        self._parameters = parameters
        self._on_lost = on_lost
        self._on_blocked = on_blocked
        self._loop = IOLoop()
        self._loop.activate_poller()
        self._connection: Any = None
        self._steps: Iterator[Step] = iter(())
        self._ready = False
        self._ended = False
        self._buffered = 0
        self._moved_at = 0.0
        self.channel: Any = None
        self.lost: BaseException | None = None
        """why it is of no use any more"""
        self.blocked_since: float | None = None
        """since when the broker takes no messages"""

    # --- opening ------------------------------------------------------------------------------------------------------

    def open(self, steps: Iterable[Step], timeout: float, given_up: Callable[[], bool]) -> None:
        """Connect, log in, open the channel, take `steps` one after another. Raises what went wrong, ConnectTimeout among it."""
        # pika keeps the same time for the login itself, and ends more gracefully than an abort of ours would.
        until = time.monotonic() + timeout + TURN
        self._steps = iter(steps)
        self._connection = pika.SelectConnection(
            self._parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_end,
            on_close_callback=self._on_end,
            custom_ioloop=self._loop,
        )
        while not self._ready:
            if self.lost is not None:
                raise self.lost
            left = until - time.monotonic()
            if left <= 0 or given_up():
                raise ConnectTimeout(f"not connected within connect_timeout ({timeout:g} s)")
            self.turn(min(left, TURN))

    def _on_open(self, connection: Any) -> None:
        connection.add_on_connection_blocked_callback(self._on_connection_blocked)
        connection.add_on_connection_unblocked_callback(self._on_connection_unblocked)
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        self.channel = channel
        channel.add_on_close_callback(lambda _, reason: self._lose(reason))
        self._step()

    def _step(self, _: Any = None) -> None:
        step = next(self._steps, None)
        if step is None:
            self._ready = True
        else:
            step(self.channel, self._step)

    # --- what happens -------------------------------------------------------------------------------------------------

    def _lose(self, reason: BaseException) -> None:
        if self.lost is None:
            self.lost = root_of(reason)
            if self._ready:
                self._on_lost(self.lost)

    def _on_end(self, _: Any, reason: BaseException) -> None:
        self._ended = True
        self._lose(reason)

    def _on_connection_blocked(self, _: Any, method: Any) -> None:
        if self.blocked_since is None:
            self.blocked_since = time.monotonic()
            self._on_blocked(str(method.method.reason), 0.0)

    def _on_connection_unblocked(self, _: Any, method: Any) -> None:
        self._moved_at = time.monotonic()
        since, self.blocked_since = self.blocked_since, None
        if since is not None:
            self._on_blocked(None, self._moved_at - since)

    # --- use ----------------------------------------------------------------------------------------------------------

    @property
    def frame_max(self) -> int:
        """Bytes of the largest frame, as agreed with the broker."""
        return int(self._connection.params.frame_max)

    @property
    def server(self) -> dict[str, Any]:
        """What the broker says of itself."""
        return self._connection.server_properties or {}

    def write(self, data: bytes) -> None:
        """Hand whole frames to the socket, in the order of the calls."""
        # There is no public way to write several frames at once; this is what `basic_publish` ends in, one by one.
        self._connection._output_marshaled_frames([data])

    def turn(self, seconds: float) -> None:
        """Let the connection work, until something has happened, at most so many seconds; 0: only what is there already."""
        timer = self._loop.call_later(seconds, _nothing)  # bounds the wait
        try:
            self._loop.poll()
            self._loop.process_timeouts()
        finally:
            self._loop.remove_timeout(timer)

    def wake(self) -> None:
        """End the turn that is going on, or the next one, at once. Any thread."""
        self._loop.add_callback_threadsafe(_nothing)

    @property
    def full(self) -> bool:
        """Whether so much waits for the socket that nothing should be added."""
        return bool(self._waiting() > BUFFERED_MAX)

    def stuck_for(self) -> float:
        """Seconds for which the socket has taken nothing although much waits for it; not while the broker has asked for that."""
        waiting, now = self._waiting(), time.monotonic()
        if waiting <= BUFFERED_MAX or waiting != self._buffered or self.blocked_since is not None:
            self._moved_at = now
        self._buffered = waiting
        return now - self._moved_at

    def _waiting(self) -> int:
        transport = self._connection._transport
        return 0 if transport is None else int(transport.get_write_buffer_size())

    # --- closing ------------------------------------------------------------------------------------------------------

    def close(self, *, politely: bool) -> None:
        """Close; what the broker still says before that is heard. Not politely: at once, so that nothing more is sent."""
        with contextlib.suppress(Exception):
            if politely and self._ready and self.lost is None:
                self._connection.close()
                self._run_until_ended(FAREWELL)
        with contextlib.suppress(Exception):
            self._abort()
        self._loop.close()

    def _abort(self) -> None:
        connection = self._connection
        if connection is None or self._ended or connection.is_closed:
            return
        if not self._ready and not connection.is_open and not connection.is_closing:
            connection.close()  # which does not wait while it is being opened
        else:
            # There is no public way to hang up; this is what pika itself does when the heartbeats stop.
            connection._terminate_stream(ConnectionResetError("hung up"))
        self._run_until_ended(TURN)

    def _run_until_ended(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._ended and (left := until - time.monotonic()) > 0:
            self.turn(left)


def _nothing() -> None:
    """A turn of the loop ends with whatever happens, this too."""
