"""The `stdin` agent: lines from standard input until it ends. There is no checkpoint: a pipe cannot be read twice."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from pydantic import Field

from standpipe.agents.base import AgentBatch, AgentStatistics, BaseAgent, BaseAgentConfig
from standpipe.agents.lines import LineAgentConfig, LineAssembler, LineCounts, LineRules, Lines
from standpipe.core.errors import ConfigurationError


class StdinConfig(LineAgentConfig):
    """Configuration of the `stdin` agent."""

    type: str = Field("stdin", description="`stdin`")


class StdinAgent(BaseAgent):
    """Reads lines from standard input (or `descriptor`), a finite source: finished at its end.

    The descriptor is never closed and its mode never changed, because other processes may share it.
    """

    config: StdinConfig
    config_model = StdinConfig

    def __init__(
        self,
        config: BaseAgentConfig,
        *,
        state: Path | None = None,
        clock: Callable[[], float] = monotonic,
        descriptor: int = 0,
    ) -> None:
        super().__init__(config, state=state, clock=clock)
        self._descriptor = descriptor
        self._counts = LineCounts()
        self._assembler = LineAssembler(LineRules(self.config.encoding, self.config.max_line_bytes, self._counts))
        self._source = {"agent": self.config.name}
        self._wake: tuple[int, int] | None = None
        self._ended = False

    @property
    def finished(self) -> bool:
        """True once the input has ended and its last line was handed over."""
        return self._ended

    def open(self) -> None:
        """Get ready to wait for input. Raises ConfigurationError when standard input is closed."""
        if self._wake is not None:
            return
        try:
            os.fstat(self._descriptor)
        except OSError:
            raise ConfigurationError(
                f"agent {self.name!r}: standard input is closed; connect it to a pipe or a file, or use the tail agent"
            ) from None
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._wake = (reader, writer)

    def read(self, timeout: float) -> AgentBatch | None:
        """The lines that have arrived, waiting at most `timeout` seconds for the end of one."""
        deadline = self._clock() + timeout
        while not self._ended and self._wake is not None:
            if not self._has_input(self._wake[0], deadline - self._clock()):
                return None
            lines = self._read_once()
            if lines is not None:
                return self._counted(AgentBatch(lines=lines.lines, extras=lines.extras, source=self._source, size=lines.size))
        return None

    def interrupt(self) -> None:
        """Make a waiting `read` return at once. Any thread."""
        wake = self._wake
        if wake is not None:
            with contextlib.suppress(OSError):  # full: the reader is going to wake up anyway; closed: nobody is waiting
                os.write(wake[1], b"!")

    def close(self) -> None:
        """Release what waiting needs; may be called twice. The input itself stays open."""
        wake, self._wake = self._wake, None
        for descriptor in wake or ():
            os.close(descriptor)

    def statistics(self) -> AgentStatistics:
        """A snapshot. Any thread."""
        counts = self._counts
        return AgentStatistics(
            **self._basic_statistics(),
            invalid_lines=counts.invalid_lines,
            replaced_characters=counts.replaced_characters,
            truncated_lines=counts.truncated_lines,
            truncated_bytes=counts.truncated_bytes,
        )

    def _has_input(self, wake: int, seconds: float) -> bool:
        """Wait for input or its end; False when interrupted or nothing came in time."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(wake, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)}
        if wake in ready:
            os.read(wake, 4096)
            return False
        return bool(ready)

    def _read_once(self) -> Lines | None:
        try:
            chunk = os.read(self._descriptor, self.config.chunk_bytes)
        except BlockingIOError:  # another process that shares the input made it non-blocking and took the data first
            return None
        except OSError as error:
            self._note_error(f"standard input: cannot be read ({error.strerror}); taken as its end")
            chunk = b""
        if chunk:
            return self._assembler.feed(chunk)
        self._ended = True
        return self._assembler.finish()
