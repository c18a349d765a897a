"""Where the log goes while a verb runs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TextIO

from standpipe.cli.log_options import LogFormat, LogLevel
from standpipe.telemetry.logs import configure_logging


@contextlib.contextmanager
def logging_to(stream: TextIO, format: LogFormat, level: LogLevel) -> Iterator[None]:
    """Write the log to `stream` inside the block; afterwards logging is as it was."""
    logger = logging.getLogger("standpipe")
    before = logger.level, logger.propagate
    handler = configure_logging("json" if format is LogFormat.JSON else "human", getattr(logging, level.name), stream)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
