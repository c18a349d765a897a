"""Reading back what waits on the disk: a disk that refuses is asked again a little later, and people are told, once."""

from __future__ import annotations

import logging
from typing import Final

from standpipe.core.clock import Clock
from standpipe.spool.errors import SpoolError
from standpipe.spool.format import Record
from standpipe.spool.log import Spool

_log = logging.getLogger("standpipe.spool")

READ_AGAIN: Final = 1.0
"""Seconds until a disk that could not be read is asked again: who mends it tells nobody, and one that is dying takes seconds for
an answer, in which nobody can hand over anything."""


class PatientReading:
    """Of one producer's queue, and guarded by its lock. `again_at`: when the disk may be asked again; None: at any time."""

    __slots__ = ("_clock", "_producer", "_told", "again_at")

    def __init__(self, producer: str, clock: Clock) -> None:
        self.again_at: float | None = None
        self._producer = producer
        self._clock = clock
        self._told = False

    @property
    def allowed(self) -> bool:
        """Whether the disk may be asked now."""
        return self.again_at is None or self._clock.monotonic() >= self.again_at

    def read(self, spool: Spool, max_bytes: int, *, merge: bool = False) -> list[tuple[Record, str]]:
        """As `Spool.read`; nothing, if that is not possible now."""
        try:
            found = spool.read(max_bytes, merge)
        except SpoolError as error:
            if not self._told:
                _log.error("%s until that is mended; it is tried again every %g s", error, READ_AGAIN)
            self._told = True
            return []
        if self._told:
            _log.info("%s: the spool can be read again", self._producer)
        self._told = False
        return found

    def ended(self, *, in_vain: bool) -> None:
        """`in_vain`: something waits on the disk, and nothing of it came back."""
        self.again_at = self._clock.monotonic() + READ_AGAIN if in_vain else None
