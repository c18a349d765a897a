"""Who owns a spool, found out without taking its lock: looking must never keep the owner from starting."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from standpipe.spool.log import LOCK_NAME

_LOCKS = Path("/proc/locks")


def owner_of(folder: Path) -> int | None:
    """The id of the process that owns the spool in `folder`; as `lock_holder`."""
    return lock_holder(folder / LOCK_NAME)


def lock_holder(path: Path) -> int | None:
    """The id of the process that holds the lock on this file; 0 if somebody does and cannot be named, None if nobody does.

    Linux tells who holds which lock. Elsewhere the lock is tried for a moment, shared, which only a start in that very moment
    could notice. Raises OSError when the lock file cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        noted = os.pread(descriptor, 32, 0).strip()
        pid = int(noted) if noted.isdigit() else 0
        try:
            locks = _LOCKS.read_text("ascii", "replace")
        except OSError:
            return pid if _is_locked(descriptor) else None
        return _holder(locks, os.fstat(descriptor), pid)
    finally:
        os.close(descriptor)


def _holder(locks: str, file: os.stat_result, noted: int) -> int | None:
    """The holder of the lock on `file` in the text of /proc/locks, for example
    `3: FLOCK  ADVISORY  WRITE 4711 fe:00:1474572 0 EOF`."""
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
    for line in locks.splitlines():
        fields = line.split()
        if len(fields) < 6 or fields[1] != "FLOCK":  # a process that waits for a lock has `->` there
            continue
        place, _, inode = fields[5].rpartition(":")
        # Some file systems (btrfs, overlays) tell another device here than for the file; there the noted process decides.
        if inode == str(file.st_ino) and (place == device or fields[4] == str(noted)):
            return int(fields[4]) if fields[4].isdigit() else 0
    return None


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
