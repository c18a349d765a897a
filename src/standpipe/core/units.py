"""Durations and sizes as people write them: `500ms`, `5s`, `1h`; `64MiB`, `10kB`.

`Duration` and `Size` are Pydantic types: a field of such a type takes a number (seconds, bytes) or a string with a unit.
"""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)

SECONDS_PER_UNIT = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES_PER_UNIT = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


def parse_duration(value: object) -> float:
    """Seconds as a float from a number of seconds or a string such as `500ms`, `5s`, `1.5h`.

    Raises ValueError for anything else: negative, infinite, an unknown unit, a boolean.
    """
    if isinstance(value, str):
        match = _NUMBER_AND_UNIT.fullmatch(value)
        if match is None or match[2] not in SECONDS_PER_UNIT:
            raise ValueError(f"{value!r} is not a duration; write seconds as a number, or with a unit: 500ms, 5s, 2m, 1h, 1d")
        return float(match[1]) * SECONDS_PER_UNIT[match[2]]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is not a duration; write seconds as a number, or with a unit: 500ms, 5s, 2m, 1h, 1d")
    return float(value)


def parse_size(value: object) -> int:
    """Bytes as an int from a number of bytes or a string such as `64MiB`, `10kB`.

    Raises ValueError for anything else: negative, fractions of a byte, an unknown unit, a boolean.
    """
    problem = f"{value!r} is not a size; write bytes as a whole number, or with a unit: 64KiB, 10MB, 1GiB"
    if isinstance(value, str):
        match = _NUMBER_AND_UNIT.fullmatch(value)
        if match is None or match[2].lower() not in BYTES_PER_UNIT:
            raise ValueError(problem)
        return int(float(match[1]) * BYTES_PER_UNIT[match[2].lower()])
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(problem)
    return value


Duration = Annotated[
    float,
    BeforeValidator(parse_duration, json_schema_input_type=float | str),
    Field(json_schema_extra={"format": "duration"}),
]
"""Seconds; takes numbers or strings such as `500ms`, `5s`, `1h`."""

Size = Annotated[
    int,
    BeforeValidator(parse_size, json_schema_input_type=int | str),
    Field(json_schema_extra={"format": "size"}),
]
"""Bytes; takes whole numbers or strings such as `64KiB`, `10MB`."""
