"""Shipping a program's own log through a producer, without the loop that this invites."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from standpipe.core.errors import StandpipeError


class Takes(Protocol):
    """What the handler needs of a producer."""

    def produce(self, is_error: bool, message: dict[str, Any], *, key: str | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """Hand over one message."""
        ...


class ProducerHandler(logging.Handler):
    """A logging handler that hands records to a producer: ERROR and above as error messages.

    Standpipe's own records (`standpipe.*`) and whatever is logged while a record is being handed over are left out: a log
    line about a failing delivery that becomes a message that fails is a loop. `left_out` counts them; `refused` counts
    records that the producer did not take (closed, full, not encodable). Thread-safe, never raises, and waits only if the
    producer's queue is full and blocks.
    """

    def __init__(self, producer: Takes, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.left_out = 0
        self.refused = 0
        self._producer = producer
        self._inside = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand over one record."""
        if record.name == "standpipe" or record.name.startswith("standpipe.") or getattr(self._inside, "busy", False):
            self.left_out += 1
            return
        self._inside.busy = True
        try:
            self._producer.produce(record.levelno >= logging.ERROR, self._message(record))
        except StandpipeError:
            self.refused += 1
        finally:
            self._inside.busy = False

    def _message(self, record: logging.LogRecord) -> dict[str, Any]:
        message: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage().encode("utf-8", "replace").decode(),
        }
        if record.exc_info:
            formatter = self.formatter if self.formatter is not None else logging.Formatter()
            message["exception"] = formatter.formatException(record.exc_info)
        return message
