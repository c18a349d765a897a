"""What a spool can tell about itself, at one instant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpoolStatistics:
    """The spool now. `disk_bytes` is what its segments occupy, `syncs` how often it waited for the disk. `failing`: the disk
    refused the last attempt to store something; `last_error` says why, and stays when it is over. `lost_messages` were
    damaged or removed on the disk, and are counted and reported; `damaged_bytes` of them are kept in `*.corrupt`."""

    segments: int
    disk_bytes: int
    next_number: int
    syncs: int
    sync_failures: int
    position_failures: int
    damaged_bytes: int
    lost_messages: int
    failing: bool
    last_error: str | None
