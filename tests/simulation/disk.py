"""The disk of a simulated process: after the process has died, nothing that is left of it can touch a file any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from standpipe.testing.crashing_files import CrashingFileSystem, Stopped


class ProcessDisk(CrashingFileSystem):
    """`on_stop` is called when a planned step ends the process; `noted` when the positions have been written; `on_sync_failure` when
    a segment could not be brought to the disk."""

    ended = False
    on_stop: Callable[[], object] = staticmethod(lambda: None)
    noted: Callable[[], object] = staticmethod(lambda: None)
    on_sync_failure: Callable[[], object] = staticmethod(lambda: None)

    @contextmanager
    def _step(self, action: str, name: str = "") -> Iterator[bool]:
        if self.ended:
            raise Stopped
        try:
            with super()._step(action, name) as partly:
                yield partly
        except Stopped:
            self.ended = True
            self.on_stop()
            raise
        except OSError:
            if action == "sync" and ".seg" in name:
                self.on_sync_failure()
            raise
        if (action, name) in (("append", "positions.log"), ("rename", "positions.tmp")):
            self.noted()

    def _next(self) -> ProcessDisk:
        return ProcessDisk(self.chance.randrange(2**32), capacity=self.capacity, evicts=self.evicts)
