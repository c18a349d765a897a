"""When a file is rotated, what the rotated file is called, and which rotated files are kept.

A rotated file is the file renamed: `app.jsonl` becomes `app.jsonl.20261123T130000Z-0000`, the time (UTC) of the rotation and
a number for several within a second. Sorted by name they are in the order in which they were written, also when the clock
was set back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field, field_validator, model_validator

from standpipe.core.units import Duration, Size, parse_duration
from standpipe.producers.config import Section

_SUFFIX = re.compile(r"\.([0-9]{8}T[0-9]{6}Z)-([0-9]{4})(\.gz)?")
_SECONDS = {"hour": 3600.0, "day": 86400.0}
NUMBER_MAX = 9999
"""Rotations within one second: four digits keep names sortable; beyond it the next second's name is taken."""


class RotateConfig(Section):
    """When a file is put aside under a name with the time, and a new one begun. Both limits may be given: the first one counts."""

    max_bytes: Size | None = Field(
        default=None, ge=1, description="a file is rotated before it gets larger (a single larger record still goes, alone in its file)"
    )
    every: Literal["hour", "day"] | Duration | None = Field(
        default=None,
        description="`hour`, `day` or a duration: a file is rotated at the first message of a new period; periods are counted from "
        "midnight, UTC",
    )
    keep: int | None = Field(
        default=None, ge=0, description="how many rotated files of each file are kept, older ones are deleted; none: all"
    )
    gzip: bool = Field(default=False, description="compress rotated files, in the background")

    @field_validator("every")
    @classmethod
    def _long_enough(cls, value: str | float | None) -> str | float | None:
        if isinstance(value, float) and value < 1:
            raise ValueError(f"{value:g} s is too short; rotate every second (1s) at most")
        return value

    @field_validator("every", mode="before")
    @classmethod
    def _hour_day_or_duration(cls, value: object) -> object:
        if value is None or value in ("hour", "day"):
            return value
        try:
            return parse_duration(value)
        except ValueError:
            raise ValueError(f"{value!r} is neither 'hour' nor 'day' nor a duration such as 15m or 6h") from None

    @model_validator(mode="after")
    def _has_a_limit(self) -> RotateConfig:
        if self.max_bytes is None and self.every is None:
            raise ValueError("nothing says when to rotate; give max_bytes, or every, or both")
        return self

    @property
    def period(self) -> float | None:
        """Seconds of a period; None if time does not matter."""
        return _SECONDS[self.every] if isinstance(self.every, str) else self.every


def is_due(config: RotateConfig, size: int, adding: int, last_write: float, now: float) -> bool:
    """Whether a file of `size` bytes has to be rotated before `adding` more are written. Times are seconds since 1970."""
    if size == 0:
        return False
    if config.max_bytes is not None and size + adding > config.max_bytes:
        return True
    period = config.period
    return period is not None and now // period > last_write // period


def rotated_name(name: str, existing: Iterable[str], now: float) -> str:
    """The name for `name` rotated at `now` (seconds since 1970): after all that exist, given the names in its folder."""
    stamp, number = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ"), 0
    latest = max((_order(name, other) for other in existing if is_rotated(name, other)), default=None)
    if latest is not None and latest >= (stamp, number):
        stamp, number = latest[0], latest[1] + 1
    if number > NUMBER_MAX:
        return rotated_name(name, (), datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() + 1)
    return f"{name}.{stamp}-{number:04d}"


def is_rotated(name: str, other: str) -> bool:
    """Whether `other` is a rotated file of `name`, compressed or not."""
    return other.startswith(name) and _SUFFIX.fullmatch(other, len(name)) is not None


def _order(name: str, other: str) -> tuple[str, int]:
    match = _SUFFIX.fullmatch(other, len(name))
    return (match[1], int(match[2])) if match is not None else ("", 0)


def too_many(name: str, existing: Iterable[str], keep: int) -> list[str]:
    """The rotated files of `name` beyond the latest `keep`, oldest first. A file and its compressed copy are one."""
    rotated = [other for other in existing if is_rotated(name, other)]
    latest = sorted({other.removesuffix(".gz") for other in rotated})
    doomed = set(latest[: max(0, len(latest) - keep)])
    return sorted(other for other in rotated if other.removesuffix(".gz") in doomed)
