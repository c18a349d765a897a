"""Shipping a program's own log through a producer, without the loop that this invites."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Protocol

import orjson

from standpipe.core.errors import StandpipeError

_KNOWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
"""What every record has; whatever else there is came with `extra`."""

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE


class Takes(Protocol):
    """What the handler needs of a producer."""

    def produce_encoded(self, is_error: bool, payload: bytes, count: int, *, timeout: float | None = None) -> Any:
        """Hand over messages that are encoded already."""
        ...


class RecordHandler(logging.Handler):
    """Hands log records to a producer: ERROR and above as error messages. Thread-safe; never raises and never waits.

    Standpipe's own records (`standpipe.*`) and whatever is logged while a record is being handed over are left out: a log
    line about a failing delivery that becomes a message that fails is a loop. `left_out` counts them; `refused` counts
    records that the producer did not take (closed, or full).
    """

    def __init__(self, producer: Takes, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self.left_out = 0
        self.refused = 0
        self._producer = producer
        self._inside = threading.local()

    def createLock(self) -> None:
        """None: handing over is safe in every thread. With one `logging.shutdown`, which holds it while a handler closes, would wait
        for a worker that logs and waits for the lock."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Hand over one record."""
        if record.name == "standpipe" or record.name.startswith("standpipe.") or getattr(self._inside, "busy", False):
            self.left_out += 1
            return
        self._inside.busy = True
        try:
            self._producer.produce_encoded(record.levelno >= logging.ERROR, encoded(self.message(record)), 1, timeout=0.0)
        except StandpipeError:
            self.refused += 1
        except Exception:  # an argument of the record whose __str__ raises: what logging itself does about it
            self.handleError(record)
        finally:
            self._inside.busy = False

    def message(self, record: logging.LogRecord) -> dict[str, Any]:
        """What a record becomes. Override it to add or rename fields; values that JSON has no word for become text."""
        message: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            formatter = self.formatter if self.formatter is not None else logging.Formatter()
            message["exception"] = formatter.formatException(record.exc_info)
        if record.stack_info:
            message["stack"] = record.stack_info
        extra = {name: value for name, value in record.__dict__.items() if name not in _KNOWN}
        if extra:
            message["extra"] = extra
        return message


def encoded(message: dict[str, Any]) -> bytes:
    """The JSON encoding of a log message; what JSON has no word for as text, so that no record is lost for its looks."""
    try:
        return orjson.dumps(message, str, _OPTIONS)[:-1]
    except TypeError:  # lone surrogates, integers beyond 64 bits, containers within themselves
        return orjson.dumps({name: _plain(value) for name, value in message.items()}, None, _OPTIONS)[:-1]


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text.encode("utf-8", "backslashreplace").decode()
