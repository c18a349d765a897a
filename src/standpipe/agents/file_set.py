"""All files of a `tail` agent: which are there, which came back, which were rotated away, and whose turn it is.

One look (`scan`) compares what the patterns match now with what is known, by identity:

* an identity not known is a new file, or one of an earlier run (its checkpoint entry recognises it) or one that had gone;
* a known identity at no path any more was renamed or deleted: it is read to its end and then put among the gone;
* a path that leads to another identity than before was rotated: the new file waits until the old one is read;
* known content that is no longer there (`ContentReplaced`) was truncated: the file starts over.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable

from standpipe.agents.complaints import Complaints, printable
from standpipe.agents.discovery import Discovery, Found, FoundFile, is_compressed
from standpipe.agents.lines import LineRules, Lines
from standpipe.agents.open_files import OpenFiles
from standpipe.agents.positions import HEAD_BYTES, MAX_GONE, Entry, Identity, Remembered, Siblings
from standpipe.agents.tail_config import TailConfig
from standpipe.agents.tailed_file import ContentReplaced, FileMoved, TailedFile, last_line_start, open_regular

logger = logging.getLogger("standpipe.agents")


class FileSet:
    """The files of one agent. Used by one thread; the plain counts may be read by any."""

    def __init__(self, config: TailConfig, rules: LineRules, discovery: Discovery, complaints: Complaints) -> None:
        self._config = config
        self._rules = rules
        self._discovery = discovery
        self._complaints = complaints
        self._opened = OpenFiles(config.max_open_files)
        self._files: dict[Identity, TailedFile] = {}
        self._gone: dict[Identity, TailedFile] = {}
        self._remembered = Remembered()
        self._paths: dict[str, Identity] = {}
        self._ready: deque[TailedFile] = deque()
        self._starting = True
        self._known_patterns: frozenset[str] = frozenset()
        self._short_of_room = False
        self._from_beginning = config.start_at == "beginning"
        self.changed = False
        """True when `entries` would give something new; reset by whoever has written them"""
        self.tracked = 0
        self.opened = 0
        self.lag = 0
        self.lag_max = 0
        self.rotations = 0
        self.truncations = 0
        self.lost_bytes = 0

    @property
    def has_turns(self) -> bool:
        """Is there a file that may have something to read?"""
        return bool(self._ready)

    @property
    def turns(self) -> int:
        """How many files may have something to read."""
        return len(self._ready)

    def resume(self, entries: Iterable[Entry], patterns: Iterable[str]) -> None:
        """Before the first scan: what an earlier run has left, and the patterns it was configured with."""
        self._remembered = Remembered(entries)
        self._known_patterns = frozenset(patterns)

    def lose_nothing(self) -> None:
        """Before the first scan: the checkpoint is lost, so every file is read from its beginning whatever was configured."""
        self._from_beginning = True

    def entries(self) -> list[Entry]:
        """What to remember, longest gone first."""
        current = [file.entry() for files in (self._gone, self._files) for file in files.values()]
        return self._remembered.entries() + current

    def knows(self, file: TailedFile) -> bool:
        """Is the file among `entries`, and not replaced by what came after a truncation?"""
        return self._files.get(file.identity) is file or self._gone.get(file.identity) is file

    def close(self) -> None:
        """Close every file."""
        self._opened.close_all()
        self._ready.clear()
        self.opened = 0

    # --- one look at the file system ----------------------------------------------------------------------------------

    def scan(self, now: float) -> Found:
        """Look for new, changed, rotated and vanished files, and put those with something to do into the queue."""
        self._short_of_room = False
        found = self._discovery.find()
        previous, self._paths = self._paths, found.paths
        self._count_rotations(previous)
        for item in found.files.values():
            file = self._files.get(item.identity) or self._adopt(item, previous, now)
            if file is not None:
                self._observe(file, item, now)
        siblings = Siblings()
        for file in [file for identity, file in self._files.items() if identity not in found.files]:
            self._observe_missing(file, siblings, now)
        if self._starting:
            self._resume_moved(siblings, now)
            self._starting = False
            self._forget_oldest()
        self.measure()
        return found

    def measure(self) -> None:
        """Bring the plain counts up to date."""
        self.tracked = len(self._files)
        self.opened = len(self._opened)
        self.lag = sum(file.unread for file in self._files.values())
        self.lag_max = max(self.lag_max, self.lag)

    def _count_rotations(self, previous: dict[str, Identity]) -> None:
        for path, identity in previous.items():
            if self._paths.get(path) != identity:
                self.rotations += 1
                what = "leads to another file" if path in self._paths else "is gone"
                logger.info("agent %r: %s %s now; what is left in the old file is read first", self._config.name, printable(path), what)

    def _observe(self, file: TailedFile, item: FoundFile, now: float) -> None:
        file.rotated = file.vanished = False
        file.location = item.path
        if file.observe(item.size, item.changed, now) or not file.at_end or self._is_overdue(file, now):
            self._enqueue(file)

    def _observe_missing(self, file: TailedFile, siblings: Siblings, now: float) -> None:
        try:
            if file.descriptor is not None:
                status = os.fstat(file.descriptor)
            else:
                file.location = siblings.find(file.location, file.identity) or file.location
                status = os.stat(file.location)
                if (status.st_dev, status.st_ino) != file.identity:
                    raise FileMoved
        except OSError:
            self._vanish(file)
            return
        if not file.rotated:
            file.rotated = True
            file.changed_at = now  # a file that was quiet until it was renamed gets its time too
        if file.observe(status.st_size, status.st_mtime_ns, now) or not file.at_end or self._is_overdue(file, now):
            self._enqueue(file)

    def _vanish(self, file: TailedFile) -> None:
        if file.vanished:
            return
        lost = max(0, file.size - file.read_offset)
        self.lost_bytes += lost
        if lost:
            self._complaints.event(file.label, f"was removed before it was read to its end; at least {lost} bytes of it are lost")
        file.vanished = True
        self._enqueue(file)

    def _is_overdue(self, file: TailedFile, now: float) -> bool:
        """Is something to be done with a file just because it has been quiet?"""
        quiet = now - file.changed_at
        if file.rotated and quiet >= self._config.rotate_wait:
            return True
        timeout = self._config.partial_line_timeout
        return bool(file.pending) and timeout is not None and quiet >= timeout

    def _enqueue(self, file: TailedFile) -> None:
        if not file.queued:
            file.queued = True
            self._ready.append(file)

    # --- files that are new here --------------------------------------------------------------------------------------

    def _adopt(self, item: FoundFile, previous: dict[str, Identity], now: float) -> TailedFile | None:
        if self._discovery.is_skipped(item.path, item.identity):
            return None
        try:
            descriptor = open_regular(item.path)
        except OSError as error:
            self._complaints.about(item.path, f"cannot be read ({error.strerror or error}); trying again")
            return None
        status = os.fstat(descriptor)
        head = os.pread(descriptor, HEAD_BYTES, 0)
        if (status.st_dev, status.st_ino) != item.identity or is_compressed(head):
            os.close(descriptor)
            if is_compressed(head):
                self._discovery.skip_compressed(item.path, item.identity)
            return None
        self._complaints.settled(item.path)
        file = self._come_back(item, head, status.st_size) or self._begin(item, descriptor, head, status.st_size)
        file.descriptor = descriptor
        file.changed_at = now
        self._opened.admit(file)
        self._files[item.identity] = file
        old = self._files.get(previous.get(item.path, item.identity))
        if old is not None and old is not file:
            file.predecessors.append(old)
        self.changed = True
        return file

    def _come_back(self, item: FoundFile, head: bytes, size: int) -> TailedFile | None:
        file = self._gone.pop(item.identity, None)
        if file is None or not file.is_same(head, size):
            return None
        file.at_end = False
        return file

    def _begin(self, item: FoundFile, descriptor: int, head: bytes, size: int) -> TailedFile:
        entry = self._remembered.take(item.identity)
        if entry is not None and entry.recognises(head, size):
            return self._start(entry.path, item.path, item.identity, descriptor, entry.offset, head)
        offset = 0
        if entry is not None:
            logger.info(
                "agent %r: %s has other content than before; reading it from the beginning", self._config.name, printable(item.path)
            )
        elif self._starting and not self._from_beginning and item.patterns.isdisjoint(self._known_patterns):
            offset = last_line_start(descriptor, size, self._config.max_line_bytes)
        return self._start(item.path, item.path, item.identity, descriptor, offset, head)

    def _start(self, label: str, location: str, identity: Identity, descriptor: int, offset: int, head: bytes) -> TailedFile:
        source = {"agent": self._config.name, "path": printable(label)}
        file = TailedFile(label, location, identity, self._rules, source)
        file.descriptor = descriptor
        file.start(offset, head)
        logger.info("agent %r: reading %s from byte %d", self._config.name, source["path"], offset)
        return file

    def _resume_moved(self, siblings: Siblings, now: float) -> None:
        """Files of an earlier run that were renamed meanwhile to a name no pattern matches are read to their end, first."""
        for entry in self._remembered.entries():
            moved = siblings.find(entry.path, entry.identity)
            if moved is None:
                continue
            try:
                descriptor = open_regular(moved)
            except OSError as error:
                self._complaints.about(moved, f"cannot be read ({error.strerror or error}); it was {entry.path} before")
                continue
            head = os.pread(descriptor, HEAD_BYTES, 0)
            status = os.fstat(descriptor)
            if not entry.recognises(head, status.st_size):
                os.close(descriptor)
                continue
            self._remembered.take(entry.identity)
            file = self._start(entry.path, moved, entry.identity, descriptor, entry.offset, head)
            file.rotated = True
            file.observe(status.st_size, status.st_mtime_ns, now)
            self._opened.admit(file)
            self._files[file.identity] = file
            self._enqueue(file)
            successor = self._files.get(self._paths.get(entry.path, file.identity))
            if successor is not None and successor is not file:
                successor.predecessors.append(file)

    # --- turns --------------------------------------------------------------------------------------------------------

    def turn(self, now: float) -> tuple[TailedFile, Lines] | None:
        """Read one chunk of the file whose turn it is. None when that completed no line."""
        file = self._ready.popleft()
        # Short of room, rotated files do not wait for each other: each has to get to its end, or none can ever be closed.
        if file.must_wait() and not (self._short_of_room and file.rotated):
            self._ready.append(file)
            return None
        file.queued = False
        try:
            lines = self._advance(file, now)
        except ContentReplaced:
            lines = self._restart(file)
        except OSError as error:
            self._stumble(file, error)
            return None
        return None if lines is None else (file, lines)

    def _advance(self, file: TailedFile, now: float) -> Lines | None:
        if file.vanished:
            self._retire(file)
            return file.finish()
        if not self._opened.ensure(file):
            self._short_of_room = True
            self._enqueue(file)
            return None
        lines = file.read(self._config.chunk_bytes, now)
        self._complaints.settled(file.location)
        if not file.at_end:
            self._enqueue(file)
            return lines
        return self._at_end(file, now)

    def _at_end(self, file: TailedFile, now: float) -> Lines | None:
        if not self._config.follow:
            self._opened.close(file)
            return file.finish()
        if not self._is_overdue(file, now):
            return None
        if file.rotated and now - file.changed_at >= self._config.rotate_wait:
            self._retire(file)
            return file.finish()
        return file.finish(mark=True)

    def _restart(self, file: TailedFile) -> Lines | None:
        """The file was truncated. The unfinished line in memory is all that is left of it, so it is handed over."""
        lost = max(0, file.sure_size - file.read_offset)
        self.truncations += 1
        self.lost_bytes += lost
        new = file.restarted()
        self._opened.replace(file, new)
        self._files[file.identity] = new
        self._enqueue(new)
        self.changed = True
        logger.info("agent %r: %s was truncated; reading it from the beginning", self._config.name, file.source["path"])
        if lost:
            self._complaints.event(file.label, f"was truncated before it was read to its end; at least {lost} bytes of it are lost")
        return file.finish(mark=True)

    def _stumble(self, file: TailedFile, error: OSError) -> None:
        """The file cannot be read just now. With `follow` the next look finds it again, wherever it is then."""
        self._opened.close(file)
        file.at_end = False
        if self._config.follow:
            if not isinstance(error, FileMoved | FileNotFoundError):
                self._complaints.about(file.location, f"cannot be read ({error.strerror or error}); trying again")
            return
        moved = Siblings().find(file.location, file.identity)
        if moved is not None and moved != file.location:
            file.location = moved
            self._enqueue(file)
            return
        self.lost_bytes += file.unread
        self._complaints.about(file.location, f"cannot be read ({error.strerror or error}); {file.unread} bytes of it were not read")

    def _retire(self, file: TailedFile) -> None:
        """Done with a file that no path leads to. It is remembered in case it comes back, unless it was deleted."""
        deleted = file.vanished or (file.descriptor is not None and os.fstat(file.descriptor).st_nlink == 0)
        self._opened.close(file)
        self._files.pop(file.identity, None)
        if not deleted:
            self._gone[file.identity] = file
        self._forget_oldest()
        self.changed = True

    def _forget_oldest(self) -> None:
        self._remembered.drop_oldest(keep=max(0, MAX_GONE - len(self._gone)))
        while len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]
