"""What an examination finds about a folder: the file system under it, its permissions, its room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from standpipe.core.finding import Finding, Severity

_WARNING, _CRITICAL = Severity.WARNING, Severity.CRITICAL

REMOTE: Final = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "fuse.sshfs",
    "fuse.glusterfs",
    "ceph",
    "fuse.ceph",
    "lustre",
    "afs",
    "davfs",
)
"""File systems of other machines, as /proc/self/mounts names them: locks and syncs may not mean there what they mean on a disk."""

IN_MEMORY: Final = ("tmpfs", "ramfs")
"""File systems that a restart of the machine empties."""


def disk_findings(folder: Path, what: str, wanted: int | None) -> Iterator[Finding]:
    """What the file system under `folder` means for `what` is kept there, of which there may be `wanted` bytes."""
    place = _existing(folder)
    kind = file_system_of(place)
    if kind in IN_MEMORY:
        yield Finding(
            _CRITICAL, f"{what}: {folder} is in memory ({kind})", "a restart of the machine loses all of it", "use a folder on a disk"
        )
    elif kind in REMOTE:
        text = "its locks and syncs may promise more than they keep: messages can be lost or owned by two processes at once"
        yield Finding(_CRITICAL, f"{what}: {folder} is on a network file system ({kind})", text, "use a folder on a disk of this machine")
    elif kind == "overlay":
        text = "when the container is replaced, everything in it is gone"
        yield Finding(_WARNING, f"{what}: {folder} is in a container's own layer", text, "mount a volume for the state folder")
    if not os.access(place, os.W_OK | os.X_OK):
        yield Finding(
            _CRITICAL, f"{what}: {place} cannot be written by this user", "the producer cannot start", "change its owner or permissions"
        )
    free = shutil.disk_usage(place).free
    if wanted is not None and free < wanted:
        text = f"the disk is full before the {what} is ({free:,} bytes free, max_bytes {wanted:,}): then on_full decides"
        yield Finding(_WARNING, f"{what}: little room in {folder}", text, "make room, or lower max_bytes")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def file_system_of(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the file system that a folder is on; None where the system does not tell (it does on Linux)."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    path = folder.resolve()
    found: tuple[int, str] | None = None
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        mounted = Path(point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        # Of several on one place the last one mounted is the one that is seen.
        if path.is_relative_to(mounted) and (found is None or len(mounted.parts) >= found[0]):
            found = (len(mounted.parts), kind)
    return None if found is None else found[1]
