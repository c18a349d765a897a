"""What the disk has said to the owner of a spool: what it refused, and whether it can be believed."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Sequence
from typing import Final

from standpipe.spool.errors import SpoolError, SpoolFull
from standpipe.spool.files import MappedFile

_log = logging.getLogger("standpipe.spool")

CLOSE_PATIENCE: Final = 5.0
"""Seconds that closing waits for a sync under way; a disk that takes longer is dead, and everything is written anyway."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Disk:
    """`suspect`: a sync has failed, and what it should have brought to the disk has not been written again yet; until then no
    sync of these files is believed. `failing`: the last attempt to store something was refused. Thread-safe."""

    def __init__(self, name: str) -> None:
        self.suspect = False
        self.failing = False
        self.last_error: str | None = None
        self.syncs = 0
        self.sync_failures = 0
        self._name = name
        # Held while files go to the disk and the result is noted: of two syncs of one file only one is told of a failure.
        # Nothing else is waited for while it is held, so that it may be taken with or without the spool's lock; and twice by one
        # thread: a signal handler may produce while its own thread syncs.
        self._answering = threading.RLock()

    def sync(self, files: Sequence[MappedFile]) -> bool:
        """Sync all of `files`; False if that, or a sync before that has not been made good, failed."""
        with self._answering:
            if self.suspect:
                return False
            try:
                for file in files:
                    file.sync()
                    self.syncs += 1
            except OSError as error:
                self.suspect = True
                self.sync_failures += 1
                self.refuses(error)
                _log.error("%s: the disk failed to store messages (%s); they are written again to another segment", self._name, error)
                return False
            return True

    def refuses(self, error: OSError) -> None:
        """Note that something could not be stored."""
        self.failing = True
        self.last_error = str(error)

    def refused(self, error: OSError) -> SpoolFull | SpoolError:
        """As `refuses`, and what the caller of `append` is told."""
        self.refuses(error)
        if error.errno in _NO_ROOM:
            return SpoolFull(f"{self._name}: no room on the disk for the spool ({error}); the message was not accepted")
        return SpoolError(f"{self._name}: the spool cannot be written ({error}); the message was not accepted")

    def wait_for_answer(self) -> None:
        """Return when no sync is under way, or raise SpoolError: a disk that hangs must not hang the shutdown."""
        if not self._answering.acquire(timeout=CLOSE_PATIENCE):
            raise SpoolError(f"the disk has not answered for {CLOSE_PATIENCE:g} s")
        self._answering.release()
