"""How the command line writes the log: for people, or one JSON object a line for programs."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Literal, TextIO

import orjson

LogFormat = Literal["human", "json"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class HumanFormatter(logging.Formatter):
    """`13:04:05 warning  events: the breaker is open`; control characters escaped, so that no message can steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, more only for a traceback."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower():8} {_printable(record.getMessage())}"
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, what was given as `extra`, and the exception."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        entry: dict[str, Any] = {
            "time": moment,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _STANDARD and not name.startswith("_")}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure_logging(format: LogFormat = "human", level: int = logging.INFO, stream: TextIO | None = None) -> logging.Handler:
    """Write everything under `standpipe` to `stream` (default: standard error). For programs; the library never calls it."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else HumanFormatter())
    logger = logging.getLogger("standpipe")
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    return handler


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
