"""What can go wrong with a spool, ordered by remedy."""

from __future__ import annotations

from typing import Any

from standpipe.core.errors import ConfigurationError, QueueFull, StandpipeError


class SpoolInUse(ConfigurationError):
    """another process uses this spool

    One process owns a spool. Stop the other one, or give this producer a `path` of its own.
    """


class SpoolTooNew(ConfigurationError):
    """the spool was written by a newer version of Standpipe

    Nothing was touched. Start the newer version, let it drain the spool, then come back.
    """


class SpoolFull(QueueFull):
    """there is no room on the disk for the spool; the message was not accepted"""


class SpoolError(StandpipeError):
    """the disk refused to store the message; whether it will be delivered is unknown

    It may still be delivered once; hand it over again under the same `message_id` if it must not be missed. `receipt`: if the
    producer has accepted the message and only the sync failed, its receipt, which says when it is delivered after all; else None.
    """

    receipt: Any = None
