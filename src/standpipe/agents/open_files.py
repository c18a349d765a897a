"""A bound on open files: the one not read for longest is closed when another one needs its place."""

from __future__ import annotations

from collections import OrderedDict

from standpipe.agents.tailed_file import TailedFile


class OpenFiles:
    """At most `limit` open files. Not thread-safe.

    Files that were rotated away are closed last, and never before they are read to their end: when they were deleted, they
    cannot be opened again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: OrderedDict[int, TailedFile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def ensure(self, file: TailedFile) -> bool:
        """Open `file` if it is not; False when every place is taken by a file that must stay open. Raises OSError."""
        if file.descriptor is not None:
            self._open.move_to_end(id(file))
            return True
        if not self._make_room():
            return False
        file.open()
        self._open[id(file)] = file
        return True

    def admit(self, file: TailedFile) -> None:
        """Take charge of a file that was just opened elsewhere; closes it if there is no room."""
        if self._make_room():
            self._open[id(file)] = file
        else:
            file.close()

    def replace(self, old: TailedFile, new: TailedFile) -> None:
        """`new` has taken over the descriptor of `old`."""
        self._open.pop(id(old), None)
        self._open[id(new)] = new

    def close(self, file: TailedFile) -> None:
        """Close one file, if it is open."""
        self._open.pop(id(file), None)
        file.close()

    def close_all(self) -> None:
        """Close every file."""
        for file in list(self._open.values()):
            self.close(file)

    def _make_room(self) -> bool:
        """Close a file if all places are taken; False when none can be closed."""
        if len(self._open) < self._limit:
            return True
        victim = next((file for file in self._open.values() if not file.rotated), None)
        if victim is None:
            victim = next((file for file in self._open.values() if file.at_end), None)
        if victim is None:
            return False
        self.close(victim)
        return True
