"""What is remembered of a file between two runs, and how a file is recognised: by device, inode and its first bytes.

The inode alone lies: a file system gives the inode of a deleted file to the next one. So an entry also holds the hash of the
first bytes, as many as had been settled, at most `HEAD_BYTES`; a file that does not begin with them is another file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Identity = tuple[int, int]
"""device and inode"""

HEAD_BYTES = 1024  # Filebeat's fingerprint takes 1,024 bytes too: several log lines, of which one differs by its time stamp
MAX_GONE = 1000  # files no longer to be seen that are remembered; some 250 KB of checkpoint


def head_hash(head: bytes) -> str:
    """The hash of the first bytes of a file."""
    return hashlib.blake2b(head, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """How far one file is settled: `offset` bytes; `head_bytes` and `head` recognise it."""

    path: str
    identity: Identity
    offset: int
    head_bytes: int
    head: str

    def recognises(self, head: bytes, size: int) -> bool:
        """Is a file of `size` bytes that begins with `head` (up to HEAD_BYTES) still the one this entry is about?"""
        if size < self.offset or len(head) < self.head_bytes:
            return False
        return head_hash(head[: self.head_bytes]) == self.head

    def as_json(self) -> dict[str, Any]:
        """The entry as plain JSON values."""
        device, inode = self.identity
        return {
            "path": self.path,
            "device": device,
            "inode": inode,
            "offset": self.offset,
            "head_bytes": self.head_bytes,
            "head": self.head,
        }

    @classmethod
    def from_json(cls, value: Any) -> Entry:
        """The reverse of `as_json`. Raises ValueError for anything else."""
        try:
            numbers = [value[key] for key in ("device", "inode", "offset", "head_bytes")]
            texts = [value[key] for key in ("path", "head")]
        except (TypeError, KeyError, IndexError):
            raise ValueError("an entry lacks a field") from None
        if not all(type(number) is int and number >= 0 for number in numbers) or not all(type(text) is str for text in texts):
            raise ValueError("an entry has a field of the wrong kind")
        return cls(path=texts[0], identity=(numbers[0], numbers[1]), offset=numbers[2], head_bytes=numbers[3], head=texts[1])


class Remembered:
    """Entries of an earlier run whose files have not been met again yet."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = {entry.identity: entry for entry in entries}

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[Entry]:
        """All of them, longest gone first."""
        return list(self._entries.values())

    def take(self, identity: Identity) -> Entry | None:
        """The entry for a file, which is thereby no longer waited for.

        The device may have another number after a reboot (network and volume-managed file systems); the inode then decides,
        if it is the only one. A wrong guess does no harm: the entry still has to recognise the file's first bytes.
        """
        if identity in self._entries:
            return self._entries.pop(identity)
        same_inode = [known for known in self._entries if known[1] == identity[1]]
        return self._entries.pop(same_inode[0]) if len(same_inode) == 1 else None

    def drop_oldest(self, keep: int) -> None:
        """Forget all but the `keep` that were seen last."""
        for identity in list(self._entries)[: max(0, len(self._entries) - keep)]:
            del self._entries[identity]


class Siblings:
    """Finds files that were renamed within their directory. Lists each directory once: make a new one for every look."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[int, str]] = {}

    def find(self, path: str, identity: Identity) -> str | None:
        """Where the file that used to be at `path` is now; None if it is not in that directory (nor in its symlink's target's)."""
        for directory in dict.fromkeys((os.path.dirname(path), os.path.dirname(os.path.realpath(path)))):
            found = self._list(directory).get(identity[1])
            if found is not None and _leads_to(found, identity):
                return found
        return None

    def _list(self, directory: str) -> dict[int, str]:
        listed = self._listed.get(directory)
        if listed is None:
            try:
                with os.scandir(directory) as entries:
                    listed = {entry.inode(): entry.path for entry in entries if not entry.is_symlink()}
            except OSError:
                listed = {}
            self._listed[directory] = listed
        return listed


def _leads_to(path: str, identity: Identity) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == identity and stat.S_ISREG(status.st_mode)
