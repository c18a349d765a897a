"""A producer of one's own in three methods: a destination that is down as long as a certain file exists.

Everything else (the queue on disk, retries, reconnecting, the breaker, order, counting, shutdown) is Standpipe's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, TextIO

from pydantic import Field

from standpipe.producers.base import BaseProducer, BaseProducerConfig


class FlakyConfig(BaseProducerConfig):
    """Where messages go, and when that place cannot be reached."""

    path: Path = Field(description="the file that stands for the destination")
    down_while: Path = Field(description="as long as this file exists, the destination is down; try it with `touch` and `rm`")


class FlakyDestination(BaseProducer):
    """Appends each message to a file; while it is down it refuses connections and messages."""

    config_model: ClassVar[type[BaseProducerConfig]] = FlakyConfig
    config: FlakyConfig

    _file: TextIO | None = None

    def _connect(self) -> None:
        self._refuse_while_down()
        self.config.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.config.path.open("a", encoding="utf-8")

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self._refuse_while_down()
        if self._file is None:
            raise ConnectionError("not connected")
        self._file.write(json.dumps({"is_error": is_error, **message}) + "\n")
        self._file.flush()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _refuse_while_down(self) -> None:
        if self.config.down_while.exists():
            raise ConnectionRefusedError("connection refused")
