"""One file of JSON Lines that is appended to: whole records or nothing, whoever else writes, renames or deletes it.

The rules, all under an advisory lock on the file (`flock`), so that several producers, also in several processes, may share it:

1. Before every write the path is looked up: if it no longer leads to the open file, the file there is opened instead.
2. A write that fails half-way is undone by cutting the file back to its length before.
3. A last line without its end, left by a crash, is never continued. If it is a whole record, its end is added; a torn record
   is moved to `<name>.torn`; what does not look like ours stays, and records begin on a new line.
4. Rotation renames the file; whoever still has it open finds out by rule 1 before writing.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
from collections.abc import Callable

import orjson

from standpipe.core.errors import NotSent, SendError
from standpipe.producers.confined_folder import UnusablePath, open_folder
from standpipe.producers.rotation import RotateConfig, is_due, rotated_name

REPLACED_MAX = 100
"""How often in a row a file may be replaced while we open it; more is a loop of two programs fighting over the name."""
BLOCK = 2**16
"""Bytes read at a time when looking for the beginning of a torn record."""
TORN_MAX = 64 * 2**20
"""A last line longer than this was not torn from a batch of ours: it is left as it is."""

_log = logging.getLogger("standpipe.producers.file")

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device or terminal",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
}

_OPEN = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW


class HalfWritten(OSError):
    """a write failed and could not be undone: a part of the records may be in the file"""


class OutputFile:
    """A file by its path, open as long as it is written to. Not thread-safe.

    `base` is None for a path that the user wrote in full (its links are followed); otherwise `path` lies below `base` and no
    link on the way is. `durable`: new names and rotations are synced to the disk too.
    """

    def __init__(
        self, path: str, base: str | None, mode: int, rotate: RotateConfig | None, durable: bool, now: Callable[[], float]
    ) -> None:
        self.path = path if base is None else os.path.join(base, path)
        self.dirty = False
        """Whether something was written since the last `sync`."""
        self.rotations = 0
        """How often this file was rotated."""
        self._below = None if base is None else (base, path.split("/"))
        self._mode = mode
        self._rotate = rotate
        self._durable = durable
        self._now = now
        self._fd: int | None = None
        self._identity = (0, 0)
        self._end = -1  # where our last write ended; any other size means that the last line has to be looked at
        self._last_write = 0.0
        self._rotation_failed = False

    # --- for the producer ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the file, make it and its folders if there are none. Raises UnusablePath or OSError."""
        self._lock()
        self._unlock()

    def write(self, data: bytes, sync: bool) -> tuple[int, Exception | None]:
        """Append records, each ended by a newline; `sync`: to the disk.

        Returns how many records were written, and what stopped it. What is not counted as written is not in the file, unless
        the error is `HalfWritten`.
        """
        position = 0
        while position < len(data):
            try:
                position = self._append(data, position, sync)
            except (OSError, SendError) as error:
                return data.count(b"\n", 0, position), error
        return data.count(b"\n"), None

    def sync(self) -> None:
        """Bring everything written to the disk."""
        if self._fd is not None and self.dirty:
            self.dirty = False
            os.fsync(self._fd)

    def duplicate(self) -> int | None:
        """A second descriptor, for syncing in another thread; the caller closes it."""
        return None if self._fd is None else os.dup(self._fd)

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        self._unlock()  # closing alone does not unlock while a forked child has the descriptor too
        self.forget()

    def forget(self) -> None:
        """Close the descriptor and nothing else: in a forked child the lock and what is unsynced are the parent's."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def folder(self) -> tuple[int, str]:
        """A descriptor of the folder it is in, to be closed by the caller, and its name there."""
        if self._below is not None:
            base, names = self._below
            return open_folder(base, names[:-1]), names[-1]
        path = os.path.realpath(self.path)
        return open_folder(os.path.dirname(path)), os.path.basename(path)

    # --- writing ------------------------------------------------------------------------------------------------------

    def _append(self, data: bytes, position: int, sync: bool) -> int:
        """Append as many whole records of `data` from `position` on as the file has room for; returns the new position."""
        try:
            size = self._lock()
            try:
                size, end = self._make_room(data, position, size)
                self._write_or_undo(memoryview(data)[position:end], size, sync)
            finally:
                self._unlock()
        except HalfWritten:
            raise
        except OSError as error:
            raise NotSent(f"cannot write to {self.path!r}: {_reason(error)}") from error
        return end

    def _make_room(self, data: bytes, position: int, size: int) -> tuple[int, int]:
        """Rotate if it is time to; returns the size of the file then and how far in `data` to write."""
        rotate = self._rotate
        if rotate is None:
            return size, len(data)
        first = data.index(b"\n", position) + 1
        if is_due(rotate, size, first - position, self._last_write, self._now()):
            size = self._try_to_rotate(size)
        if rotate.max_bytes is None or size + len(data) - position <= rotate.max_bytes:
            return size, len(data)
        room = rotate.max_bytes - size
        return size, max(first, data.rfind(b"\n", position, position + room) + 1 if room > 0 else 0)

    def _write_or_undo(self, data: memoryview, size: int, sync: bool) -> None:
        fd, written = self._descriptor(), 0
        try:
            while written < len(data):
                written += os.write(fd, data[written:])
            if sync:
                os.fsync(fd)
        except OSError as error:
            self._undo(fd, size, written, error)
        self._end = size + written
        self._last_write = self._now()
        self.dirty = not sync

    def _undo(self, fd: int, size: int, written: int, error: OSError) -> None:
        """Cut off what was written, so that no torn line stays; then the failure is certain."""
        self._end = -1
        try:
            # Another size means a writer that does not keep to the lock: what it wrote must not be cut off.
            undone = os.fstat(fd).st_size == size + written
            if undone and written:
                os.ftruncate(fd, size)
        except OSError:
            undone = False
        if undone:
            raise NotSent(f"cannot write to {self.path!r}: {_reason(error)}") from error
        raise HalfWritten(f"cannot write to {self.path!r}: {_reason(error)}; a part of the records may be in the file") from error

    # --- the file behind the path -------------------------------------------------------------------------------------

    def _lock(self) -> int:
        """Lock the file that the path leads to now; returns its size. Opens it if need be, and mends its last line."""
        for _ in range(REPLACED_MAX):
            if self._fd is None:
                self._open()
            fd = self._descriptor()
            _flock(fd, fcntl.LOCK_EX)
            try:
                found = self._look()
                if found is not None:
                    return found.st_size if found.st_size in (0, self._end) else self._mend(fd, found)
            except BaseException:
                self._unlock()
                raise
            self.close()
        raise NotSent(f"{self.path!r} is replaced again and again while it is opened; let one program alone rename it")

    def _look(self) -> os.stat_result | None:
        """What the path leads to, if that is the file we have open."""
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found if (found.st_dev, found.st_ino) == self._identity else None

    def _unlock(self) -> None:
        if self._fd is not None:
            _flock(self._fd, fcntl.LOCK_UN)

    def _open(self) -> None:
        if self._below is None and os.path.exists(self.path):
            self._check_regular(os.stat(self.path))
        folder, name = self.folder()
        try:
            fd = self._open_regular(folder, name)
            if self._durable:
                os.fsync(folder)
        finally:
            os.close(folder)
        found = os.fstat(fd)
        self._fd, self._identity, self._end, self._last_write = fd, (found.st_dev, found.st_ino), -1, found.st_mtime

    def _open_regular(self, folder: int, name: str) -> int:
        try:
            # Looked at before it is opened: opening some devices is an act.
            self._check_regular(os.stat(name, dir_fd=folder, follow_symlinks=False))
        except FileNotFoundError:
            pass
        try:
            fd = os.open(name, _OPEN, self._mode, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG):
                raise UnusablePath(f"{self.path!r} cannot be opened as a file ({_reason(error)}); name another path") from error
            raise OSError(error.errno, error.strerror, self.path) from error
        try:
            self._check_regular(os.fstat(fd))
        except UnusablePath:
            os.close(fd)
            raise
        return fd

    def _check_regular(self, found: os.stat_result) -> None:
        kind = stat.S_IFMT(found.st_mode)
        if kind != stat.S_IFREG:
            what = _KINDS.get(kind, "not a file")
            raise UnusablePath(f"{self.path!r} is {what}; only regular files are written to: name another path, or use type console")

    def _descriptor(self) -> int:
        if self._fd is None:
            raise NotSent(f"{self.path!r} is not open")
        return self._fd

    # --- the last line ------------------------------------------------------------------------------------------------

    def _mend(self, fd: int, found: os.stat_result) -> int:
        """See to it that the file ends with a newline; returns its size."""
        size, self._last_write = found.st_size, found.st_mtime
        if os.pread(fd, 1, size - 1) == b"\n":
            return size
        start, tail = _last_line(fd, size)
        if not tail.startswith(b"{") or _is_record(tail):
            _log.warning("%s: the last line had no end; it was added", self.path)
            return size + os.write(fd, b"\n")
        self._put_aside(tail)
        os.ftruncate(fd, start)
        _log.warning("%s: the last record was torn (%d bytes); it was moved to %s.torn", self.path, len(tail), self.path)
        return start

    def _put_aside(self, tail: bytes) -> None:
        folder, name = self.folder()
        try:
            fd = os.open(f"{name}.torn", _OPEN, self._mode, dir_fd=folder)
            with open(fd, "ab") as torn:
                torn.write(tail + b"\n")
                torn.flush()
                os.fsync(fd)
        finally:
            os.close(folder)

    # --- rotation -----------------------------------------------------------------------------------------------------

    def _try_to_rotate(self, size: int) -> int:
        """Rotate; returns the size of the file to go on with. If it cannot be done, records go on into the same file."""
        try:
            self._rotate_now()
        except OSError as error:
            if not self._rotation_failed:
                _log.warning("%s cannot be rotated (%s); writing goes on in the same file", self.path, error)
            self._rotation_failed = True
            return size
        self._rotation_failed = False
        self.rotations += 1
        return self._lock()

    def _rotate_now(self) -> None:
        if self._durable:
            self.sync()
        folder, name = self.folder()
        try:
            os.rename(name, rotated_name(name, os.listdir(folder), self._now()), src_dir_fd=folder, dst_dir_fd=folder)
            if self._durable:
                os.fsync(folder)
        finally:
            os.close(folder)
        self.close()


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno is not None else str(error)


def _flock(fd: int, operation: int) -> None:
    try:
        fcntl.flock(fd, operation)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):  # a file system without locks: then without
            raise


def _last_line(fd: int, size: int) -> tuple[int, bytes]:
    """Where the last line begins, and the line; no bytes if it is longer than `TORN_MAX`."""
    parts: list[bytes] = []
    start = size
    while start > 0:
        if size - start > TORN_MAX:
            return start, b""
        length = min(BLOCK, start)
        block = os.pread(fd, length, start - length)
        newline = block.rfind(b"\n")
        parts.append(block[newline + 1 :])
        start -= length
        if newline >= 0:
            start += newline + 1
            break
    return start, b"".join(reversed(parts))


def _is_record(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True
