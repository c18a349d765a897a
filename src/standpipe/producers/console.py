"""`type: console`: messages on the standard output, for people (`pretty`) or for programs (`jsonl`)."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import ClassVar, Literal, TextIO

from pydantic import Field

from standpipe.core.clock import Clock
from standpipe.core.errors import Disconnected, NotSent
from standpipe.core.finding import Finding, Severity
from standpipe.core.outcome import Outcome
from standpipe.delivery.batch import Batch
from standpipe.delivery.dead_letters import DeadLetters
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.config import DeadLettersConfig
from standpipe.producers.console_text import escaped, pretty
from standpipe.producers.record_fields import RecordFields

POLL_SECONDS = 1.0
"""How long to wait at a time for a reader that is slow; only matters where somebody made the output non-blocking."""


class ConsoleProducerConfig(BaseProducerConfig):
    """How messages are shown."""

    type: str = Field(default="console", description="`console`")
    format: Literal["pretty", "jsonl"] | None = Field(
        default=None, description="`pretty` for people, `jsonl` for programs; none: pretty on a terminal, jsonl elsewhere"
    )
    errors_to: Literal["stdout", "stderr"] = Field(
        default="stdout", description="where error messages go; on the same stream each record of `jsonl` has a field `is_error`"
    )
    # `standpipe run | head` must not leave on the disk what nobody wanted to see.
    dead_letters: DeadLettersConfig = Field(
        default=DeadLettersConfig(type="memory"), description="where messages that are put aside for good are kept; by default in memory"
    )


class ConsoleProducer(BaseProducer):
    """Writes messages to the standard output, and error messages to the standard error if wanted."""

    config_model: ClassVar[type[BaseProducerConfig]] = ConsoleProducerConfig
    # A batch is written in order and stops at the first failure.
    atomic_batches: ClassVar[bool] = True

    config: ConsoleProducerConfig

    def __init__(
        self,
        config: ConsoleProducerConfig,
        *,
        dead_letters: DeadLetters | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        """As every producer."""
        if not isinstance(config, ConsoleProducerConfig):
            raise TypeError(f"ConsoleProducer needs a ConsoleProducerConfig, not {type(config).__name__}")
        self._fields = RecordFields({"is_error": "is_error"} if config.errors_to == "stdout" else {})
        self._streams: tuple[_Stream, _Stream] | None = None
        super().__init__(config, dead_letters=dead_letters, clock=clock, jitter=jitter)

    @property
    def destination(self) -> str:
        """The streams."""
        return "stdout" if self.config.errors_to == "stdout" else "stdout, errors: stderr"

    def examine(self) -> list[Finding]:
        """Where the messages go is not ours to know."""
        text = "a message counts as delivered once it has been written; what the reader does with it is not known here"
        return [Finding(Severity.INFO, f"messages go to {self.destination}", text, "")]

    def _connect(self) -> None:
        normal = _Stream("stdout", sys.stdout)
        self._streams = (normal, normal if self.config.errors_to == "stdout" else _Stream("stderr", sys.stderr))

    def _send_batch(self, batch: Batch) -> list[Outcome | BaseException]:
        if self._streams is None:
            raise Disconnected("the console is not open", arrived=False)
        results: list[Outcome | BaseException] = list(batch.delivered())
        done = 0
        for stream, part in self._runs(batch, self._streams):
            written, error = stream.write(self._text(part, stream))
            done += written
            if error is not None:
                results[done:] = [error] * (batch.count - done)
                break
        return results

    def _runs(self, batch: Batch, streams: tuple[_Stream, _Stream]) -> Iterator[tuple[_Stream, Batch]]:
        """Messages in a row for the same stream, so that both streams on one terminal show them in order."""
        flags = batch.is_errors()
        if streams[0] is streams[1] or (not flags[0]) not in flags:
            yield streams[flags[0]], batch
            return
        start = 0
        for flag, run in groupby(flags):
            stop = start + len(list(run))
            yield streams[flag], batch.part(start, stop)
            start = stop

    def _close(self) -> None:
        self._streams = None

    def _text(self, batch: Batch, stream: _Stream) -> bytes:
        style = self.config.format or ("pretty" if stream.is_terminal else "jsonl")
        if style == "jsonl":
            data = self._fields.jsonl(batch)
            if not stream.is_terminal:
                return data
            lines = [escaped(line) for line in data[:-1].decode().split("\n")]
        else:
            lines = self._pretty(batch, stream.colours)
        return ("\n".join(lines) + "\n").encode(stream.encoding, "backslashreplace")

    def _pretty(self, batch: Batch, colours: bool) -> list[str]:
        columns = zip(batch.contents(), batch.is_errors(), batch.keys(), batch.times(), strict=True)
        return [pretty(content, flag, key, time, colours) for content, flag, key, time in columns]


class _Stream:
    """One of the process's standard streams. What cannot be opened raises Disconnected."""

    def __init__(self, name: str, stream: TextIO | None) -> None:
        if stream is None or stream.closed:
            raise Disconnected(f"the process has no {name}; use type file instead", arrived=False)
        self.name = name
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self.is_terminal = stream.isatty()
        self.colours = self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.encoding = (stream.encoding if self.is_terminal else None) or "utf-8"
        if self._descriptor is not None and _nobody_reads(self._descriptor):
            raise self._gone()

    def write(self, data: bytes) -> tuple[int, Exception | None]:
        """Write lines; returns how many were written in full, and what stopped it: Disconnected when nobody reads any more."""
        if self._descriptor is None:  # replaced by an object of the program's, such as a notebook's
            self._stream.write(data.decode(self.encoding))
            self._stream.flush()
            return data.count(b"\n"), None
        # Past Python's buffer: what a broken pipe has left in it would raise again, unseen, at the end of the process.
        with contextlib.suppress(BrokenPipeError):
            self._stream.flush()
        written = 0
        try:
            while written < len(data):
                written += self._write_some(memoryview(data)[written:])
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EIO, errno.EBADF):
                return data.count(b"\n", 0, written), self._gone()
            return data.count(b"\n", 0, written), NotSent(f"cannot write to the {self.name}: {error}")
        return data.count(b"\n"), None

    def _write_some(self, data: memoryview) -> int:
        descriptor = self._descriptor if self._descriptor is not None else -1
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            _poll(descriptor, POLL_SECONDS)
            return 0

    def _gone(self) -> Disconnected:
        return Disconnected(f"nobody reads the {self.name} of this process any more; start it again with a reader", arrived=False)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, AttributeError, ValueError):
        return None


def _nobody_reads(descriptor: int) -> bool:
    """Whether the other end of a pipe is closed."""
    return bool(_poll(descriptor, 0) & (select.POLLERR | select.POLLNVAL))


def _poll(descriptor: int, seconds: float) -> int:
    """What can be said of an output within so many seconds, as bits of `select.poll`."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return sum(event for _, event in poll.poll(seconds * 1000))
