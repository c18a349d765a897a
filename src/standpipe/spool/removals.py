"""Files of a spool that nobody needs any more: removed, or kept in mind until the disk lets them go."""

from __future__ import annotations

import logging

from standpipe.spool.disk import Disk
from standpipe.spool.files import FileSystem

_log = logging.getLogger("standpipe.spool")


class Removals:
    """What is to be removed. Guarded by the spool's lock; a removal that fails is told, and never an error to anybody."""

    def __init__(self, files: FileSystem, disk: Disk, name: str) -> None:
        self._files = files
        self._disk = disk
        self._name = name
        self._waiting: list[str] = []

    def remove(self, name: str) -> None:
        """Remove a file, now or later."""
        self._waiting.append(name)
        self.try_again()

    def try_again(self) -> None:
        """Remove what could not be removed before; what fails is tried again with the next one."""
        for name in list(self._waiting):
            try:
                self._files.remove(name)
                self._waiting.remove(name)
            except OSError as error:
                self._disk.refuses(error)
                _log.warning("%s: %s could not be removed (%s); it is tried again", self._name, name, error)
                return
