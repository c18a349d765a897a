"""Which files there are: patterns to regular files, each once however many names lead to it."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from standpipe.agents.complaints import Complaints
from standpipe.agents.positions import Identity

COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")
_COMPRESSED_MAGIC = (b"\x1f\x8b\x08", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")


def is_compressed(head: bytes) -> bool:
    """Does a file that begins with `head` hold compressed data, whatever its name says?"""
    return head.startswith(_COMPRESSED_MAGIC)


@dataclass(slots=True)
class FoundFile:
    """A regular file that a pattern matched. `path` is the first name that leads to it, `patterns` all that matched."""

    path: str
    identity: Identity
    size: int
    changed: int
    patterns: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Found:
    """The result of one look: the files by identity, and which file each path leads to."""

    files: dict[Identity, FoundFile] = field(default_factory=dict)
    paths: dict[str, Identity] = field(default_factory=dict)


class Discovery:
    """Looks for files that match `patterns` (paths or globs, `**` included) and none of `exclude` (globs on path or name)."""

    def __init__(self, patterns: Sequence[str], exclude: Sequence[str], complaints: Complaints) -> None:
        self.patterns = {pattern: os.path.abspath(os.path.expanduser(pattern)) for pattern in patterns}
        self._exclude = [os.path.expanduser(pattern) for pattern in exclude]
        self._complaints = complaints
        self._compressed: set[tuple[str, Identity]] = set()
        self._waiting: set[str] = set()
        self.skipped = 0
        """compressed files passed over so far"""

    def find(self) -> Found:
        """Look once."""
        found = Found()
        for pattern, expanded in self.patterns.items():
            for path in self._expand(expanded):
                self._take(found, path, pattern, literal=path == expanded)
        self._compressed.intersection_update(found.paths.items())
        return found

    def missing(self, found: Found) -> list[str]:
        """The patterns without wildcards that lead to no file."""
        return [expanded for expanded in self.patterns.values() if expanded not in found.paths and not glob.has_magic(expanded)]

    def is_skipped(self, path: str, identity: Identity) -> bool:
        """Was this file found to be compressed before?"""
        return (path, identity) in self._compressed

    def skip_compressed(self, path: str, identity: Identity) -> None:
        """Count a compressed file and say so, once."""
        if (path, identity) not in self._compressed:
            self._compressed.add((path, identity))
            self.skipped += 1
            self._complaints.event(path, "is compressed and is not read; exclude it, or decompress it first")

    def _expand(self, expanded: str) -> Iterator[str]:
        if not glob.has_magic(expanded) or os.path.lexists(expanded):
            return iter((expanded,))
        self._check_base(expanded)
        return iter(sorted(glob.iglob(expanded, recursive=True)))

    def _check_base(self, expanded: str) -> None:
        """`glob` passes over a directory it cannot list without a word; the first one of a pattern is worth one."""
        base = expanded
        while glob.has_magic(base):
            base = os.path.dirname(base)
        try:
            os.close(os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            self._complaints.about(base, f"cannot list this directory ({error.strerror}); trying again")
        else:
            self._complaints.settled(base)

    def _take(self, found: Found, path: str, pattern: str, *, literal: bool) -> None:
        if self._is_excluded(path):
            return
        problem = None
        try:
            status = os.stat(path)
        except OSError as error:
            problem = f"cannot be found ({error.strerror}); waiting for it"
        else:
            if not stat.S_ISREG(status.st_mode):
                problem = "is not a regular file and is not read"
        if literal:
            self._complain(path, problem)
        if problem is None:
            self._add(found, path, pattern, status)

    def _add(self, found: Found, path: str, pattern: str, status: os.stat_result) -> None:
        identity = (status.st_dev, status.st_ino)
        found.paths[path] = identity
        if path.endswith(COMPRESSED_SUFFIXES):
            self.skip_compressed(path, identity)
            return
        file = found.files.get(identity)
        if file is None:
            file = found.files[identity] = FoundFile(path, identity, status.st_size, status.st_mtime_ns)
        file.patterns.add(pattern)

    def _complain(self, path: str, problem: str | None) -> None:
        if problem is not None:
            self._waiting.add(path)
            self._complaints.about(path, problem)
        elif path in self._waiting:
            self._waiting.discard(path)
            self._complaints.settled(path)

    def _is_excluded(self, path: str) -> bool:
        name = os.path.basename(path)
        return any(fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(name, pattern) for pattern in self._exclude)
