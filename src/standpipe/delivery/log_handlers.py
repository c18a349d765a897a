"""Whether the calling thread is inside a log handler through which the worker may have to log as well.

A handler that feeds a producer holds its own lock while it produces. Were it to wait for room in a full queue, the worker,
about to log through the same handler, would wait for that lock, and nobody would ever make room.
"""

from __future__ import annotations

import logging
import sys

_HANDLE = logging.Handler.handle.__code__
_LOGGER = "standpipe.delivery"


def inside_own_log_handler() -> bool:
    """True when this thread is in the `emit` of a handler that also gets the worker's log lines. Only asked before waiting."""
    own = _own_handlers()
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is _HANDLE and any(frame.f_locals.get("self") is handler for handler in own):
            return True
    return False


def _own_handlers() -> list[logging.Handler]:
    found: list[logging.Handler] = []
    logger: logging.Logger | None = logging.getLogger(_LOGGER)
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return found
