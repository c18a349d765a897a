"""What can be configured of every producer: one declaration gives validation, defaults, JSON Schema and the reference page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, SecretBytes, SecretStr, Tag, field_validator, model_validator

from standpipe.core.units import Duration, Size

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Section(BaseModel):
    """A part of a configuration: unknown fields are errors, values do not change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False, hide_input_in_errors=True)


class RetryConfig(Section):
    """Delays between retries: full jitter, that is a random share of `initial * factor ** n`, at most `max`."""

    initial: Duration = Field(default=0.1, description="bound of the first delay")
    factor: float = Field(default=2.0, ge=1.0, le=100.0, description="by how much the bound grows with each retry")
    max: Duration = Field(default=30.0, description="largest bound")

    @model_validator(mode="after")
    def _in_order(self) -> RetryConfig:
        if self.max < self.initial:
            raise ValueError(f"max ({self.max:g} s) is smaller than initial ({self.initial:g} s)")
        return self


class BatchConfig(Section):
    """How many messages are handed to `_send_batch` at once. A batch goes as soon as the destination is free, unless `linger`."""

    max_messages: int = Field(default=1000, ge=1, le=1_000_000, description="most messages in a batch")
    max_bytes: Size = Field(default=2**20, ge=1, description="most bytes in a batch (a single larger message still goes, alone)")
    linger: Duration = Field(default=0.0, description="how long the first message of a batch that is not full waits for more")


class QueueConfig(Section):
    """The queue between `produce` and the worker. It bounds everything that is accepted and not settled."""

    type: Literal["memory"] = Field(default="memory", description="where the messages are kept until they are settled")
    max_messages: int = Field(default=100_000, ge=1, description="most messages pending")
    max_bytes: Size = Field(default=64 * 2**20, ge=1, description="most bytes pending")
    on_full: Literal["block", "raise", "drop_newest", "drop_oldest", "spill"] = Field(
        default="block",
        description="what happens to a message that finds the queue full; what is dropped is counted; "
        "`spill`: it goes to the disk, and so does what is left at shutdown",
    )
    full_timeout: Duration | None = Field(
        default=None, description="with `block`: how long to wait before QueueFull is raised; none: no limit"
    )
    path: str | None = Field(
        default=None, description="with `spill`: folder on the disk; default: `spool/` and the producer's name in the state folder"
    )
    spill_max_bytes: Size = Field(default=2**30, ge=1, description="with `spill`: most bytes on the disk; then the caller waits")


class SpoolConfig(Section):
    """A queue on disk: what `produce` accepted survives the process, and is delivered after a restart."""

    type: Literal["spool"] = Field(description="on disk")
    path: str | None = Field(default=None, description="folder of the spool; default: `spool/` and the producer's name in the state folder")
    durability: Literal["written", "synced"] = Field(
        default="written",
        description="when `produce` returns: `written` - the operating system has it (survives kill -9); "
        "`synced` - the disk has it (survives a power cut)",
    )
    max_bytes: Size = Field(default=2**30, ge=1, description="most bytes pending")
    segment_bytes: Annotated[Size, Field(ge=2**16, le=2**30)] = Field(
        default=16 * 2**20, description="size of the files; a file is removed when all of its messages are settled"
    )
    sync_interval: Duration = Field(
        default=1.0, description="with `written`: how often what was written is brought to the disk; a power cut loses at most that much"
    )
    on_full: Literal["block", "raise", "drop_newest", "drop_oldest"] = Field(
        default="block", description="what happens to a message that finds the queue, or the disk, full; what is dropped is counted"
    )
    full_timeout: Duration | None = Field(
        default=None, description="with `block`: how long to wait before QueueFull is raised; none: no limit"
    )

    @property
    def max_messages(self) -> int:
        """A spool is bounded in bytes alone."""
        return 2**62


def _queue_type(value: object) -> str:
    """A queue without a type is in memory."""
    kind = value.get("type", "memory") if isinstance(value, dict) else getattr(value, "type", "")
    return kind if isinstance(kind, str) else "memory"


AnyQueueConfig = Annotated[
    Annotated[QueueConfig, Tag("memory")] | Annotated[SpoolConfig, Tag("spool")],
    Discriminator(
        _queue_type,
        custom_error_type="unknown_queue",
        custom_error_message="there is no such type of queue; there are: memory, spool",
    ),
]


class DeadLettersConfig(Section):
    """Where messages that are put aside for good are kept, and how many."""

    type: Literal["sqlite", "memory"] | None = Field(
        default=None,
        description="`sqlite`: on disk, in `dead/` and the producer's name in the state folder; `memory`: until the process ends; default: "
        "`sqlite`, and `memory` for a producer made in Python without a state folder",
    )
    max_letters: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="most letters kept; default: 100,000 on disk, 10,000 in memory"
    )
    max_bytes: Annotated[Size, Field(ge=1)] | None = Field(
        default=None, description="most bytes kept; default: 1 GiB on disk, 64 MiB in memory"
    )
    max_age: Annotated[Duration, Field(gt=0)] | None = Field(default=None, description="longest time a letter is kept; none: for ever")
    on_full: Literal["drop_oldest", "drop_newest"] = Field(
        default="drop_oldest", description="which letters go when there are too many; what is dropped is counted"
    )


class BaseProducerConfig(Section):
    """The configuration of a producer. Subclass it to add the settings of one destination."""

    type: str = Field(description="which producer: a built-in type, an installed one, or `package.module:Class`")
    name: str = Field(description="unique name of this instance: letters, digits and `._-`")
    max_retries: int = Field(default=5, description="retries of a message, and of connecting, before the connection is reset")
    retry: RetryConfig = Field(default=RetryConfig(), description="delays between retries")
    reconnect_wait: Duration = Field(default=60.0, description="pause after `max_retries` failed connections in a row")
    send_timeout: Duration | None = Field(
        default=30.0, description="longest time for one send; enforced for asynchronous producers, handed to the client by others"
    )
    deadline: Duration | None = Field(
        default=None, description="how long a message may wait before it is dead-lettered as expired; none: for ever"
    )
    max_resets: int | None = Field(
        default=None,
        ge=0,
        description="how many connection resets a failing message lives through before it is dead-lettered; none: retry for ever",
    )
    ordering: Literal["key", "fifo", "none"] = Field(
        default="key", description="`key`: messages of one key in order; `fifo`: all in order; `none`: no order"
    )
    batch: BatchConfig = Field(default=BatchConfig(), description="size of the batches, for producers that send batches")
    queue: AnyQueueConfig = Field(default=QueueConfig(), description="the queue and what happens when it is full")
    dead_letters: DeadLettersConfig = Field(
        default=DeadLettersConfig(), description="where messages that are put aside for good are kept, and how many"
    )
    rate_limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="most messages per second; none: no limit"
    )
    shutdown_timeout: Duration = Field(default=10.0, description="how long `shutdown` and the end of the process deliver what is pending")

    @field_validator("type")
    @classmethod
    def _type_is_given(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("the type is empty; name a producer type such as file, or package.module:Class")
        return value

    @field_validator("name")
    @classmethod
    def _name_is_usable(cls, value: str) -> str:
        if _NAME.fullmatch(value) is None:
            raise ValueError(
                f"{value!r} cannot be a name; use up to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit"
            )
        return value

    @field_validator("max_retries", mode="before")
    @classmethod
    def _retries_are_a_number(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError(f"{value!r} is not a number of retries; write 1 or more")
        return value

    @field_validator("max_retries")
    @classmethod
    def _at_least_one_retry(cls, value: int) -> int:
        if value < 1:
            raise ValueError(f"{value} is too small; a message is retried at least once (max_retries >= 1)")
        return value


def secrets_in(value: Any) -> Iterator[str]:
    """Every secret text in a configuration, so that it can be kept out of logs."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, SecretBytes):
        yield value.get_secret_value().decode("utf-8", "replace")
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, dict):
        for inner in value.values():
            yield from secrets_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from secrets_in(inner)
