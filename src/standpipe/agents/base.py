"""What an agent is: a source that hands over batches, remembers its position, and moves it only when told to.

An agent author writes `open`, `read` and `close`; a source that can be resumed also writes `acknowledge`. The engine reads,
sends every message on its way, and calls `acknowledge` once all of them are settled, so that a checkpoint may lag behind
what was delivered (a crash repeats some messages) but never lead it (a crash loses none).
"""

from __future__ import annotations

import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from standpipe.core.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)


class BaseAgentConfig(BaseModel):
    """Configuration every agent has; each agent extends it with its own fields. Unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(description="which agent this is: a built-in name such as `tail`, an installed one, or `package.module:Class`")
    name: str = Field(description="unique name of this instance, used in logs, statistics and for the checkpoint file")

    @field_validator("type")
    @classmethod
    def _type_is_given(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("type is empty; name an agent type such as tail, stdin or generator")
        return value

    @field_validator("name")
    @classmethod
    def _name_is_usable(cls, value: str) -> str:
        if _NAME.fullmatch(value) is None:
            raise ValueError(f"{value!r} is not a usable name; use 1 to 100 letters, digits, '.', '_' or '-'")
        return value


class AgentBatch:
    """Messages read together from one place, in order; the unit that is acknowledged.

    Exactly one of `lines` (text, one message each) and `records` (dictionaries) is given. `source` says where they came
    from: at least `agent`, for files also `path`; it may be shared between batches and must not be changed. `extras` holds
    additional fields of single messages by index, for example `{17: {"truncated": True}}`. `position` is the agent's own
    note for `acknowledge`. `size` is the number of bytes that were read for this batch.
    """

    __slots__ = ("extras", "lines", "position", "records", "size", "source")

    def __init__(
        self,
        *,
        lines: list[str] | None = None,
        records: list[dict[str, Any]] | None = None,
        source: Mapping[str, str],
        extras: dict[int, dict[str, Any]] | None = None,
        position: object = None,
        size: int = 0,
    ) -> None:
        if (lines is None) == (records is None):
            raise ValueError("a batch has either lines or records; give exactly one of them")
        self.lines = lines
        self.records = records
        self.source = source
        self.extras = extras
        self.position = position
        self.size = size

    def __len__(self) -> int:
        """The number of messages."""
        if self.lines is not None:
            return len(self.lines)
        return len(self.records) if self.records is not None else 0

    def __repr__(self) -> str:
        return f"<AgentBatch of {len(self)} from {dict(self.source)}>"


@dataclass(frozen=True, kw_only=True)
class AgentStatistics:
    """What an agent has done since it was opened. Plain counts, never reset."""

    batches: int = 0
    """batches handed over by `read`"""
    messages: int = 0
    """messages in those batches"""
    bytes_read: int = 0
    """bytes of the source that those batches stand for"""
    batches_acknowledged: int = 0
    """batches of which every message is settled"""
    invalid_lines: int = 0
    """lines with bytes that are not valid in the configured encoding"""
    replaced_characters: int = 0
    """U+FFFD characters put in the place of such bytes"""
    truncated_lines: int = 0
    """lines longer than `max_line_bytes`, cut and marked"""
    truncated_bytes: int = 0
    """bytes cut off from such lines"""
    lag_bytes: int | None = None
    """bytes known to be there and not handed over yet, as of the last look; None where it cannot be known"""
    lag_bytes_max: int | None = None
    """the highest `lag_bytes` so far"""
    errors: int = 0
    """problems met (a file that cannot be read, a checkpoint that cannot be written); each is also in the log"""
    last_error: str | None = None
    """the last of them, in words"""


class BaseAgent(ABC):
    """A source of messages.

    `state` is the folder for checkpoints, None keeps none. `clock` gives monotonic seconds. One thread calls `open`, `read`,
    `acknowledge` and `close`; `interrupt` and `statistics` may be called from any thread.
    """

    config_model: ClassVar[type[BaseAgentConfig]] = BaseAgentConfig
    """the Pydantic model of this agent's configuration"""

    def __init__(self, config: BaseAgentConfig, *, state: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        if not isinstance(config, self.config_model):
            raise ConfigurationError(
                f"{type(self).__name__} needs a {self.config_model.__name__}, not a {type(config).__name__}; use its config_model"
            )
        self.config = config
        self._state = state
        self._clock = clock
        self._interrupted = threading.Event()
        self._batches = 0
        self._messages = 0
        self._bytes_read = 0
        self._acknowledged = 0
        self._errors = 0
        self._last_error: str | None = None

    @property
    def name(self) -> str:
        """The configured name."""
        return self.config.name

    @property
    def finished(self) -> bool:
        """True once a finite source has ended and everything in it has been handed over; an endless one stays False."""
        return False

    @property
    def remembers(self) -> bool:
        """Whether what was not acknowledged is read again next time: agents that keep a checkpoint override `acknowledge`."""
        return type(self).acknowledge is not BaseAgent.acknowledge

    @abstractmethod
    def open(self) -> None:
        """Get ready to read: find the source, load the checkpoint.

        Raises ConfigurationError when this can never work as configured.
        """

    @abstractmethod
    def read(self, timeout: float) -> AgentBatch | None:
        """The next batch, waiting at most `timeout` seconds for one; None when there is nothing now.

        Troubles of the source that may pass are logged, counted and tried again, not raised.
        """

    def acknowledge(self, batch: AgentBatch) -> None:
        """Every message of `batch` and of all earlier batches is settled: the position may move behind it.

        Called in the order of reading and cheap; the checkpoint is written now and then, not every time.
        """
        del batch
        self._acknowledged += 1

    @abstractmethod
    def close(self) -> None:
        """Write the last checkpoint and release everything; may be called twice."""

    def interrupt(self) -> None:
        """Make a waiting `read` (or, when none is waiting, the next one that would wait) return at once. Any thread."""
        self._interrupted.set()

    def statistics(self) -> AgentStatistics:
        """A snapshot. Any thread."""
        return AgentStatistics(**self._basic_statistics())

    def __enter__(self) -> BaseAgent:
        self.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _basic_statistics(self) -> dict[str, Any]:
        """The fields of `AgentStatistics` that every agent counts, for subclasses that add their own."""
        return {
            "batches": self._batches,
            "messages": self._messages,
            "bytes_read": self._bytes_read,
            "batches_acknowledged": self._acknowledged,
            "errors": self._errors,
            "last_error": self._last_error,
        }

    def _counted(self, batch: AgentBatch) -> AgentBatch:
        """Count a batch that is about to be handed over."""
        self._batches += 1
        self._messages += len(batch)
        self._bytes_read += batch.size
        return batch

    def _note_error(self, message: str) -> None:
        """Count a problem and keep its words for the statistics."""
        self._errors += 1
        self._last_error = message

    def _wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; True when interrupted, which is thereby used up."""
        if not self._interrupted.wait(max(0.0, seconds)):
            return False
        self._interrupted.clear()
        return True
