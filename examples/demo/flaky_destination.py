"""A producer of one's own in three methods: a destination that is down for a while.

Everything else (the queue, retries, reconnecting, the breaker, order, counting, shutdown) is Standpipe's.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, ClassVar, TextIO

from pydantic import Field

from standpipe.core.units import Duration
from standpipe.producers.base import BaseProducer, BaseProducerConfig


class FlakyConfig(BaseProducerConfig):
    """Where messages go, and when that place cannot be reached."""

    path: Path = Field(description="the file that stands for the destination")
    down_after: Duration = Field(default=5.0, description="when the outage begins, after the first connection")
    down_for: Duration = Field(default=5.0, description="how long the outage lasts")


class FlakyDestination(BaseProducer):
    """Appends each message to a file; during the outage it refuses connections and messages."""

    config_model: ClassVar[type[BaseProducerConfig]] = FlakyConfig
    config: FlakyConfig

    _file: TextIO | None = None
    _first_connected: float | None = None

    def _connect(self) -> None:
        if self._first_connected is None:
            self._first_connected = time.monotonic()
        self._fail_during_the_outage()
        self.config.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.config.path.open("a", encoding="utf-8")

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self._fail_during_the_outage()
        if self._file is None:
            raise ConnectionError("not connected")
        self._file.write(json.dumps({"is_error": is_error, **message}) + "\n")
        self._file.flush()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _fail_during_the_outage(self) -> None:
        up_for = time.monotonic() - (self._first_connected or 0.0)
        if self.config.down_after <= up_for < self.config.down_after + self.config.down_for:
            raise ConnectionRefusedError("connection refused")
