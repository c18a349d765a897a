"""The files a producer has open: the latest used ones, by path, with a bound."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from standpipe.core.errors import NotSent, Reject
from standpipe.producers.confined_folder import UnusablePath
from standpipe.producers.output_file import OutputFile
from standpipe.producers.rotated_files import Interrupted, tidy
from standpipe.producers.rotation import RotateConfig
from standpipe.producers.upkeep import Upkeep

_log = logging.getLogger("standpipe.producers.file")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record goes: a path, and the folder that it must not leave (None: the user wrote the whole path)."""

    path: str
    base: str | None = None


@dataclass(frozen=True, slots=True)
class FileSettings:
    """How files are written; see the configuration of the file producer."""

    name: str
    mode: int
    rotate: RotateConfig | None
    sync: Literal["none", "batch", "interval"]
    sync_interval: float
    max_open_files: int
    now: Callable[[], float]


class OpenFiles:
    """Opens, writes and closes files. Used by the worker thread alone; the upkeep thread only borrows descriptors."""

    def __init__(self, settings: FileSettings) -> None:
        self._settings = settings
        self._files: OrderedDict[Place, OutputFile] = OrderedDict()
        self._process = os.getpid()
        self._lock = threading.Lock()
        interval = settings.sync_interval if settings.sync == "interval" else None
        self._upkeep: Upkeep[Place] = Upkeep(f"standpipe-{settings.name}-upkeep", self._tidy, self._sync_all, interval)

    @property
    def inherited(self) -> bool:
        """Whether these are another process's: this one was forked."""
        return self._process != os.getpid()

    def __len__(self) -> int:
        return len(self._files)

    def open(self, place: Place) -> None:
        """Open a file to see whether it can be written. Raises UnusablePath or OSError."""
        self._file(place).open()

    def write(self, place: Place, data: bytes) -> tuple[int, Exception | None]:
        """Append records; returns how many were written, and what stopped it: `Reject` if the path can never be written to
        because of the message, `NotSent` or an OSError otherwise."""
        file = self._file(place)
        rotations = file.rotations
        with self._lock:
            written, error = file.write(data, self._settings.sync == "batch")
        if file.dirty:
            self._upkeep.touched()
        if file.rotations != rotations:
            self._look_after(place)
        if isinstance(error, UnusablePath):
            error = NotSent(str(error)) if place.base is None else Reject(str(error))
        return written, error

    def close(self) -> None:
        """Sync what is unsynced, unless `sync` is none, and close everything. May be called twice."""
        if self.inherited:
            for file in self._files.values():
                file.forget()
        else:
            self._upkeep.close()
            while self._files:
                self._close_oldest()
        self._files.clear()

    def _file(self, place: Place) -> OutputFile:
        file = self._files.get(place)
        if file is not None:
            self._files.move_to_end(place)
            return file
        while len(self._files) >= self._settings.max_open_files:
            self._close_oldest()
        settings = self._settings
        file = OutputFile(place.path, place.base, settings.mode, settings.rotate, settings.sync != "none", settings.now)
        with self._lock:
            self._files[place] = file
        self._look_after(place)  # mends what a crash in the middle of a rotation left behind
        return file

    def _close_oldest(self) -> None:
        with self._lock:
            _, file = self._files.popitem(last=False)
        try:
            if self._settings.sync != "none":
                file.sync()
        except OSError as error:
            _log.error("%s: %s: syncing the last records failed (%s); they may not be on the disk", self._settings.name, file.path, error)
        finally:
            file.close()

    # --- the upkeep thread --------------------------------------------------------------------------------------------

    def _look_after(self, place: Place) -> None:
        rotate = self._settings.rotate
        if rotate is not None and (rotate.gzip or rotate.keep is not None):
            self._upkeep.request(place)

    def _tidy(self, place: Place, stopping: Callable[[], bool]) -> None:
        rotate = self._settings.rotate
        if rotate is None:
            return
        file = OutputFile(place.path, place.base, self._settings.mode, rotate, False, self._settings.now)
        folder, name = file.folder()
        try:
            tidy(folder, name, rotate, stopping)
        except Interrupted:
            _log.info("%s: compressing the rotated files of %s goes on at the next start", self._settings.name, file.path)
        finally:
            os.close(folder)

    def _sync_all(self) -> None:
        """Sync every file written to since the last time, without keeping the worker from writing."""
        with self._lock:
            dirty = [file for file in self._files.values() if file.dirty]
            borrowed = [(file.path, file.duplicate()) for file in dirty]
            for file in dirty:
                file.dirty = False
        for path, descriptor in borrowed:
            if descriptor is not None:
                self._sync_one(path, descriptor)

    def _sync_one(self, path: str, descriptor: int) -> None:
        try:
            os.fsync(descriptor)
        except OSError as error:
            _log.error("%s: %s: syncing failed (%s); records of the last interval may not be on the disk", self._settings.name, path, error)
        finally:
            os.close(descriptor)
