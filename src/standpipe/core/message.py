"""One message as people see it: in dead letters, in a shutdown report, in a loop over a batch.

Inside the engine messages travel in batches; a `Message` is made only when somebody asks for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Message:
    """What `produce` was given, as it will be sent.

    `payload` is the JSON encoding made when the message was handed over; `time` is seconds since 1970.
    """

    id: str
    is_error: bool
    payload: bytes
    key: str | None = None
    headers: Mapping[str, str] | None = None
    time: float = 0.0

    def content(self) -> dict[str, Any]:
        """The message as a dict, decoded anew at each call."""
        decoded: dict[str, Any] = orjson.loads(self.payload)
        return decoded
