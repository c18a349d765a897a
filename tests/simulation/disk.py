"""The disks of a simulated process: after the process has died, nothing that is left of it can touch a file any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from standpipe.testing.crashing_files import CrashingFileSystem, Stopped


class Storage:
    """Every folder that the process has, each a file system that loses what was not synced; they share the process's fate.

    `on_stop` is called when a planned step ends the process; `noted` when positions have been written; `on_sync_failure` when a
    segment could not be brought to the disk. `forgets`: of what was not synced a power cut takes everything, instead of any part.
    """

    def __init__(self, seed: int, *, forgets: bool = False) -> None:
        self.folders: dict[str, Folder] = {}
        self.forgets = forgets
        self.ended = False
        self.last_step = ("", "")
        self.on_stop: Callable[[], object] = lambda: None
        self.noted: Callable[[], object] = lambda: None
        self.on_sync_failure: Callable[[], object] = lambda: None
        self._seed = seed
        self._stops_in: int | None = None
        self._stops_after: tuple[str, int] | None = None

    def folder(self, name: str) -> Folder:
        """The file system of a folder."""
        if name not in self.folders:
            self.folders[name] = Folder(self._seed + len(self.folders))
            self.folders[name].storage = self
        return self.folders[name]

    # --- what the plan does to it -------------------------------------------------------------------------------------

    def stop_after(self, steps: int) -> None:
        """End the process in the middle of step `steps` from now (1: the next one)."""
        self._stops_in = steps

    def stop_after_next(self, action: str, steps: int) -> None:
        """End the process `steps` steps after the next `action` (of a segment, if segments have it); 0: in the middle of that."""
        self._stops_after = (action, steps)

    def go_on(self) -> None:
        """Nothing is planned any more."""
        self._stops_in = self._stops_after = None

    def fill(self) -> None:
        """There is no room left."""
        for folder in self.folders.values():
            folder.capacity = sum(map(len, folder.contents().values()))

    def fail(self, action: str, times: int | None) -> None:
        """The next `times` calls of `action` fail in each folder."""
        for folder in self.folders.values():
            folder.fail(action, times=times)

    def heal(self) -> None:
        """There is room, and nothing fails."""
        for folder in self.folders.values():
            folder.heal()
            folder.capacity = None

    def write_back(self) -> None:
        """The kernel writes some pages to the disk by itself."""
        for folder in self.folders.values():
            folder.write_back()

    @property
    def failing(self) -> bool:
        """Whether it is full or something may fail."""
        return any(folder.capacity is not None or folder._faults for folder in self.folders.values())

    def next(self, *, power: bool) -> Self:
        """What the next process finds after a kill, or a power cut."""
        fresh = type(self)(self._seed, forgets=self.forgets)
        for name, folder in self.folders.items():
            found = folder.crash() if power else folder.kill()
            assert isinstance(found, Folder)
            found.storage = fresh
            fresh.folders[name] = found
        return fresh

    # --- what its folders tell ----------------------------------------------------------------------------------------

    def step(self, action: str, name: str) -> bool:
        """Another step begins; whether the process ends in the middle of it. Raises Stopped if it has."""
        if self.ended:
            raise Stopped
        self.last_step = (action, name)
        if self._stops_in is not None:
            self._stops_in -= 1
        after = self._stops_after
        if after is not None and action == after[0] and (".seg" in name or action in ("append", "sync_folder")):
            self._stops_after, self._stops_in = None, after[1]
        return self._stops_in is not None and self._stops_in <= 0

    def end(self) -> None:
        """The process has ended."""
        self.ended = True
        self.on_stop()


class Folder(CrashingFileSystem):
    """One folder."""

    storage: Storage

    @contextmanager
    def _step(self, action: str, name: str = "") -> Iterator[bool]:
        if self.storage.step(action, name):
            self._stop_at = 0
        try:
            with super()._step(action, name) as partly:
                yield partly
        except Stopped:
            self.storage.end()
            raise
        except OSError:
            if action == "sync" and ".seg" in name:
                self.storage.on_sync_failure()
            raise
        if (action, name) in (("append", "positions.log"), ("rename", "positions.tmp")):
            self.storage.noted()

    def crash(self) -> CrashingFileSystem:
        """The power fails."""
        if not self.storage.forgets:
            return super().crash()
        fresh = self._next()
        for name, file in self._durable.items():
            fresh._place(name, bytes(file.disk), grows=file.grows)
        return fresh

    def _next(self) -> Folder:
        return Folder(self.chance.randrange(2**32), capacity=self.capacity, evicts=self.evicts)
