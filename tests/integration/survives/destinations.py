"""Destinations that fail when they are told to, for programs and for configurations."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from standpipe.core.errors import Reject
from standpipe.core.units import Duration
from standpipe.producers.base import BaseProducer, BaseProducerConfig


class LinesConfig(BaseProducerConfig):
    """Where the lines go, and how slowly."""

    path: Path = Field(description="the file that stands for the destination")
    delay: Duration = Field(default=0.0, description="time that each message takes")


class Lines(BaseProducer):
    """Writes each message as a line. Down as long as there is a file with `.down` behind its name; refuses `poison`."""

    config_model: ClassVar[type[BaseProducerConfig]] = LinesConfig
    config: LinesConfig
    _descriptor: int | None = None

    def _connect(self) -> None:
        self._fail_while_down()
        self._descriptor = os.open(self.config.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self._fail_while_down()
        if "poison" in str(message.get("message")):
            raise Reject("poison")
        if self.config.delay:
            time.sleep(self.config.delay)
        assert self._descriptor is not None
        os.write(self._descriptor, json.dumps(message["message"]).encode() + b"\n")

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _fail_while_down(self) -> None:
        if down_file(self.config.path).exists():
            raise ConnectionRefusedError("it is down")


class SyncedLines(Lines):
    """Claims no success before the line is on the disk."""

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        super()._send(is_error, message)
        assert self._descriptor is not None
        os.fdatasync(self._descriptor)


def down_file(path: Path) -> Path:
    """As long as this file exists the destination at `path` is down."""
    return path.with_name(path.name + ".down")


def arrived(path: Path) -> list[Any]:
    """The messages that have arrived, in order."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
